"""A damaged file of the checkpoint is named, never counted, and repaired where asked."""

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults import flip_an_embedding

from spark_job import run
from spark_job.errors import OutputError


def parts(output: str) -> list[Path]:
    return sorted(Path(output, "photos").glob("part-*.parquet"), key=lambda part: part.stat().st_size)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "text", "flip"])
def test_a_damaged_file_is_named_and_repair_sets_it_aside(spark, done, undisturbed, damage):
    part = parts(done.output)[-1]
    held = pq.ParquetFile(part).metadata.num_rows
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "text":
        part.write_text("no table")
    else:
        flip_an_embedding(part)  # a mean of it would be wrong and look right
    (Path(done.output) / "mean.json").unlink()
    with pytest.raises(OutputError, match=rf"{part.name}.*--repair"):
        run(done, spark)
    assert not (Path(done.output) / "mean.json").exists()

    repaired = run(dataclasses.replace(done, repair=True), spark)
    assert repaired.encoded == held
    assert repaired.mean_sha256 == undisturbed.mean_sha256
    assert (Path(done.output) / "damaged" / part.name).exists()
