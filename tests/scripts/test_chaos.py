"""The short form of scripts/chaos: a cluster of processes that are killed and stopped while it works."""

import time

import pytest
from chaos import archive_of_photos, disturb, short
from faults import LIMIT_S

from spark_job import run


@pytest.mark.slow
def test_a_worker_an_executor_and_the_driver_that_are_killed_or_stopped_change_nothing(
    spark, settings, sample, tmp_path
):
    photos = archive_of_photos(tmp_path / "photos.tar", 100)
    expected = run(settings(photos, upsample=1), spark)
    fault = short()
    seen = disturb(fault, photos, tmp_path / "chaos", time.monotonic() + LIMIT_S)
    assert seen.wrong == []
    assert seen.times == len(fault.strikes)
    assert (seen.listed, seen.ok) == (expected.photos["listed"], expected.photos["ok"])
    assert seen.twice > 0, "rows came twice, and counted once"
    assert seen.rows - seen.twice == seen.listed
    assert seen.mean == expected.mean_sha256
