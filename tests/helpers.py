"""What several tests do that is no fixture: find programs and jars, wait, make once what two processes both need."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pyspark
import pytest

ROOT = Path(__file__).resolve().parent.parent
SPARK = Path(pyspark.__file__).parent


def skip(why: str, command: str) -> NoReturn:
    """Skip a test for want of something that a command brings; the run ends with a line that says the commands."""
    pytest.skip(f"{why}: run {command}")


def program(name: str) -> str:
    """A program of the locked requirements, or else one of that name on PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which(name, path=places) or skip(f"{name} is missing", "scripts/setup dev")


def path_to(name: str) -> str:
    """A PATH on which a program of the locked requirements comes first."""
    return os.pathsep.join([str(Path(program(name)).parent), os.environ["PATH"]])


def kustomize(folder: Path) -> str:
    """What a folder of k8s/ comes to."""
    done = subprocess.run([program("kubectl"), "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetched(jars: str, folder: Path = SPARK / "jars") -> Path:
    """The folder with the jars of a list in it; where they cannot be had, the test is skipped."""
    command = ["scripts/jars", jars, *([] if folder == SPARK / "jars" else [str(folder)])]
    environment = os.environ | {"SPARK_HOME": str(SPARK)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        skip(f"the jars of {jars} are missing and cannot be fetched", " ".join(command))
    return folder


def wait_for(holds: Callable[[], object], what: str, at_most_s: float = 240) -> None:
    deadline = time.monotonic() + at_most_s
    while not holds():
        assert time.monotonic() < deadline, f"not in {at_most_s} s: {what}"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def alone(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """While the body runs, no other process of these tests runs one of that name; yields a folder that they share."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield shared


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of that name, which the first process that asks for it makes."""
    with alone(factory, name) as shared:
        if not (shared / name).exists():
            scratch = factory.mktemp(name)
            make(scratch)
            scratch.rename(shared / name)
        return shared / name
