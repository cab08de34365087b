"""Files of the results are replaced, and what cannot be is said."""

import pytest

from spark_job.spark.hadoop import FileSystem


@pytest.fixture
def folder(spark, tmp_path):
    made = FileSystem(spark, str(tmp_path / "out"))
    made.make()
    return made


def test_a_file_is_replaced_by_a_later_one(folder):
    for content in (b"first", b"second", b"third"):
        folder.replace_file("mean.json", content)
        assert folder.read("mean.json") == content


def test_a_file_that_is_there_is_not_created_again(folder):
    assert folder.create("lock", b"first")
    assert not folder.create("lock", b"second")
    assert folder.read("lock") == b"first"
