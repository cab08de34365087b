"""Java starts without a word, and takes the classes that an earlier one left, or goes without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job.spark import classes
from spark_job.spark.classes import KEPT_S, UNFINISHED_S, sharing_options

# Starts Java, and says which archive of classes it has in memory. Its own end ends Java.
STARTS = """
from pathlib import Path
from pyspark import SparkConf
from spark_job.spark.java import start_java
from spark_job.spark.session import logging_option
gateway = start_java(SparkConf().set("spark.driver.extraJavaOptions", logging_option()), records=True)
maps = Path(f"/proc/{gateway.proc.pid}/maps").read_text().split()
print(*sorted({Path(word).name for word in maps if word.endswith(".jsa")} - {"classes.jsa", "classes_nocoops.jsa"}))
"""
WHOLE, UNFINISHED = b"\xa8\xba\x0b\xf0", bytes(4)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "a.jar").write_bytes(b"a")
    return tmp_path / "jars"


def started() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=True)


def written(cache: Path) -> Iterator[Path]:
    return (path for path in cache.glob("java-*.jsa") if classes._is_whole(path))


def test_java_leaves_its_classes_to_the_next_start_and_says_nothing(cache: Path) -> None:
    first = started()
    assert (first.stdout.strip(), first.stderr) == ("", "")
    deadline = time.monotonic() + 120
    while not any(written(cache)) and time.monotonic() < deadline:
        time.sleep(0.1)
    second = started()
    (archive,) = cache.glob("java-*.jsa")
    assert (second.stdout.strip(), second.stderr) == (archive.name, "")

    archive.chmod(0o600)
    archive.write_bytes(WHOLE + b"damaged")
    third = started()
    assert (third.stdout.strip(), third.stderr) == ("", "")


def test_options_are_those_of_the_archive_for_this_java_and_these_jars(cache: Path, jars: Path) -> None:
    java = Path(sys.executable)
    assert sharing_options(java, jars, records=False) == []
    (option, _) = sharing_options(java, jars, records=True)
    name, path = option.split("=")
    assert name == "-XX:ArchiveClassesAtExit"
    assert path.endswith(f".{os.getpid()}.jsa")

    Path(path).write_bytes(UNFINISHED)
    assert sharing_options(java, jars, records=True)[0] == option
    Path(path).write_bytes(WHOLE)
    (taken, _) = sharing_options(java, jars, records=False)
    assert taken == f"-XX:SharedArchiveFile={path.replace(f'.{os.getpid()}', '')}"
    assert not Path(path).exists()

    (jars / "b.jar").write_bytes(b"b")
    assert sharing_options(java, jars, records=False) == []


def test_archives_that_nobody_uses_go(cache: Path, jars: Path) -> None:
    ages = {"java-1.jsa": KEPT_S, "java-2.jsa": KEPT_S / 2, "java-3.1.jsa": UNFINISHED_S, "java-4.1.jsa": 0}
    for name, age in ages.items():
        (cache / name).write_bytes(WHOLE)
        then = time.time() - age - 1
        os.utime(cache / name, (then, then))
    (option, _) = sharing_options(Path(sys.executable), jars, records=True)
    new = Path(option.split("=")[1])
    new.write_bytes(WHOLE)
    sharing_options(Path(sys.executable), jars, records=False)
    left = {path.name for path in cache.iterdir()}
    assert left == {"java-2.jsa", "java-4.1.jsa", new.name.replace(f".{os.getpid()}", "")}
