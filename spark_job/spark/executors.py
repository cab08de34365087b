"""Executors: on Kubernetes, a run's own watch over executors that do not come: why, in its log, and an end to it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext

from spark_job.errors import FacemeanError, NoExecutorError
from spark_job.spark.pods import waits_for

# How long a run waits where there is work and no executor at all. 0: for ever.
TIMEOUT, TIMEOUT_DEFAULT = "spark.facemean.executorsTimeout", "10min"
POLL_S = 5.0
PATIENCE_S = 20.0  # before the first word: a pod takes so long on a good day
SAID_EVERY_S = 60.0  # at most, since the kubelet's words change while it tries


@contextmanager
def awaited(context: SparkContext, say: Callable[[str], None]) -> Iterator[None]:
    """While the body runs on Kubernetes, say why no executor comes, and end it where none does for too long.

    Raises NoExecutorError where none ever came, and so nothing was written; FacemeanError where all were lost.
    """
    if not str(context.master).startswith("k8s://"):
        yield
        return
    watch = _Watch(context, say)
    thread = Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield
    except Exception:
        if watch.gave_up:  # the job that this cancelled is no news
            raise watch.gave_up from None
        raise
    finally:
        watch.done.set()
        thread.join(POLL_S)  # and no longer, where the API server does not answer it


class _Watch:
    def __init__(self, context: SparkContext, say: Callable[[str], None]) -> None:
        self._context, self._say = context, say
        self._spark: Any = context._jsc.sc()
        self._namespace: str = self._spark.conf().get("spark.kubernetes.namespace", "default")
        self._timeout_s: int = self._spark.conf().getTimeAsSeconds(TIMEOUT, TIMEOUT_DEFAULT)
        self._came = False
        self._said, self._said_at = "", 0.0
        self.done = Event()
        self.gave_up: FacemeanError | None = None

    def run(self) -> None:
        """Look from time to time until the body is done."""
        since = None
        while not self.done.wait(POLL_S):
            with suppress(OSError, Py4JError):  # of a Java process that has gone: the run itself tells of that
                if not self._waits():
                    since = None
                    continue
                since = since or time.monotonic()
                self._waited(time.monotonic() - since)

    def _waits(self) -> bool:
        """Whether there is work, and no executor to do it."""
        here = self._spark.getExecutorIds().size() > 0
        self._came = self._came or here
        return not here and len(self._spark.statusTracker().getActiveJobIds()) > 0

    def _waited(self, waited_s: float) -> None:
        if self.gave_up or 0 < self._timeout_s <= waited_s:
            self.gave_up = self.gave_up or self._error()
            self._context.cancelAllJobs()  # again for each that the run may yet begin
        elif waited_s >= PATIENCE_S and time.monotonic() - self._said_at >= SAID_EVERY_S:
            why = self._why()
            if why != self._said:
                until = f"; the run ends in {self._timeout_s - waited_s:.0f} s if none comes" if self._timeout_s else ""
                self._say(f"waits    no executor: {why}{until} ({TIMEOUT})")
                self._said, self._said_at = why, time.monotonic()

    def _error(self) -> FacemeanError:
        kind, what = (FacemeanError, "all executors were lost, and none") if self._came else (NoExecutorError, "none")
        return kind(
            f"{what} came in {self._timeout_s} s: {self._why()}. kubectl -n {self._namespace} describe pods tells "
            f"more; --conf {TIMEOUT}=30min waits longer; the same command goes on from here"
        )

    def _why(self) -> str:
        """What the executors' pods wait for, in the words of the scheduler or the kubelet."""
        namespace = self._namespace
        labels = f"spark-app-selector%3D{self._context.applicationId},spark-role%3Dexecutor"
        try:
            client = self._spark.schedulerBackend().kubernetesClient()
            pods = json.loads(client.raw(f"/api/v1/namespaces/{namespace}/pods?labelSelector={labels}"))["items"]
        except Py4JJavaError as error:
            return f"the API server does not tell of their pods ({error.java_exception.getMessage()})"
        if not pods:
            return f"no pod of one was made, as by a quota or Pod Security: kubectl -n {namespace} get events tells"
        told = [(waits_for(pod), pod["metadata"]["name"]) for pod in pods]
        why, name = max(told, key=lambda one: bool(one[0]))
        others = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
        return f"pod {name}{others}: " + (why or f"it does not reach the driver: kubectl -n {namespace} logs {name}")
