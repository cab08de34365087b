"""What scripts/deploy started: wait until it runs, show its log, and exit as it did. See scripts/deploy.

Reads kind, namespace and name of each from standard input, a line each.
"""

import argparse
import sys

from driver import START_S, NotStartedError, Patience, exit_code, follow, waits_why
from kubectl import Kubectl, Object, say

from spark_job.errors import FacemeanError
from spark_job.spark.pods import stuck

STOPPED = 130
# The pods of what starts drivers by itself, and again where one is lost.
DRIVERS = {
    "Job": "batch.kubernetes.io/job-name={}",
    "SparkApplication": "sparkoperator.k8s.io/app-name={},spark-role=driver",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="deploy")
    parser.add_argument("--start-timeout", type=float, default=START_S)
    start_s = parser.parse_args().start_timeout
    codes = []
    for kind, namespace, name in (line.split() for line in sys.stdin.read().splitlines()):
        kubectl = Kubectl(None, namespace)
        try:
            codes.append(_run(kubectl, kind, name, start_s) if kind in DRIVERS else _ready(kubectl, name, start_s))
        except FacemeanError as error:
            say(f"error: {error}")
            return error.exit_code
        except KeyboardInterrupt:
            say(f"no longer watched, and goes on: {kubectl} get {kind.lower()} {name}")
            return STOPPED
    return max(codes, default=0)


def _ready(kubectl: Kubectl, name: str, start_s: float) -> int:
    """Wait for a pod that is no driver."""
    patience = Patience(start_s)
    while True:
        pod = kubectl.get("pod", name) or {}
        if _condition(pod, "Ready"):
            say(f"runs    pod {name}")
            return 0
        if trouble := stuck(pod):
            raise NotStartedError(trouble)
        patience.wait(f"pod {name}", waits_why(kubectl, pod) if pod else "")


def _run(kubectl: Kubectl, kind: str, name: str, start_s: float) -> int:
    """Follow one driver after another until the run is over. Ctrl-C ends that, and not the run."""
    say(f"watch   http://localhost:4040 after: {kubectl} port-forward service/facemean-driver 4040")
    try:
        code = _follow_all(kubectl, kind, name, start_s)
    except NotStartedError as error:
        kubectl("delete", kind.lower(), name, "--wait=false")  # it must not start once nobody watches
        raise NotStartedError(f"{error}. {kind} {name} was deleted, with its pod") from None
    say(f"left    {kind} {name} with its log; {kubectl} delete {kind.lower()} {name}")
    return code


def _follow_all(kubectl: Kubectl, kind: str, name: str, start_s: float) -> int:
    seen, last, patience = set[str](), None, Patience(start_s)
    while True:
        found = kubectl.get("pods", "--selector", DRIVERS[kind].format(name)) or {"items": []}
        pods = sorted(found["items"], key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        if new := [pod for pod in pods if pod["metadata"]["uid"] not in seen]:
            seen.add(new[0]["metadata"]["uid"])
            say(f"driver  pod {new[0]['metadata']['name']}")
            last, patience = follow(kubectl, new[0]["metadata"]["name"], start_s), Patience(start_s)
            continue
        run = kubectl.get(kind.lower(), name)
        if run is None:
            raise FacemeanError(f"{kind} {name} is gone, and how it ended is not known: somebody deleted it")
        if (code := _over(run, last)) is not None:
            return code
        patience.wait(f"a driver of {kind} {name}", kubectl.warning(kind, name))


def _over(run: Object, last: Object | None) -> int | None:
    """The exit code of a run that has ended, by its own status; last: its last driver's pod."""
    state = run.get("status", {}).get("applicationState", {})  # of a SparkApplication
    if _condition(run, "Complete") or state.get("state") == "COMPLETED":
        return 0
    failed = _condition(run, "Failed") or (state if state.get("state") == "FAILED" else {})
    if not failed:
        return None
    say(f"failed  {failed.get('message') or failed.get('errorMessage') or failed}")
    return (exit_code(last) if last else 0) or 1


def _condition(found: Object, kind: str) -> Object:
    """A condition that holds, {} where it does not."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), {})


if __name__ == "__main__":
    sys.exit(main())
