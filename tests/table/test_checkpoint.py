"""A damaged file of the checkpoint is named, never counted, and repaired where asked."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from faults import flip_an_embedding

from spark_job import run
from spark_job.errors import OutputError


def parts(output: str) -> list[Path]:
    return sorted(Path(output, "photos").glob("part-*.parquet"), key=lambda part: part.stat().st_size)


@pytest.mark.parametrize("damage", ["cut", "text", "flip"])
def test_a_damaged_file_is_named_and_repair_sets_it_aside(spark, settings, face_photos, damage):
    chosen = settings(face_photos)
    first = run(chosen, spark)
    part = parts(chosen.output)[-1]
    held = pq.ParquetFile(part).metadata.num_rows
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "text":
        part.write_text("no table")
    else:
        flip_an_embedding(part)  # a mean of it would be wrong and look right
    (Path(chosen.output) / "mean.json").unlink()
    with pytest.raises(OutputError, match=rf"{part.name}.*--repair"):
        run(chosen, spark)
    assert not (Path(chosen.output) / "mean.json").exists()

    repaired = run(settings(face_photos, repair=True), spark)
    assert repaired.encoded == held
    assert repaired.mean_sha256 == first.mean_sha256
    assert (Path(chosen.output) / "damaged" / part.name).exists()
