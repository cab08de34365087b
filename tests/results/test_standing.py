"""What the last run found stands where nothing that it rests on has changed, and not otherwise."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from spark_job import run
from spark_job.results.documents import REPORT
from spark_job.results.result import document
from spark_job.results.standing import NAME

ABOUT_THE_RUN = {"encoded", "photos_per_second", "seconds", "started"}
JOBS = 4  # of a run that only lists its photos


def state(output: Path) -> dict[str, int]:
    """When each file of the results was written, ns."""
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def jobs(spark) -> int:
    """How many jobs Spark has begun."""
    return spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs()


@pytest.fixture
def kept(spark, settings, photos):
    """Settings of a finished run over photos of the test's own, with groups, and what it found."""
    chosen = settings(photos, group_by="parent")
    return chosen, run(chosen, spark)


def test_a_rerun_of_nothing_new_writes_only_that_it_ran(spark, kept):
    chosen, first = kept
    output = Path(chosen.output)
    (output / REPORT).write_text("of these photos")
    written, before = state(output), jobs(spark)
    again = run(chosen, spark)
    assert jobs(spark) - before <= JOBS, "it lists and counts, and sums nothing"
    assert {path for path, at in state(output).items() if written.get(path) != at} == {
        str(output / name) for name in ("mean.json", "mean.npy", "run.json", ".facemean.lock")
    }
    told, told_again = document(first), document(again)
    assert {name for name, value in told.items() if told_again[name] != value} <= ABOUT_THE_RUN
    assert (again.encoded, again.mean_sha256) == (0, first.mean_sha256)
    mean, begun = (json.loads((output / name).read_text()) for name in ("mean.json", "run.json"))
    assert mean["started"] == begun["started"], "what reads the output sees a run that has ended"
    assert begun["missing"] == 0


def gone(output: Path) -> None:
    (output / "statistics.json").unlink()


def groups_gone(output: Path) -> None:
    shutil.rmtree(output / "groups")


def a_group_gone(output: Path) -> None:
    next((output / "groups").glob("*.parquet")).unlink()


def damaged(output: Path) -> None:
    text = (output / NAME).read_text()
    (output / NAME).write_text(text[: len(text) // 2])


def of_another_kind(output: Path) -> None:
    (output / NAME).write_text('["what", "is", "this"]')


def touched(output: Path) -> None:
    os.utime(next((output / "photos").glob("*.parquet")), (1, 1))


def test_what_is_missing_or_changed_is_made_anew(spark, kept):
    chosen, first = kept
    output = Path(chosen.output)
    groups = spark.read.parquet(f"{output}/groups").orderBy("group").collect()
    statistics = (output / "statistics.json").read_bytes()
    for change in (gone, groups_gone, a_group_gone, damaged, of_another_kind, touched):
        change(output)
        before = jobs(spark)
        again = run(chosen, spark)
        assert jobs(spark) - before > JOBS, change
        assert (again.encoded, again.mean_sha256) == (0, first.mean_sha256)
        assert (output / "statistics.json").read_bytes() == statistics
        assert spark.read.parquet(f"{output}/groups").orderBy("group").collect() == groups
    before = jobs(spark)
    run(chosen, spark)
    assert jobs(spark) - before <= JOBS, "and stands from then on"


def test_other_photos_other_groups_and_other_settings_give_other_results(spark, kept):
    chosen, first = kept
    photos = Path(chosen.inputs[0])
    all_in_one = run(dataclasses.replace(chosen, group_by=r"([^/]+)/[^/]+/[^/]+$"), spark)
    assert (all_in_one.encoded, all_in_one.mean_sha256) == (0, first.mean_sha256)
    assert [row.group for row in spark.read.parquet(f"{chosen.output}/groups").collect()] == [photos.name]

    (photos / "biden").rename(photos / "joe")
    assert run(chosen, spark).mean_sha256 == first.mean_sha256
    groups = {row.group for row in spark.read.parquet(f"{chosen.output}/groups").collect()}
    assert groups == {"joe", "obama"}

    next((photos / "joe").glob("*.jpg")).unlink()
    fewer = run(chosen, spark)
    assert (fewer.encoded, fewer.count) == (0, first.count - 1)

    assert run(dataclasses.replace(chosen, group_by="none"), spark).groups is None
    assert run(chosen, spark).groups == 2


def test_a_photo_that_is_tried_again_by_each_run_lets_nothing_stand(spark, kept):
    chosen, _ = kept
    (Path(chosen.inputs[0]) / "nowhere.jpg").symlink_to("nothing")
    assert [run(chosen, spark).encoded for _ in range(2)] == [1, 1]
