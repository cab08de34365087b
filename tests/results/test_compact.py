"""facemean compact: fewer files, the same rows, whatever breaks it off; and nothing left of photos that are gone."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import FAST, ROOT
from faults import flip_an_embedding
from helpers import wait_for
from pyspark.sql import functions as F

from spark_job import Settings, compact, run
from spark_job.__main__ import main
from spark_job.errors import NoFaceError, OutputError
from spark_job.results.output import reading
from spark_job.spark.hadoop import FileSystem
from spark_job.table import compact as merging
from spark_job.table.lock import only_run
from spark_job.table.stale import REASONS
from spark_job.table.store import no_rows

GONE = "obama2"


@pytest.fixture(scope="module")
def made(spark, face_photos, tmp_path_factory):
    """Settings of an output with every kind of row that does not count, and what killed commands leave."""
    photos = Path(shutil.copytree(face_photos, tmp_path_factory.mktemp("compact") / "photos"))
    output = photos.parent / "out"
    chosen = Settings((str(photos),), str(output), group_by="parent", **FAST)
    with pytest.raises(NoFaceError):
        run(dataclasses.replace(chosen, max_pixels=10), spark)
    run(chosen, spark)
    next(photos.rglob(f"{GONE}.jpg")).unlink()
    next(photos.rglob("obama3.jpg")).write_bytes(b"no photo")
    run(chosen, spark)
    latest = max(parts(output), key=lambda part: part.stat().st_mtime_ns)
    shutil.copy(latest, output / "photos" / "part-99999-died-late.parquet")
    return chosen


@pytest.fixture(scope="module")
def fresh(spark, made, tmp_path_factory):
    """What a run over the photos that are left comes to."""
    return run(dataclasses.replace(made, output=str(tmp_path_factory.mktemp("fresh") / "out")), spark)


@pytest.fixture
def finished(made, tmp_path):
    """The same of a copy that a test may change."""
    return dataclasses.replace(made, output=str(shutil.copytree(made.output, tmp_path / "out")))


def parts(output):
    return sorted(Path(output, "photos").glob("*.parquet"))


def rows_of(output):
    """All rows of the table, each as text in which every bit of a float shows, sorted."""
    return sorted(repr(row) for part in parts(output) for row in pq.ParquetFile(part).read().to_pylist())


def current(output):
    with reading(str(output)) as opened:
        return opened.current("status", "faces", "decode_ms").to_pylist()


def bytes_of(path):
    """What a reader of a file gets to see: of Parquet, all values and its own notes."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    file = pq.ParquetFile(path)
    return f"{file.read().to_pylist()} {file.metadata.metadata}".encode() + path.read_bytes()


def test_small_files_become_one_with_every_row_and_then_there_is_nothing_to_do(spark, finished, fresh, capsys):
    before, files = rows_of(finished.output), len(parts(finished.output))
    names = set(Path(finished.output).iterdir())
    done = compact(finished.output, spark=spark)
    assert (done["files"], done["rows"]["kept"]) == ({"before": files, "after": 1}, len(before))
    assert rows_of(finished.output) == before
    assert set(Path(finished.output).iterdir()) == names
    (merged,) = parts(finished.output)
    assert main(["compact", finished.output]) == 0
    assert f"nothing to merge: 1 file of {merged.stat().st_size / 1e6:,.1f} MB" in capsys.readouterr().out
    assert parts(finished.output) == [merged]
    again = run(finished, spark)
    assert (again.mean_sha256, again.encoded) == (fresh.mean_sha256, 0)


def test_without_what_is_stale_a_row_stays_for_each_photo_and_nothing_of_a_person_who_is_gone(
    spark, finished, fresh, capsys
):
    output, before = Path(finished.output), current(finished.output)
    held = next(part for part in parts(output) if GONE.encode() in bytes_of(part))
    left = (".outliers.faces/part-0.parquet", "damaged/part-1.parquet", "photos/_temporary/0/part-2.parquet")
    for name in left:
        (output / name).parent.mkdir(parents=True)
        shutil.copy(held, output / name)
    (output / ".report.html.new").write_text(GONE)
    assert main(["compact", finished.output, "--drop-stale", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["rows"].pop("kept") == len(rows_of(finished.output)) == len(before) == 5
    assert set(done["rows"]) == set(REASONS)
    assert min(done["rows"].values()) > 0
    assert done["removed"] == [".outliers.faces", ".report.html.new", "standing.json", "damaged", "photos/_temporary"]
    assert current(finished.output) == before
    for path in output.rglob("*"):
        assert GONE not in str(path)
        assert path.is_dir() or GONE.encode() not in bytes_of(path), path
    assert json.loads((output / "mean.json").read_text())["mean_sha256"] == fresh.mean_sha256
    assert run(finished, spark).mean_sha256 == fresh.mean_sha256


def test_groups_of_an_earlier_run_are_stale_where_the_latest_has_none(spark, finished):
    run(dataclasses.replace(finished, group_by="none"), spark)
    assert "groups" in compact(finished.output, drop_stale=True, spark=spark)["removed"]
    assert not Path(finished.output, "groups").exists()


def test_what_is_stale_is_not_dropped_by_a_run_that_has_not_finished_or_lacks_rows(spark, finished, capsys):
    before = rows_of(finished.output)
    document = Path(finished.output, "run.json")
    told = json.loads(document.read_text())
    for change, says in (
        ({"started": "2100-01-01T00:00:00+00:00"}, "has not finished: run it again first"),
        ({"listed": 6}, "5 rows .* count where the latest run listed 6 photos: run it again first"),
    ):
        document.write_text(json.dumps(told | change))
        assert main(["compact", finished.output, "--drop-stale"]) == 1
        assert re.search(says, capsys.readouterr().err)
    assert rows_of(finished.output) == before
    assert main(["compact", f"{finished.output}/none"]) == 1
    assert "there is no output" in capsys.readouterr().err


def test_an_output_in_use_is_left_alone(spark, finished):
    with only_run(FileSystem(spark, finished.output)), pytest.raises(OutputError, match="another run or compaction"):
        compact(finished.output, spark=spark)


def test_a_damaged_file_is_named_and_nothing_changed(spark, finished):
    damaged = max(parts(finished.output), key=lambda part: part.stat().st_size)
    flip_an_embedding(damaged)
    before = parts(finished.output)
    with pytest.raises(OutputError, match=rf"{damaged.name}.*--repair"):
        compact(finished.output, spark=spark)
    assert parts(finished.output) == before


@pytest.mark.slow
def test_files_come_out_of_about_the_target_and_those_that_are_large_stay(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "SMALL_BYTES", 100_000)
    monkeypatch.setattr(merging, "TARGET_BYTES", 300_000)
    photos = str(tmp_path / "photos")
    for first, count, files in ((0, 3000, 30), (3000, 500, 1), (4000, 0, 1)):
        odd_rows(spark, first, count).repartition(files).write.mode("append").parquet(photos)
    large = max(parts(tmp_path), key=lambda part: part.stat().st_size)
    before = rows_of(tmp_path)
    done = compact(str(tmp_path), spark=spark)
    assert done["rows"]["kept"] == len(before) == 3500
    assert rows_of(tmp_path) == before
    merged = [part.stat().st_size for part in parts(tmp_path) if part != large]
    assert len(merged) == len(parts(tmp_path)) - 1 == done["files"]["after"] - 1
    assert 150_000 < min(merged) <= max(merged) < 600_000
    assert compact(str(tmp_path), spark=spark)["files"]["before"] == done["files"]["after"]


def odd_rows(spark, first, count):
    """Rows whose names, times and embeddings are such as are easily lost; some of them twice."""
    nothing = no_rows(spark)
    values = "transform(sequence(1, 124), i -> float(xxhash64(id, i)) / 1e19)"
    embedding = f"array_append({values}, float('NaN'))"
    for odd in ("-0.0", "1e-42", "-Infinity"):
        embedding = f"array_append({embedding}, float('{odd}'))"
    face = (
        "named_struct('top', -1, 'right', 2, 'bottom', 3, 'left', 4, 'detector', 'hog', 'score', float(id), "
        f"'landmarks', array(named_struct('x', 5, 'y', 6)), 'embedding', {embedding})"
    )
    rows = spark.range(first, first + count).selectExpr(
        r"concat('file:/zażółć/', id DIV 2 * 2, '\n%20.jpg') AS path",
        "id DIV 2 AS length",
        "timestamp_micros(id DIV 2 * 1234567) AS modificationTime",
        "if(id % 3 = 0, null, '') AS `group`",
        "if(id % 5 < 2, 'a', 'b') AS settings_id",
        f"if(id % 4 = 0, null, slice(array({face}, {face}), 1, int(id % 4) - 1)) AS faces",
    )
    return nothing.unionByName(rows.withColumn("faces", F.col("faces").cast(nothing.schema["faces"].dataType)), True)


class Killed(BaseException):
    """In the place of kill -9, of which nothing is told."""


CHANGES = ("replace_file", "move", "remove_files", "remove")
# What an object store, which has no folders and no rename, may have done of a change when it breaks off.
HALVES = {
    "move": lambda output, name, to: shutil.copy(f"{output.local_path}/{name}", f"{output.local_path}/{to}"),
    "remove": lambda output, name: Path(output.local_path, name, "manifest.json").unlink(missing_ok=True),
}


@contextmanager
def killed_at(change, by_halves):
    """Of the changes that the body makes to files, those before this one are made; by_halves: and half of this one.

    Yields a list of what it died of, empty where the body makes fewer.
    """
    numbers, died_of = itertools.count(1), []

    def counted(name, make):
        def make_or_die(self, *arguments):
            if (not by_halves or name in HALVES) and next(numbers) == change:
                if by_halves:
                    HALVES[name](self, *arguments)
                died_of.append((name, *arguments))
                raise Killed
            return make(self, *arguments)

        return make_or_die

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for name in CHANGES:
            patch.setattr(FileSystem, name, counted(name, getattr(FileSystem, name)))
        remove = FileSystem.remove_files

        def remove_one_first(self, folder, names):
            for some in (names[:1], names[1:]):
                remove(self, folder, some)

        patch.setattr(FileSystem, "remove_files", remove_one_first)
        yield died_of


@pytest.mark.parametrize(("drop_stale", "by_halves"), [(False, False), (True, False), (False, True)])
def test_wherever_it_is_killed_readers_a_run_and_another_compaction_find_each_row_once(
    spark, made, fresh, tmp_path, monkeypatch, drop_stale, by_halves
):
    monkeypatch.setattr(merging, "TARGET_BYTES", 10_000 if drop_stale else 30_000)  # so that several files are made
    before, states = current(made.output), []
    undisturbed = Path(shutil.copytree(made.output, tmp_path / "undisturbed"))
    compact(str(undisturbed), drop_stale, spark)
    for change in itertools.count(1):
        killed = Path(shutil.copytree(made.output, tmp_path / f"{change}"))
        with killed_at(change, by_halves) as died_of:
            compact(str(killed), drop_stale, spark)
        if not died_of:
            break
        states += died_of
        assert current(killed) == before, died_of
        copied = shutil.copytree(killed, tmp_path / f"{change}-run")
        again = run(dataclasses.replace(made, output=str(copied), group_by="none"), spark)  # in half the time
        assert (again.mean_sha256, again.encoded) == (fresh.mean_sha256, 0), died_of
        compact(str(killed), drop_stale, spark)
        assert rows_of(killed) == rows_of(undisturbed), died_of
        assert not (killed / merging.WORK).exists()
    assert [name for name, *_ in states].count("move") > 1
    assert {name for name, *_ in states} == set(HALVES if by_halves else CHANGES)


@pytest.mark.parametrize("moment", [merging.WORK, merging.MANIFEST])
def test_kill_9_of_a_compaction_changes_no_result(spark, finished, fresh, moment):
    output = Path(finished.output)
    rows = set(rows_of(output))
    for i in range(300):
        shutil.copy(parts(output)[0], output / "photos" / f"part-{i:05}-twice.parquet")
    command = [sys.executable, "-m", "spark_job", "compact", str(output)]
    compacting = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    wait_for((output / moment).exists, f"{moment} is there")
    os.killpg(compacting.pid, signal.SIGKILL)
    assert compacting.wait() == -signal.SIGKILL
    assert set(rows_of(output)) == rows
    again = run(finished, spark)
    assert (again.mean_sha256, again.encoded) == (fresh.mean_sha256, 0)
    compact(str(output), spark=spark)
    assert set(rows_of(output)) == rows
    assert len(parts(output)) == 1


def test_a_run_says_when_there_are_so_many_small_files_that_compacting_is_worth_it(finished, capsys, monkeypatch):
    arguments = ["run", *finished.inputs, "--output", finished.output, "--detector", "hog", "--max-failed", "1"]
    assert main(arguments) == 0
    assert "facemean compact" not in capsys.readouterr().err
    monkeypatch.setattr(merging, "MANY_FILES", 1)
    assert main(arguments) == 0
    assert re.search(
        rf"photos/ holds \d+ files of 0.0 MB: facemean compact file:{finished.output} ", capsys.readouterr().err
    )
