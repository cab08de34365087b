"""Lock: one run at a time on one output. What a dead run leaves behind stops nobody."""

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError

from spark_job.errors import OutputError

if TYPE_CHECKING:
    from spark_job.spark.hadoop import FileSystem

NAME = ".facemean.lock"
RENEWED_EVERY_S = 5.0
# A run that was cut off from the storage for so long is taken for dead. One that goes on where another was killed
# waits for this time at most, and two runs at once cost time, not the result: rows count once for each photo.
STALE_S = 20.0


@contextmanager
def only_run(output: "FileSystem") -> Iterator[None]:
    """Hold the output while the body runs. Raises OutputError where another run holds it."""
    with _flock(output) if output.is_local else lease(output):
        yield


@contextmanager
def _flock(output: "FileSystem") -> Iterator[None]:
    """On a local file system: the kernel lets go of the lock when the process ends, however it does."""
    with ExitStack() as held:
        try:
            handle = os.open(Path(output.local_path) / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.write(handle, _who())
        except BlockingIOError:
            raise _held(output, os.read(handle, 4096)) from None
        except OSError as error:  # a full disk, or a file system without locks
            raise OutputError(f"{output.uri} cannot be locked: {error.strerror}") from None
        yield


@contextmanager
def lease(output: "FileSystem", renewed_every_s: float = RENEWED_EVERY_S, stale_s: float = STALE_S) -> Iterator[None]:
    """On any other: a file that is written again and again; one that was not for stale_s is a dead run's."""
    me = _who()
    try:
        while not output.create(NAME, me):
            if by := _living(output, renewed_every_s, stale_s):
                raise _held(output, by)
            output.remove(NAME)
    except Py4JJavaError as error:
        from spark_job.spark.hadoop import reason

        raise OutputError(f"{output.uri} cannot be locked: {reason(error)}") from None
    done = threading.Event()
    renewer = threading.Thread(target=_renew, args=(output, me, done, renewed_every_s), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        done.set()
        renewer.join()
        output.remove(NAME)


def is_locked(folder: Path) -> bool:
    """Whether a run holds an output that lies on a local file system."""
    try:
        with (folder / NAME).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def is_leased(output: "FileSystem") -> bool:
    """Whether a run holds an output that lies elsewhere, or has died within the last STALE_S."""
    return output.exists(NAME) and _living(output, RENEWED_EVERY_S, STALE_S) is not None


def _renew(output: "FileSystem", me: bytes, done: threading.Event, every_s: float) -> None:
    while not done.wait(every_s):
        try:
            output.replace_file(NAME, me)
        except Py4JJavaError:
            continue  # of storage that is away for a moment: the next time may do


def _living(output: "FileSystem", every_s: float, stale_s: float) -> bytes | None:
    """Who holds the lock, if they live: they renew it before it is stale, by the storage's own clock."""
    try:
        by, found_ms = output.read(NAME), output.modified_ms(NAME)
        while output.modified_ms(NAME) == found_ms:
            if _now_ms(output) - found_ms >= stale_s * 1e3:
                return None
            time.sleep(every_s / 4)
    except Py4JJavaError:
        if output.exists(NAME):
            raise
        return None  # they have just ended
    return by


def _now_ms(output: "FileSystem") -> int:
    probe = f"{NAME}.{platform.node()}.{os.getpid()}"
    output.replace_file(probe, b"")
    now_ms = output.modified_ms(probe)
    output.remove(probe)
    return now_ms


def _who() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return json.dumps({"host": platform.node(), "process": os.getpid(), "since": since}).encode()


def _held(output: "FileSystem", by: bytes) -> OutputError:
    try:
        told = "process {process} on {host}, since {since}".format(**json.loads(by))
    except (ValueError, KeyError, TypeError):
        told = "a run that has just begun"
    return OutputError(
        f"another run or compaction is writing to {output.uri}: {told}. "
        "Wait for it or stop it, or give another --output"
    )
