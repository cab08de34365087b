"""Isolate: work in a child process, so that what crashes or hangs native code costs one photo, not its task.

A first attempt works in Spark's own worker, under time_limit. What ends that worker costs the task one attempt, and
the next attempt works through isolated.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, NamedTuple

from spark_job.errors import PhotoError

# What one photo may take, over what the models take: a limit here is a status, one of the machine ends an executor.
MEMORY_BYTES = 2 * 2**30
STDERR_TAIL = 300  # characters of a dead child's last words

Work = Callable[[Any], Any]


class Child(NamedTuple):
    """A process that answers items one by one, our end of the pipe to it, and what it says on standard error."""

    process: subprocess.Popen[bytes]
    connection: Connection
    stderr: IO[bytes]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End this process, by SIGALRM, where the body takes longer.

    The kernel does it: native code that hangs holds Python's lock, and no thread or handler of Python's would run.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def isolated(
    make: Callable[[], Work], items: Iterable[Any], timeout_s: float, memory_bytes: int = MEMORY_BYTES
) -> Iterator[tuple[Any, Any]]:
    """Each item with the answer of make()(item), had from a child process; a PhotoError where it died of it.

    make is called in each new child, and must be importable there. What it raises is raised here. timeout_s is for
    one item; memory_bytes is what the child may take over what it has when make returns.
    """
    child: Child | None = None
    try:
        for item in items:
            child = child or _start(make, timeout_s, memory_bytes)
            try:
                child.connection.send(item)
                answer = child.connection.recv()
            except (EOFError, ConnectionError):
                answer, child = _cause_of_death(child, timeout_s), None
            yield item, answer
    finally:
        if child:
            _stop(child)


def _start(make: Callable[[], Work], timeout_s: float, memory_bytes: int) -> Child:
    """A new process, by fork and exec at once: a copy of a process with threads may hang (dlib, OpenMP, gRPC)."""
    ours, theirs = Pipe()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", "from spark_job.table.isolate import serve; serve()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    child = Child(process, ours, stderr)
    try:
        ours.send((make, timeout_s, memory_bytes))
        failed = ours.recv()
    except (EOFError, ConnectionError):
        raise RuntimeError(
            f"a child process died before its first photo: {_cause_of_death(child, timeout_s)}"
        ) from None
    if failed is not None:
        _stop(child)
        raise failed
    return child


def serve() -> None:
    """The child: answer items until there are no more. The number of its end of the pipe is its argument."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    connection: Connection = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, ConnectionError):  # of a parent that has gone
        make, timeout_s, memory_bytes = connection.recv()
        try:
            work = make()
        except Exception as error:
            connection.send(error)
            return
        _limit_memory(memory_bytes)
        connection.send(None)
        while True:
            item = connection.recv()
            with time_limit(timeout_s):
                answer = work(item)
            connection.send(answer)


def _limit_memory(more_bytes: int) -> None:
    """Let this process take so much more memory, where the system tells how much it has."""
    with contextlib.suppress(FileNotFoundError):  # not Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _cause_of_death(child: Child, timeout_s: float) -> PhotoError:
    """The status and the message for the photo that a child died of."""
    code = child.process.wait()
    child.stderr.seek(0)
    said = " ".join(child.stderr.read().decode(errors="replace").split())[-STDERR_TAIL:]
    _stop(child)
    if code == -signal.SIGALRM:
        return PhotoError("timed_out", f"it took more than the {timeout_s:g} s that --photo-timeout allows")
    how = f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
    return PhotoError("crashed", f"the process that encoded it ended {how}" + (f": {said}" if said else ""))


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name} (killed, perhaps for want of memory)" if number == signal.SIGKILL else name


def _stop(child: Child) -> None:
    child.connection.close()
    child.stderr.close()
    child.process.kill()
    child.process.wait()
