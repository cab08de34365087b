"""What ends a process costs one photo: its row says so, and the others have theirs."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT
from helpers import wait_for
from PIL import Image

from spark_job import run
from spark_job.errors import ModelError
from spark_job.table.isolate import isolated

MIB = 2**20


def double(item):
    """Work that does what an item says, and doubles numbers."""
    if isinstance(item, signal.Signals):
        os.kill(os.getpid(), item)
        time.sleep(60)
    if item == "segfault":
        ctypes.string_at(0)
    if item == "hang":  # native code that holds Python's lock
        ctypes.PyDLL(None).sleep(60)
    if item == "exit":
        os._exit(7)
    if item == "memory":
        try:
            return len(bytearray(1024 * MIB))
        except MemoryError:
            return "refused"
    return item * 2


def doubler():
    return double


def broken():
    raise ModelError("the model is damaged")


def answers(items, **options):
    return [answer for _, answer in isolated(doubler, items, **{"timeout_s": 30, **options})]


@pytest.mark.slow
@pytest.mark.parametrize("signal_", ["SIGSEGV", "SIGILL", "SIGABRT", "SIGBUS", "SIGKILL", "SIGFPE"])
def test_a_signal_costs_the_item_that_it_came_with(signal_):
    before, crashed, after = answers([1, signal.Signals[signal_], 2])
    assert (before, after) == (2, 4)
    assert crashed.status == "crashed"
    assert signal_ in crashed.message


def test_native_crashes_and_exits_are_told_from_each_other():
    segfault, exited, last = answers(["segfault", "exit", 3])
    assert "SIGSEGV" in segfault.message
    assert "exit code 7" in exited.message
    assert last == 6


@pytest.mark.slow
def test_native_code_that_hangs_with_pythons_lock_is_ended():
    started = time.monotonic()
    hung, after = answers(["hang", 1], timeout_s=1)
    assert (hung.status, after) == ("timed_out", 2)
    assert "1 s that --photo-timeout allows" in hung.message
    assert time.monotonic() - started < 30


def test_memory_is_limited_and_the_process_lives_on():
    assert answers(["memory", 1], memory_bytes=256 * MIB) == ["refused", 2]
    assert answers(["memory"], memory_bytes=2048 * MIB) == [1024 * MIB]


def test_what_making_the_work_raises_is_raised_here():
    with pytest.raises(ModelError, match="the model is damaged"):
        list(isolated(broken, [1], 10))


def test_no_child_is_left_behind():
    some = isolated(doubler, [1, 2], 10)
    next(some)
    assert len(children()) == 1
    some.close()
    assert not children()


@pytest.mark.slow
def test_a_child_ends_with_its_parent(tmp_path):
    """A worker that is killed leaves nothing that runs on."""
    told = tmp_path / "pid"
    script = (
        "import os, psutil; from test_isolate import doubler; from spark_job.table.isolate import isolated\n"
        f"some = isolated(doubler, [1, 'hang'], 3); next(some)\n"
        f"open({str(told)!r}, 'w').write(str(psutil.Process().children()[0].pid)); next(some)"
    )
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent)))
    parent = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": paths})
    wait_for(lambda: told.exists() and told.read_text(), "the child is named")
    child = int(told.read_text())
    parent.kill()
    parent.wait()
    wait_for(lambda: not psutil.pid_exists(child), "the child has ended", 30)


def children():
    return [child for child in psutil.Process().children() if "spark_job.table.isolate" in " ".join(child.cmdline())]


def rows_of(spark, output):
    return {Path(row.path).name: row for row in spark.read.parquet(f"{output}/photos").collect()}


ACCIDENTS = {
    "SIGSEGV": "crashed", "SIGILL": "crashed", "SIGABRT": "crashed", "SIGKILL": "crashed", "hang": "timed_out",
    "memory": "too_large", "exception": "unreadable",
}  # fmt: skip


@pytest.mark.slow
def test_photos_that_kill_or_hang_their_worker_cost_themselves_only(spark, face_photos, tmp_path):
    """Several in a partition, and some in each: a partition here has 4 photos."""
    photo = (face_photos / "biden" / "biden.jpg").read_bytes()
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for i, accident in enumerate([*ACCIDENTS, "SIGSEGV", "hang"]):
        (folder / f"{i}-{accident}.jpg").write_bytes(photo + b"accident:" + accident.encode())
        (folder / f"{i}-good.jpg").write_bytes(photo)
    paths = os.pathsep.join((str(ROOT / "tests" / "table" / "hostile"), str(ROOT)))
    options = ["--detector=hog", "--photo-timeout=3", "--master=local[2]", "--conf=spark.ui.port=0", "--quiet"]
    command = [sys.executable, "-m", "spark_job", "run", folder, "--output", output, *options, "--max-failed=0.4"]
    ended = subprocess.run([*command, f"--conf=spark.executorEnv.PYTHONPATH={paths}"], cwd=ROOT, check=False)
    rows = rows_of(spark, output)
    expected = {path.name: ACCIDENTS.get(path.stem.split("-")[1], "ok") for path in folder.iterdir()}
    assert {name: row.status for name, row in rows.items()} == expected
    assert all(name.split("-")[1][:-4] in row.message for name, row in rows.items() if row.status == "crashed")
    assert ended.returncode == 3  # half of them failed, and --max-failed allows 0.4


@pytest.mark.slow
def test_what_native_code_raises_is_the_status_of_one_photo(spark, settings, face_photos, tmp_path):
    """dlib's CNN detector raises RuntimeError on a photo of a few pixels."""
    for side_px in (1, 4, 9):
        Image.new("RGB", (side_px, side_px), (200, 150, 120)).save(tmp_path / f"{side_px}.png")
    with Image.open(face_photos / "biden" / "biden.jpg") as photo:
        photo.resize((320, 320)).save(tmp_path / "face.png")
    chosen = settings(tmp_path, engine="face_recognition", detector="cnn")
    run(chosen, spark)
    rows = rows_of(spark, chosen.output)
    statuses = {name: row.status for name, row in rows.items()}
    assert statuses == {"1.png": "crashed", "4.png": "crashed", "9.png": "crashed", "face.png": "ok"}
    assert rows["1.png"].message.startswith("RuntimeError: Error detected at line")


@pytest.mark.slow
def test_a_photo_that_takes_too_long_is_timed_out_and_the_others_are_not(spark, settings, face_photos, tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (3000, 4000, 3), dtype=np.uint8)
    slow = tmp_path / "slow.jpg"
    Image.fromarray(noise).save(slow)
    chosen = settings(face_photos / "obama", slow, upsample=2, photo_timeout=3.0)
    result = run(chosen, spark)
    rows = rows_of(spark, chosen.output)
    assert rows["slow.jpg"].status == "timed_out"
    assert result.photos["ok"] == 4
