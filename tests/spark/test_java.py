"""Java starts without a word, and takes the classes that an earlier one left, or goes without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_job.spark.classes import KEPT_S, UNFINISHED_S, is_whole, keep, sharing

# Starts Java, and says which archive of classes it has in memory. Its own end ends Java.
STARTS = """
from pathlib import Path
from pyspark import SparkConf
from spark_job.spark.java import keep_classes, let_go, start_java
from spark_job.spark.session import logging_option
gateway = start_java(SparkConf().set("spark.driver.extraJavaOptions", logging_option()), records=True)
maps = Path(f"/proc/{gateway.proc.pid}/maps").read_text().split()
keep_classes(gateway)
print(*sorted({Path(word).name for word in maps if word.endswith(".jsa")} - {"classes.jsa", "classes_nocoops.jsa"}))
let_go(gateway)
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
    return (path for path in cache.glob("java-*.jsa") if is_whole(path))


@pytest.mark.slow
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
    assert sharing(java, jars, records=False) == ([], None)
    (option, _), new = sharing(java, jars, records=True)
    assert new
    assert option == f"-XX:ArchiveClassesAtExit={new}"

    # Of a run that did not go well; under way; whole.
    for content, is_kept in ((WHOLE, False), (UNFINISHED, True)):
        new.write_bytes(content)
        if is_kept:
            keep(new)
        assert sharing(java, jars, records=True)[0][0] == option
    new.write_bytes(WHOLE)
    archive = new.with_name(new.name.replace(f".{os.getpid()}", ""))
    assert sharing(java, jars, records=True)[0][0] == f"-XX:SharedArchiveFile={archive}"
    assert not new.exists()

    (jars / "b.jar").write_bytes(b"b")
    assert sharing(java, jars, records=False) == ([], None)


def test_archives_that_nobody_uses_go(cache: Path, jars: Path) -> None:
    ages = {"java-1.jsa": KEPT_S, "java-2.jsa": KEPT_S / 2, "java-3.1.jsa": UNFINISHED_S, "java-3.1.kept": UNFINISHED_S}
    for name, age in (ages | {"java-4.1.jsa": 0}).items():
        (cache / name).write_bytes(WHOLE)
        then = time.time() - age - 1
        os.utime(cache / name, (then, then))
    new = sharing(Path(sys.executable), jars, records=True).new
    assert new
    new.write_bytes(WHOLE)
    keep(new)
    sharing(Path(sys.executable), jars, records=False)
    archive = new.name.replace(f".{os.getpid()}", "")
    left = {path.name for path in cache.glob("*.jsa")}
    assert left == {"java-2.jsa", "java-4.1.jsa", archive}
