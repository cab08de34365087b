"""A driver's pod, followed from its making to its end."""

import time
from datetime import UTC, datetime

from kubectl import DRIVER, POLL_S, Kubectl, Object, say

from spark_job.errors import FacemeanError
from spark_job.spark.pods import ended, stuck, waits_for

START_S = 600.0


class NotStartedError(FacemeanError):
    """A pod that will not start before a person has acted, or has not for too long."""


class Patience:
    """How long to wait for a start, in seconds, and what has been said meanwhile."""

    def __init__(self, start_s: float) -> None:
        self._start_s, self._deadline, self._said = start_s, time.monotonic() + start_s, ""

    def wait(self, who: str, why: str) -> None:
        """Say why nothing starts, where that is news, and wait a moment. Raises NotStartedError."""
        if time.monotonic() > self._deadline:
            raise NotStartedError(f"{who} did not start in {self._start_s:.0f} s: {why or 'it is not known why'}")
        if why and why != self._said:
            say(f"waits   {why}")
            self._said = why
        time.sleep(POLL_S)


def follow(kubectl: Kubectl, name: str, start_s: float) -> Object | None:
    """Show a driver's log until it ends; returns its pod as it ended, None where it is gone.

    Raises NotStartedError where it does not start, at the latest after start_s.
    """
    since, shown, patience = None, False, Patience(start_s)
    while True:
        pod = kubectl.get("pod", name)
        if pod is None:
            return None
        if trouble := stuck(pod):
            raise NotStartedError(trouble)
        state, waits = driver_state(pod), ""
        if "running" in state or ("terminated" in state and not shown):
            began = time.monotonic()
            waits = kubectl.log(name, since)
            shown = not waits or "terminated" in state
            if time.monotonic() - began > POLL_S:  # the connection was cut: on from here
                since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            patience = Patience(start_s)
        elif pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return pod
        patience.wait(f"pod {name}", waits or waits_why(kubectl, pod))


def waits_why(kubectl: Kubectl, pod: Object) -> str:
    """What keeps a pod from starting: its status, or, where that has no more than a word, the last warning of it."""
    why = waits_for(pod)
    return why if ": " in why else kubectl.warning("Pod", pod["metadata"]["name"]) or why


def driver_state(pod: Object) -> Object:
    """The state of the driver's container."""
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((s.get("state", {}) for s in statuses if s.get("name") == DRIVER), {})


def exit_code(pod: Object) -> int:
    """The driver's, after a word on how it failed; 1 where facemean had no say in it."""
    if pod["status"]["phase"] == "Succeeded":
        return 0
    say(f"the driver failed: {ended(pod)}")
    if "OOMKilled" in ended(pod):
        say("it wants more memory: --conf spark.driver.memoryOverhead=1g")
    code = driver_state(pod).get("terminated", {}).get("exitCode", 1)
    return code if code in (1, 2, 3) else 1
