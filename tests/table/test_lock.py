"""One run at a time on one output, and a dead run's lock stops nobody."""

import resource
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from spark_job import run
from spark_job.errors import OutputError
from spark_job.spark.hadoop import FileSystem
from spark_job.table.lock import NAME, lease, only_run

HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "


@pytest.fixture
def output(spark, tmp_path):
    folder = FileSystem(spark, str(tmp_path / "out"))
    folder.make()
    return folder


@pytest.mark.parametrize("lock", [only_run, partial(lease, renewed_every_s=0.2)])
def test_a_second_run_is_refused_and_told_who_holds_the_output(output, lock):
    with lock(output), pytest.raises(OutputError, match=r"another run .* process \d+ on .*, since"), lock(output):
        pass
    with lock(output):
        pass


@pytest.mark.slow
def test_the_lock_of_a_killed_process_holds_nobody_up(output, spark, settings, face_photos):
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD + "time.sleep(600)", Path(output.local_path) / NAME], stdout=subprocess.PIPE
    )
    held.stdout.readline()
    chosen = settings(face_photos, output=output.uri)
    with pytest.raises(OutputError, match="another run"):
        run(chosen, spark)
    held.kill()
    held.wait()
    assert run(chosen, spark).photos["listed"] == 6


def test_a_lock_that_cannot_be_written_is_told_and_not_taken_for_another_run(output):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(OutputError, match="cannot be locked: File too large"), only_run(output):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_lease_that_is_no_longer_renewed_holds_nobody_up_once_it_is_stale(output):
    assert output.create(NAME, b"of a run that died")
    begun = time.monotonic()
    with lease(output, renewed_every_s=0.2, stale_s=1):
        assert time.monotonic() - begun > 0.5
    assert not output.exists(NAME)


def test_a_lease_is_renewed_while_it_is_held(output):
    with lease(output, renewed_every_s=0.2, stale_s=1):
        time.sleep(1.5)
        with pytest.raises(OutputError, match="another run"), lease(output, renewed_every_s=0.2, stale_s=1):
            pass


def test_a_lease_that_ends_while_another_waits_for_it_is_the_others(output):
    assert output.create(NAME, b"of a run that ends")
    threading.Timer(0.5, output.remove, [NAME]).start()
    with lease(output, renewed_every_s=0.2, stale_s=60):
        assert output.exists(NAME)
