"""Lock: one run at a time on one output. What a dead run leaves behind stops nobody."""

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JJavaError

from spark_job.errors import OutputError
from spark_job.hadoop import FileSystem, reason

NAME = ".facemean.lock"
RENEWED_EVERY_S = 15.0
# A run that was busy, or cut off from the storage, for so long is taken for dead.
STALE_S = 120.0


@contextmanager
def only_run(output: FileSystem) -> Iterator[None]:
    """Hold the output while the body runs. Raises OutputError where another run holds it."""
    with _flock(output) if output.is_local else lease(output):
        yield


@contextmanager
def _flock(output: FileSystem) -> Iterator[None]:
    """On a local file system: the kernel lets go of the lock when the process ends, however it does."""
    handle = os.open(Path(output.local_path) / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _held(output, os.read(handle, 4096)) from None
        os.ftruncate(handle, 0)
        os.write(handle, _who())
        yield
    finally:
        os.close(handle)


@contextmanager
def lease(output: FileSystem, renewed_every_s: float = RENEWED_EVERY_S, stale_s: float = STALE_S) -> Iterator[None]:
    """On any other: a file that is written again and again; one that was not for stale_s is a dead run's."""
    me = _who()
    try:
        if not output.create(NAME, me):
            if _age_s(output) < stale_s:
                raise _held(output, output.read(NAME))
            output.replace_file(NAME, me)
    except Py4JJavaError as error:
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


def _renew(output: FileSystem, me: bytes, done: threading.Event, every_s: float) -> None:
    while not done.wait(every_s):
        try:
            output.replace_file(NAME, me)
        except Py4JJavaError:
            continue  # of storage that is away for a moment: the next time may do


def _age_s(output: FileSystem) -> float:
    """How long ago the lock was renewed, by the storage's own clock."""
    output.replace_file(NAME + ".now", b"")
    now_ms, renewed_ms = output.modified_ms(NAME + ".now"), output.modified_ms(NAME)
    output.remove(NAME + ".now")
    return (now_ms - renewed_ms) / 1e3


def _who() -> bytes:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return json.dumps({"host": platform.node(), "process": os.getpid(), "since": since}).encode()


def _held(output: FileSystem, by: bytes) -> OutputError:
    try:
        told = "process {process} on {host}, since {since}".format(**json.loads(by))
    except (ValueError, KeyError, TypeError):
        told = "a run that has just begun"
    return OutputError(
        f"another run is writing to {output.uri}: {told}. Wait for it or stop it, or give another --output"
    )
