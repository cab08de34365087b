"""kubectl, for one cluster and namespace. Python's own library only: scripts/deploy runs without a set-up."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from spark_job.errors import FacemeanError

DRIVER = "spark-kubernetes-driver"
POLL_S, PATIENCE_S = 2.0, 300.0
Object = dict[str, Any]


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

    def get(self, kind: str, *names: str) -> Object | None:
        """An object by its name, or a list by options; None where there is none.

        Raises FacemeanError where that is not known for PATIENCE_S.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                found: Object = json.loads(self("get", kind, *names, "--output", "json"))
                return found
            except FacemeanError as error:
                if "(NotFound)" in str(error):
                    return None
                if "(Forbidden)" in str(error) or time.monotonic() > deadline:
                    what = " ".join((kind, *names))
                    raise FacemeanError(f"{what} cannot be looked at, and may go on: {error}") from None
            time.sleep(POLL_S)

    def warning(self, kind: str, name: str) -> str:
        """What the cluster last warned of an object, "" where it did not, or does not tell this user."""
        about = f"type=Warning,involvedObject.kind={kind},involvedObject.name={name}"
        try:
            events = json.loads(self("get", "events", "--field-selector", about, "--output", "json"))["items"]
        except FacemeanError:
            return ""
        last: Object = max(
            events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", default={}
        )
        return " ".join(last.get("message", "").split())

    def log(self, name: str, since: str | None) -> str:
        """Print a driver's log until its container ends; returns what went wrong, "" where nothing did."""
        after = [f"--since-time={since}"] if since else []
        command = [*self._command, "logs", name, "--container", DRIVER, "--follow", *after]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        return last_line(done.stderr) if done.returncode else ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it does not say why"


def say(text: str) -> None:
    """A line on standard error, under the name of the script that a person called."""
    print(f"{Path(sys.argv[0]).stem.replace('_', '-')}: {text}", file=sys.stderr, flush=True)
