"""The whole job: what it counts, what it keeps, and that the mean is the mean."""

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark_job import run
from spark_job.errors import InputError, InvariantError, NoFaceError
from spark_job.results.tally import checked, tally

EXACT = {"detector": "hog", "upsample": 1, "face": "first"}


def embeddings_of(spark, output: str) -> dict[str, list[np.ndarray]]:
    """File name -> the embeddings of its row."""
    rows = spark.read.option("__globPaths__", False).parquet(f"file:{output}/photos").collect()
    return {Path(row.path).name: [np.array(face.embedding) for face in row.faces] for row in rows}


def test_the_mean_is_numpys_of_the_rows_and_the_files_say_so(spark, settings, face_photos, tmp_path):
    chosen = settings(face_photos, group_by="parent", output=str(tmp_path / "an [output] {folder} %20"))
    result = run(chosen, spark)
    vectors = np.array([vector for [vector] in embeddings_of(spark, chosen.output).values()])
    document = json.loads(Path(chosen.output, "mean.json").read_text())

    assert document["count"] == len(vectors) == 6
    np.testing.assert_allclose(document["mean"], vectors.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-12)
    np.testing.assert_allclose(document["std"], vectors.std(axis=0, dtype=np.float64), rtol=0, atol=1e-12)
    error = vectors.std(axis=0, ddof=1, dtype=np.float64) / math.sqrt(6)
    np.testing.assert_allclose(document["standard_error"], error, rtol=0, atol=1e-12)
    assert document["norm"] == pytest.approx(np.linalg.norm(document["mean"]))
    assert document["photos"]["listed"] == document["photos"]["ok"] == 6
    assert document["mean_sha256"] == result.mean_sha256
    saved = np.load(Path(chosen.output, "mean.npy"), allow_pickle=False)
    assert saved.dtype == np.float64
    assert saved.tolist() == document["mean"] == result.mean.tolist()

    read = spark.read.option("__globPaths__", False)
    groups = {row.group: row for row in read.parquet(f"file:{chosen.output}/groups").collect()}
    assert {name: row["count"] for name, row in groups.items()} == {"obama": 4, "biden": 2}
    both = sum(row["count"] * np.array(row["mean"]) for row in groups.values()) / 6
    np.testing.assert_allclose(both, document["mean"], rtol=0, atol=1e-15)
    assert document["mean_of_groups"]["groups"] == document["groups"] == 2
    halves = np.mean([row["mean"] for row in groups.values()], axis=0)
    np.testing.assert_allclose(document["mean_of_groups"]["mean"], halves, rtol=0, atol=1e-12)

    statistics = json.loads(Path(chosen.output, "statistics.json").read_text())
    np.testing.assert_allclose(statistics["covariance"], np.cov(vectors.T), rtol=0, atol=1e-7)
    assert statistics["mean_norm"] == pytest.approx(np.linalg.norm(vectors, axis=1).mean(), abs=1e-5)
    assert (statistics["mean_sha256"], statistics["count"]) == (result.mean_sha256, 6)
    assert statistics["bootstrap"]["over"] == "faces", "two groups are too few"
    assert statistics["verification"] is None


@pytest.mark.slow
def test_a_rerun_encodes_only_what_is_new_and_forgets_what_is_gone(spark, settings, photos):
    chosen = settings(photos)
    first = run(chosen, spark)
    assert first.encoded == 6

    again = run(chosen, spark)
    assert (again.encoded, again.mean_sha256) == (0, first.mean_sha256)

    shutil.copy(photos / "biden" / "biden.jpg", photos / "new.jpg")
    more = run(chosen, spark)
    assert (more.encoded, more.photos["listed"], more.count) == (1, 7, 7)

    (photos / "new.jpg").unlink()
    back = run(chosen, spark)
    assert (back.encoded, back.mean_sha256) == (0, first.mean_sha256)

    with Image.open(photos / "obama" / "obama2.jpg") as other:
        other.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "biden" / "biden.jpg")
    replaced = run(chosen, spark)
    assert (replaced.encoded, replaced.photos["listed"]) == (1, 6)
    assert replaced.mean_sha256 != first.mean_sha256


def bytes_read(spark) -> int:
    """What Spark's own input metrics say that all jobs so far have read."""
    url = f"{spark.sparkContext.uiWebUrl}/api/v1/applications/{spark.sparkContext.applicationId}/stages"
    with urllib.request.urlopen(url) as response:
        return sum(stage["inputBytes"] for stage in json.load(response))


@pytest.mark.slow
def test_a_rerun_reads_the_content_of_new_photos_only(spark, settings, photos):
    size = 2**20
    for i in range(30):
        (photos / f"{i}.jpg").write_bytes(bytes([i]) * size)  # large, and soon done with
    chosen = settings(photos)
    before = bytes_read(spark)
    first = run(chosen, spark)
    assert first.photos["unsupported"] == 30
    assert 30 * size < bytes_read(spark) - before < 33 * size, "each photo is read once"

    before = bytes_read(spark)
    assert run(chosen, spark).encoded == 0
    assert bytes_read(spark) - before < size

    (photos / "new.jpg").write_bytes(b"new!" * (size // 4))
    before = bytes_read(spark)
    assert run(chosen, spark).encoded == 1
    assert size <= bytes_read(spark) - before < 2 * size


@pytest.mark.slow
def test_rows_of_other_settings_are_never_mixed_in(spark, done, undisturbed):
    with pytest.raises(NoFaceError, match="6 too_large"):
        run(dataclasses.replace(done, max_pixels=10), spark)
    assert run(done, spark).mean_sha256 == undisturbed.mean_sha256
    assert spark.read.parquet(f"{done.output}/photos").groupBy("settings_id").count().count() == 2
    assert json.loads(Path(done.output, "mean.json").read_text())["mean_sha256"] == undisturbed.mean_sha256


@pytest.mark.slow
def test_mean_has_the_same_bits_from_a_folder_an_archive_a_table_and_all_at_once(spark, settings, photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tgz", "w:gz") as archive:
        archive.add(photos, "photos")
    spark.read.format("binaryFile").option("recursiveFileLookup", True).option("ignoredPathSegmentRegex", r"^\.").load(
        str(photos)
    ).withColumnRenamed("path", "file").write.parquet(str(tmp_path / "table"))
    results = {
        name: run(settings(*inputs, output=str(tmp_path / "out" / name), group_by=r"/(obama|biden)/"), spark)
        for name, inputs in {
            "folder": [photos],
            "archive": [tmp_path / "photos.tgz"],
            "table": [tmp_path / "table"],
            "all": [photos, tmp_path / "photos.tgz", tmp_path / "table"],
        }.items()
    }
    assert len({result.mean_sha256 for result in results.values()}) == 1
    assert {name: result.count for name, result in results.items()} == {
        "folder": 6,
        "archive": 6,
        "table": 6,
        "all": 18,
    }


@pytest.mark.slow
def test_every_photo_of_the_sample_has_a_status_and_the_run_goes_on(spark, settings, sample):
    chosen = settings(sample, max_failed=0.1, face="only", max_bytes=2**21)
    result = run(chosen, spark)
    rows = {Path(row.path).name: row for row in spark.read.parquet(f"{chosen.output}/photos").collect()}
    expected = {
        "_turned_by_exif.JPG": "ok", "cmyk.jpeg": "ok", "gray.png": "ok", "two words.webp": "ok",
        "two_faces.jpg": "several_faces", "no_face.png": "no_face", "truncated.jpg": "truncated",
        "empty.jpg": "empty", "not_a_photo.jpg": "unsupported", "damaged.png": "unreadable",
    }  # fmt: skip
    assert {name: rows[name].status for name in expected} == expected
    assert sum(count for status, count in result.photos.items() if status != "listed") == result.photos["listed"]
    assert result.too_many_failed
    assert {Path(path).name for path, _, _ in result.failures} <= set(rows)

    turned, original = rows["_turned_by_exif.JPG"], rows["biden.jpg"]
    assert (turned.width, turned.height) == (original.width, original.height)
    same_person = np.array(turned.faces[0].embedding) - np.array(original.faces[0].embedding)
    assert np.linalg.norm(same_person) < 0.1
    assert rows["two_faces.jpg"].faces_found == 2
    assert rows["two_faces.jpg"].faces == []
    for row in rows.values():
        assert (row.message is not None) == (row.status not in ("ok", "no_face", "several_faces"))
        assert len(row.faces) == (row.status == "ok")
        assert row.settings_id == result.settings_id


def test_all_faces_of_a_photo_count_where_asked(spark, settings, sample):
    result = run(settings(sample / "variants" / "two_faces.jpg", face="all"), spark)
    assert (result.photos["listed"], result.count) == (1, 2)


def test_no_face_at_all_is_an_error_and_writes_no_mean(spark, settings, sample):
    chosen = settings(sample / "variants" / "no_face.png")
    with pytest.raises(NoFaceError, match="no mean of nothing"):
        run(chosen, spark)
    assert not Path(chosen.output, "mean.json").exists()


def test_a_photo_without_its_one_row_fails_the_run_and_is_named(spark):
    made = [
        ("a", 1, None, True, "ok", None, "kind", 1.0, 1, False),
        ("b", 1, None, True, "empty", "it is", "other", None, 2, True),
        ("c", 1, None, True, None, None, None, None, None, True),
        ("of another time", 1, None, None, "ok", None, "old", None, 1, True),
    ]
    columns = "path string, length long, modificationTime timestamp, listed boolean, status string, message string"
    rows = spark.createDataFrame(made, f"{columns}, processor string, decode_ms float, rows long, regrouped boolean")
    with_rows = rows.where("status IS NOT NULL")
    account = tally(with_rows)
    assert checked(account, with_rows, 2)["ok"] == 1
    assert (account.processors, account.rows) == (["kind", "other"], 4)
    assert (account.unsettled, account.regrouped) == (1, 1)
    assert account.failures == [("b", "empty", "it is")]
    with pytest.raises(InvariantError, match=r"1 of 3 .*'c'"):
        checked(tally(rows), rows, 3)
    with pytest.raises(InvariantError, match=r"3 photos were listed and 2 rows count"):
        checked(account, with_rows, 3)
    twice = with_rows.unionByName(with_rows.where("path = 'b'"))
    with pytest.raises(InvariantError, match=r"2 photos were listed and 3 rows count .*: more than one of 'b'"):
        checked(tally(twice), twice, 2)


def test_the_callers_session_is_left_running_as_it_was(spark, settings, photos, tmp_path):
    before, cached = spark.conf.getAll, len(spark.sparkContext._jsc.getPersistentRDDs())
    (tmp_path / "none_yet").mkdir()
    chosen = settings(tmp_path / "none_yet")
    with pytest.raises(InputError, match="holds no photo"):
        run(chosen, spark)
    shutil.copytree(photos / "biden", tmp_path / "none_yet" / "biden")
    assert run(chosen, spark).photos["listed"] == 2, "what a failed run listed is forgotten"
    assert spark.conf.getAll == before
    assert len(spark.sparkContext._jsc.getPersistentRDDs()) == cached
    assert spark.range(3).count() == 3


@pytest.mark.slow
def test_every_embedding_is_that_of_face_recognition(spark, settings, sample):
    from spark_job.faces.engine import face_recognition_api

    library = face_recognition_api()
    inputs = sorted(sample.glob("*.jpg"))
    chosen = settings(*inputs, **EXACT, engine="face_recognition")
    result = run(chosen, spark)
    found = embeddings_of(spark, chosen.output)
    expected = {path.name: library.face_encodings(library.load_image_file(path))[:1] for path in inputs}
    assert {name: len(vectors) for name, vectors in found.items()} == {k: len(v) for k, v in expected.items()}
    for name, vectors in expected.items():
        np.testing.assert_allclose(found[name], vectors, rtol=0, atol=1e-6)
    mean = np.mean([vector for vectors in expected.values() for vector in vectors], axis=0, dtype=np.float64)
    np.testing.assert_allclose(result.mean, mean, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_bits(spark, settings, photos, tmp_path):
    for i in range(1, 12):
        shutil.copytree(photos / "obama", photos / f"copy{i}")
    undisturbed = run(settings(photos, output=str(tmp_path / "undisturbed")), spark)
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "spark_job", "run", photos, "--output", output, "--detector", "hog", "--quiet"]
    started = subprocess.Popen([*command, "--master", "local[2]"], start_new_session=True)
    rows = output / "photos"
    deadline = time.monotonic() + 120
    while not list(rows.glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    done = spark.read.parquet(str(rows)).count()
    assert 0 < done < undisturbed.photos["listed"], "the kill came before a task had ended, or after all had"

    resumed = run(settings(photos, output=str(output)), spark)
    assert resumed.encoded == undisturbed.photos["listed"] - done
    assert resumed.mean_sha256 == undisturbed.mean_sha256
    assert spark.read.parquet(str(rows)).count() == undisturbed.photos["listed"]
