"""Submit to Kubernetes from outside: start a driver, follow its log, and exit as it did. See scripts/submit-k8s.

spark-submit exits 0 although the driver failed: what counts is how the driver's pod ended.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pyspark
from driver import START_S, NotStartedError, exit_code, follow
from kubectl import Kubectl, Object, last_line, say

from spark_job.checks.api_server import PREFIX, api_url
from spark_job.checks.preflight import preflight
from spark_job.errors import FacemeanError
from spark_job.settings import Settings, check_property
from spark_job.spark.pods import IMAGE
from spark_job.spark.session import read_properties

CONF = Path(__file__).resolve().parents[3] / "conf"
SPARK = Path(pyspark.__file__).parent
APPLICATION = "local:///opt/facemean/spark_job/__main__.py"
NAME = r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?"
STOPPED = 130


def main() -> int:
    chosen, arguments = _parsed(sys.argv[1:])
    try:
        for pair in chosen.conf:
            check_property(pair)
        kubectl = Kubectl(chosen.context, chosen.namespace)
        master = chosen.master or _master(kubectl)
        if chosen.master:
            kubectl.at(api_url(master))
        if chosen.check:
            conf = tuple(_properties(chosen))
            return 0 if preflight(Settings(("none",), "none", master=master, conf=conf)) else 1
        _check(kubectl, chosen, master)
        _submit(master, chosen, arguments)
        return watch(kubectl, chosen.name, chosen.start_timeout)
    except FacemeanError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return STOPPED


def watch(kubectl: Kubectl, name: str, start_s: float) -> int:
    """Follow a driver to its end, and say what it left; Ctrl-C ends that, and not the driver."""
    say(f"driver  pod {name}")
    say(f"watch   http://localhost:4040 after: {kubectl} port-forward pod/{name} 4040")
    try:
        pod = follow(kubectl, name, start_s)
    except NotStartedError as error:
        kubectl("delete", "pod", name, "--wait=false")  # it must not start once nobody watches
        raise NotStartedError(f"{error}. The driver's pod was deleted, and all that belongs to it") from None
    except KeyboardInterrupt:
        say(f"no longer watched, and the driver goes on: {kubectl} logs --follow {name}")
        say(f"stop    {kubectl} delete pod {name}")
        raise
    if pod is None:
        raise FacemeanError(f"the driver's pod {name} is gone, and how it ended is not known: somebody deleted it")
    code = exit_code(pod)
    say(f"left    pod {name} with its log, and what it owns: {_left(kubectl, pod)}")
    say(f"delete  {kubectl} delete pod {name}")
    return code


def _left(kubectl: Kubectl, pod: Object) -> str:
    """What goes with a driver's pod when that is deleted, by name where this user may look."""
    maps = {v["configMap"]["name"] for v in pod["spec"].get("volumes", []) if "configMap" in v}
    labelled = f"spark-app-selector={pod['metadata'].get('labels', {}).get('spark-app-selector')}"
    kinds = "pods,services,configmaps,networkpolicies"
    try:
        names = set(kubectl("get", kinds, "--selector", labelled, "--output", "name").split())
    except FacemeanError:
        return f"config maps {', '.join(sorted(maps))}, a service, a network policy, and its executors if it was killed"
    # configmap/NAME, networkpolicy.networking.k8s.io/NAME, ...
    told = {re.sub(r"\..*?/", "/", name) for name in names} | {f"configmap/{name}" for name in maps}
    return ", ".join(sorted(told - {f"pod/{pod['metadata']['name']}"}))


def _master(kubectl: Kubectl) -> str:
    """The address of the cluster that kubectl talks to."""
    try:
        return PREFIX + kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
    except FacemeanError as error:
        raise FacemeanError(
            f"kubectl has no cluster ({error}): set KUBECONFIG, or give --master {PREFIX}https://HOST:PORT"
        ) from None


def _check(kubectl: Kubectl, chosen: argparse.Namespace, master: str) -> None:
    """That the cluster answers, that the claims are there, and that the name is free."""
    try:
        kubectl("get", "--raw", "/version")
    except FacemeanError as error:
        raise FacemeanError(
            f"no API server answers at {api_url(master)} ({error}): kubectl cluster-info tells the address"
        ) from None
    for claim, *_ in chosen.claim:
        try:
            kubectl("get", "persistentvolumeclaim", claim, "--output", "name")
        except FacemeanError as error:
            if "(NotFound)" in str(error):
                raise FacemeanError(
                    f"there is no claim {claim} in namespace {chosen.namespace}: kubectl apply -k k8s/overlays/submit "
                    "makes photos and results; else make it, or name another"
                ) from None
    try:
        kubectl("get", "pod", chosen.name, "--output", "name")
    except FacemeanError as error:
        if "(NotFound)" in str(error):
            return
        raise FacemeanError(f"the API server does not tell of pods: {error}") from None
    raise FacemeanError(
        f"there is a pod {chosen.name} already: give another --name, or {kubectl} delete pod {chosen.name}"
    )


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
        usage="%(prog)s --image REFERENCE [options] -- INPUT ... --output URI [options of facemean run]\n"
        "       %(prog)s --image REFERENCE [options] --check",
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
    parser.add_argument(
        "--start-timeout",
        type=float,
        default=START_S,
        metavar="S",
        help=f"seconds after which a driver that has not started is deleted (default {START_S:.0f})",
    )
    parser.add_argument("--check", action="store_true", help="facemean check with this run's properties, and no run")
    at = words.index("--") if "--" in words else len(words)
    chosen, arguments = parser.parse_args(words[:at]), words[at + 1 :]
    if arguments[:1] == ["run"]:
        arguments = arguments[1:]
    if not arguments and not chosen.check:
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


if __name__ == "__main__":
    sys.exit(main())
