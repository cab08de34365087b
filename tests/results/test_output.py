"""What comes after a run reads its output alone: what is current, by the disk and by Spark."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import FAST

from spark_job import Settings, run
from spark_job.errors import NoFaceError, OutputError
from spark_job.results.output import current_rows, reading
from spark_job.spark.hadoop import FileSystem


@pytest.fixture(scope="module")
def photos(face_photos, tmp_path_factory):
    return Path(shutil.copytree(face_photos, tmp_path_factory.mktemp("output") / "photos"))


@pytest.fixture(scope="module")
def made(spark, photos):
    """Settings of an output with rows of other settings, of a photo that is gone and of one that was replaced."""
    chosen = Settings((str(photos),), str(photos.parent / "out"), group_by="parent", **FAST)
    with pytest.raises(NoFaceError):
        run(dataclasses.replace(chosen, max_pixels=10), spark)
    run(chosen, spark)
    gone, replaced = sorted(photos.rglob("*obama*.*"))[:2]
    gone.unlink()
    replaced.write_bytes(b"no photo")
    run(chosen, spark)
    return chosen


@pytest.fixture
def finished(made, tmp_path):
    """The same of a copy that a test may change."""
    return dataclasses.replace(made, output=str(shutil.copytree(made.output, tmp_path / "out")))


def test_what_is_current_is_the_photos_of_the_latest_run_each_by_its_row_of_its_settings(spark, finished, photos):
    with reading(finished.output) as output:
        rows = output.current("status", "faces")
        document, plan = output.document("mean.json"), output.document("run.json")
        assert output.document("statistics.yaml") is None
    assert rows["path"].to_pylist() == sorted(f"file:{path}" for path in photos.rglob("*.*"))
    assert sorted(rows["status"].to_pylist()) == ["ok"] * 4 + ["unsupported"]
    assert set(rows["group"].to_pylist()) == {"obama", "biden"}
    vectors = [face["embedding"] for faces in rows["faces"].to_pylist() for face in faces]
    np.testing.assert_allclose(np.mean(vectors, axis=0), document["mean"], rtol=0, atol=1e-12)
    assert (plan["settings_id"], plan["listed"], plan["missing"]) == (document["settings_id"], 5, 1)
    assert len(document["processors"]) == 1

    by_spark = current_rows(spark, FileSystem(spark, finished.output), "status", "faces").orderBy("path").toArrow()
    assert by_spark["faces"].to_pylist() == rows["faces"].to_pylist()


def test_a_photo_that_has_no_row_yet_is_listed_with_none(finished):
    for path in Path(finished.output, "photos").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.not_equal(table["status"], "ok")), path)
    with reading(f"file:{finished.output}") as output:
        assert sorted(output.current("status")["status"].to_pylist(), key=str) == [None] * 4 + ["unsupported"]


def test_what_is_no_output_and_a_damaged_document_are_told(finished, tmp_path):
    with pytest.raises(OutputError, match="there is no output"), reading(str(tmp_path / "none")):
        pass
    with pytest.raises(OutputError, match=r"no run.json"), reading(str(tmp_path)) as output:
        output.current("status")
    Path(finished.output, "mean.json").write_text("{")
    with reading(finished.output) as output, pytest.raises(OutputError, match=r"mean.json is damaged"):
        output.document("mean.json")


def test_rows_of_an_earlier_version_have_no_processor(finished):
    folder = Path(finished.output, "photos")
    for path in folder.glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.drop_columns("processor"), path)
    with reading(finished.output) as output:
        assert output.current("processor")["processor"].to_pylist() == [None] * 5
    assert json.loads(Path(finished.output, "run.json").read_text())["settings"]["face"] == "prominent"
