"""Submit to Kubernetes from outside: start a driver, follow its log, and exit as it did. See scripts/submit-k8s.

spark-submit exits 0 although the driver failed: what counts is how the driver's pod ended.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pyspark

from spark_job.checks.api_server import PREFIX, api_url
from spark_job.spark.pods import IMAGE, ended, stuck, waits_for
from spark_job.errors import FacemeanError
from spark_job.settings import check_property
from spark_job.spark.session import read_properties

CONF = Path(__file__).resolve().parents[3] / "conf"
SPARK = Path(pyspark.__file__).parent
APPLICATION = "local:///opt/facemean/spark_job/__main__.py"
DRIVER = "spark-kubernetes-driver"
NAME = r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?"
POLL_S, PATIENCE_S = 2.0, 300.0
STOPPED = 130


class Kubectl:
    """kubectl, for one cluster and namespace."""

    def __init__(self, context: str | None, namespace: str) -> None:
        if shutil.which("kubectl") is None:
            raise FacemeanError(
                "kubectl is not on PATH: https://kubernetes.io/docs/tasks/tools tells how to install it"
            )
        self._command = ["kubectl", *(["--context", context] if context else []), "--namespace", namespace]

    def at(self, url: str) -> None:
        """The cluster at this address, not the one of the context."""
        self._command += ["--server", url]

    def __str__(self) -> str:
        return " ".join(self._command)

    def __call__(self, *arguments: str) -> str:
        """What a command says. Raises FacemeanError."""
        done = subprocess.run([*self._command, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise FacemeanError(last_line(done.stderr))
        return done.stdout

    def pod(self, name: str) -> dict[str, Any] | None:
        """A pod, or None where there is none. Raises FacemeanError where that is not known for PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                pod: dict[str, Any] = json.loads(self("get", "pod", name, "--output", "json"))
                return pod
            except FacemeanError as error:
                if "(NotFound)" in str(error):
                    return None
                if "(Forbidden)" in str(error) or time.monotonic() > deadline:
                    raise FacemeanError(f"pod {name} cannot be looked at, and may go on: {error}") from None
            time.sleep(POLL_S)

    def log(self, name: str, since: str | None) -> str:
        """Print a pod's log until its container ends; returns what went wrong, "" where nothing did."""
        after = [f"--since-time={since}"] if since else []
        command = [*self._command, "logs", name, "--container", DRIVER, "--follow", *after]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        return last_line(done.stderr) if done.returncode else ""


def main() -> int:
    chosen, arguments = _parsed(sys.argv[1:])
    try:
        for pair in chosen.conf:
            check_property(pair)
        kubectl = Kubectl(chosen.context, chosen.namespace)
        master = chosen.master or _master(kubectl)
        if chosen.master:
            kubectl.at(api_url(master))
        _check(kubectl, chosen.name, master)
        _submit(master, chosen, arguments)
        return _watch(kubectl, chosen.name)
    except FacemeanError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return STOPPED


def _watch(kubectl: Kubectl, name: str) -> int:
    """Follow a driver; Ctrl-C ends that, and not the driver."""
    say(f"driver  pod {name}")
    say(f"watch   http://localhost:4040 after: {kubectl} port-forward pod/{name} 4040")
    try:
        return follow(kubectl, name)
    except KeyboardInterrupt:
        say(f"no longer watched, and the driver goes on: {kubectl} logs --follow {name}")
        say(f"stop    {kubectl} delete pod {name}")
        raise


def follow(kubectl: Kubectl, name: str) -> int:
    """Show the driver's log until it ends; returns its exit code."""
    said, since, shown = "", None, False
    while True:
        pod = kubectl.pod(name)
        if pod is None:
            raise FacemeanError(f"the driver's pod {name} is gone, and how it ended is not known: somebody deleted it")
        if trouble := stuck(pod):
            kubectl("delete", "pod", name, "--wait=false")  # it must not start once nobody watches
            raise FacemeanError(f"{trouble}. The driver's pod was deleted, and all that belongs to it")
        state, waits = _driver(pod), waits_for(pod)
        if "running" in state or ("terminated" in state and not shown):
            began = time.monotonic()
            waits = kubectl.log(name, since)
            shown = not waits or "terminated" in state
            if time.monotonic() - began > POLL_S:  # the connection was cut: on from here
                since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        elif pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return _outcome(kubectl, name, pod)
        if waits and waits != said:
            say(f"waits   {waits}")
            said = waits
        time.sleep(POLL_S)


def _outcome(kubectl: Kubectl, name: str, pod: dict[str, Any]) -> int:
    """Say how it ended and what it left; returns the exit code."""
    maps = [v["configMap"]["name"] for v in pod["spec"].get("volumes", []) if "configMap" in v]
    failed = pod["status"]["phase"] == "Failed"
    if failed:
        say(f"the driver failed: {ended(pod)}")
        if "OOMKilled" in ended(pod):
            say("it wants more memory: --conf spark.driver.memoryOverhead=1g")
    say(f"left    pod {name} with its log, and what it owns: config maps {', '.join(maps)}, a network policy")
    say(f"delete  {kubectl} delete pod {name}")
    code = _driver(pod).get("terminated", {}).get("exitCode", 1)
    return (code if code in (1, 2, 3) else 1) if failed else 0


def _driver(pod: dict[str, Any]) -> dict[str, Any]:
    """The state of the driver's container."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((s.get("state", {}) for s in statuses if s.get("name") == DRIVER), {})


def _master(kubectl: Kubectl) -> str:
    """The address of the cluster that kubectl talks to."""
    try:
        return PREFIX + kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    except FacemeanError as error:
        raise FacemeanError(
            f"kubectl has no cluster ({error}): set KUBECONFIG, or give --master {PREFIX}https://HOST:PORT"
        ) from None


def _check(kubectl: Kubectl, name: str, master: str) -> None:
    """That the cluster answers, and that the name is free."""
    try:
        kubectl("get", "--raw", "/version")
    except FacemeanError as error:
        raise FacemeanError(
            f"no API server answers at {api_url(master)} ({error}): kubectl cluster-info tells the address"
        ) from None
    try:
        kubectl("get", "pod", name, "--output", "name")
    except FacemeanError as error:
        if "(NotFound)" in str(error):
            return
        raise FacemeanError(f"the API server does not tell of pods: {error}") from None
    raise FacemeanError(f"there is a pod {name} already: give another --name, or {kubectl} delete pod {name}")


def _submit(master: str, chosen: argparse.Namespace, arguments: list[str]) -> None:
    """Make the driver's pod and what belongs to it."""
    command = [str(SPARK / "bin" / "spark-submit"), "--master", master, "--deploy-mode", "cluster"]
    command += ["--properties-file", str(CONF / "kubernetes.conf")]
    for pair in _properties(chosen):
        command += ["--conf", pair]
    # The files in SPARK_CONF_DIR are carried to the driver, and from there to the executors.
    environment = {**os.environ, "SPARK_HOME": str(SPARK), "SPARK_CONF_DIR": str(CONF)}
    done = subprocess.run([*command, APPLICATION, "run", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        says = re.search(r"Message: (.*?)\.? Received status", done.stderr)
        told = says[1] if says else last_line(done.stderr)
        raise FacemeanError(f"spark-submit failed: {told}; see facemean check --master {master}")


def _properties(chosen: argparse.Namespace) -> Iterator[str]:
    yield f"{IMAGE}={chosen.image}"
    yield f"spark.kubernetes.namespace={chosen.namespace}"
    yield f"spark.kubernetes.driver.pod.name={chosen.name}"
    # The pod is watched by this script: Spark's own watching exits 0 whatever the driver did.
    yield "spark.kubernetes.submission.waitAppCompletion=false"
    if chosen.context:
        yield f"spark.kubernetes.context={chosen.context}"
    for role in ("driver", "executor"):
        yield f"spark.kubernetes.{role}.podTemplateFile={CONF / f'{role}-pod.yaml'}"
        for claim, path, access in chosen.claim:
            volume = f"spark.kubernetes.{role}.volumes.persistentVolumeClaim.{claim}"
            yield f"{volume}.options.claimName={claim}"
            yield f"{volume}.mount.path={path}"
            yield f"{volume}.mount.readOnly={'true' if access else 'false'}"
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if chosen.s3_secret else ():
            yield f"spark.kubernetes.{role}.secretKeyRef.{variable}={chosen.s3_secret}:{variable}"
    yield from chosen.conf


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parsed(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and facemean's arguments behind --."""
    parser = Parser(
        prog="submit-k8s",
        usage="%(prog)s --image REFERENCE [options] -- INPUT ... --output URI [options of facemean run]",
        description="Run on Kubernetes from outside, follow the driver's log, and exit as the driver did.",
    )
    namespace = read_properties(CONF / "kubernetes.conf")["spark.kubernetes.namespace"]
    parser.add_argument("--image", required=True, metavar="REFERENCE", help="the image of driver and executors")
    parser.add_argument("--master", metavar="URL", help="k8s://https://HOST:PORT (default: where kubectl goes)")
    parser.add_argument("--context", metavar="NAME", help="kubectl's context (default: the current one)")
    parser.add_argument("--namespace", default=namespace, metavar="NAME", help=f"(default {namespace})")
    name = f"facemean-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    parser.add_argument("--name", default=name, help="the driver's pod (default: facemean- and the time)")
    parser.add_argument(
        "--claim", action="append", default=[], metavar="NAME=/PATH[:ro]", help="mount a persistent volume claim"
    )
    parser.add_argument(
        "--s3-secret", metavar="NAME", help="a secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for s3a://"
    )
    parser.add_argument("--conf", action="append", default=[], metavar="K=V", help="a Spark property")
    at = words.index("--") if "--" in words else len(words)
    chosen, arguments = parser.parse_args(words[:at]), words[at + 1 :]
    if arguments[:1] == ["run"]:
        arguments = arguments[1:]
    if not arguments:
        parser.error("no arguments for facemean: -- INPUT ... --output URI")
    if chosen.master and not chosen.master.startswith(PREFIX):
        parser.error(f"--master {chosen.master!r} is not of the form {PREFIX}https://HOST:PORT")
    if not re.fullmatch(NAME, chosen.name):
        parser.error(f"--name {chosen.name!r} is no name of a pod: lower-case letters, digits and -")
    claims = [re.fullmatch(rf"({NAME})=(/[^:,\s]*)(:ro)?", claim) for claim in chosen.claim]
    for claim, match in zip(chosen.claim, claims, strict=True):
        if match is None:
            parser.error(f"--claim {claim!r} is not of the form NAME=/PATH or NAME=/PATH:ro")
    chosen.claim = [(match[1], match[3], match[4]) for match in claims if match]
    return chosen, arguments


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it does not say why"


def say(text: str) -> None:
    print(f"submit-k8s: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
