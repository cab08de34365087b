"""The report's pictures: cut from the photos as they are, of whatever kind of input, and of nothing else."""

import base64
import io
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spark_job import Settings, run
from spark_job.__main__ import main
from spark_job.errors import OutputError, SettingsError
from spark_job.faces.align import chip
from spark_job.results.report.pictures import CHIP_PX, LIGHT, _mean
from spark_job.results.report.report import report


def pack(photos: Path, folder: Path, kind: str) -> Path:
    """The photos as an input of this kind."""
    packed = folder / f"in.{kind}"
    paths = sorted(photos.rglob("*.*"))
    if kind == "tgz":
        with tarfile.open(packed, "w:gz") as tar:
            tar.add(photos, "photos")
    elif kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(photos))
    else:
        named = {"path": [f"{i}.jpg" for i in range(len(paths))]} if kind == "named.parquet" else {}
        pq.write_table(pa.table({"content": [path.read_bytes() for path in paths], **named}), packed)
    return packed


def finished(spark, inputs: Path, output: Path, **options: object) -> Settings:
    settings = Settings(inputs=(str(inputs),), output=str(output), detector="hog", **options)
    run(settings, spark)
    return settings


def pictures(output: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/webp;base64,([^\"]+)", Path(output, "report.html").read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


@pytest.fixture(scope="module")
def of_files(spark, face_photos, tmp_path_factory) -> str:
    """The report of photos that lie in folders."""
    settings = finished(spark, face_photos, tmp_path_factory.mktemp("files"))
    assert report(settings.output).photos_read == 6
    return settings.output


@pytest.mark.parametrize("kind", ["tgz", "zip", "parquet", "named.parquet"])
def test_photos_of_an_archive_or_a_table_give_the_same_mean_face_as_files(spark, face_photos, of_files, tmp_path, kind):
    settings = finished(spark, pack(face_photos, tmp_path, kind), tmp_path / "out")
    made = report(settings.output)
    assert (made.photos_read, made.photos_gone, made.photos_unopened) == (6, 0, 0)
    np.testing.assert_array_equal(pictures(settings.output)[0], pictures(of_files)[0])


@pytest.mark.slow
def test_photos_that_are_gone_or_another_are_left_out_and_counted(spark, photos, tmp_path):
    settings = finished(spark, photos, tmp_path / "out")
    gone, another, *_ = sorted(photos.rglob("*.*"))
    gone.unlink()
    shutil.copy(sorted(photos.rglob("*.*"))[-1], another)
    made = report(settings.output)
    assert (made.photos_read, made.photos_gone) == (4, 2)
    page = Path(settings.output, "report.html").read_text()
    assert re.search(r'data-figure="photos-gone" value="2"', page)
    assert re.search(r'data-figure="mean-face-faces" value="4"', page)
    shutil.rmtree(photos)
    assert report(settings.output).photos_gone == 6
    assert pictures(settings.output) == []


def test_the_sample_bounds_what_is_averaged(spark, of_files):
    assert report(of_files, sample=3).photos_read == 3
    with pytest.raises(SettingsError, match="--sample 0"):
        report(of_files, sample=0)


def test_a_mean_face_is_taken_in_linear_light():
    black, white = (np.full((2, 2, 3), value, np.uint8) for value in (0, 255))
    assert (_mean(LIGHT[black] + LIGHT[white], 2) == 188).all()  # half of the light, which 128 is not
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(_mean(5 * LIGHT[gray], 5), gray)


def test_a_chip_of_known_landmarks_is_the_one_that_the_network_sees(faces):
    from spark_job.faces.engine import load
    from spark_job.settings import Settings

    engine = load(Settings(inputs=("none",), output="none", detector="hog"))
    image = faces[0]
    landmarks, seen = engine.align(image, engine.detect(image)[0].box)
    np.testing.assert_array_equal(chip(image, landmarks.astype(float), 150, 0.25), seen)
    assert chip(image, landmarks.astype(float), CHIP_PX, 0.45).shape == (CHIP_PX, CHIP_PX, 3)


@pytest.mark.slow
def test_hashed_names_give_no_picture_and_no_name(spark, face_photos, tmp_path):
    settings = finished(spark, face_photos, tmp_path / "out", hash_paths=True, group_by="parent")
    made = report(settings.output)
    page = Path(settings.output, "report.html").read_text()
    assert (made.photos_read, pictures(settings.output)) == (0, [])
    for secret in ("obama", "biden", str(face_photos), 'id="map"'):
        assert secret not in page
    assert "keyed hashes" in page


@pytest.mark.slow
def test_a_run_that_has_not_ended_has_no_report(spark, photos, tmp_path):
    settings = finished(spark, photos, tmp_path / "out")
    Path(settings.output, "mean.json").unlink()
    with pytest.raises(OutputError, match="has not come to its end"):
        report(settings.output)
    assert not Path(settings.output, "report.html").exists()


@pytest.mark.slow
def test_run_writes_the_report_at_its_end_and_says_where(spark, capsys, photos, tmp_path):
    arguments = ["run", photos, "--output", tmp_path / "out", "--detector", "hog", "--group-by", "parent", "--report"]
    assert main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out
    assert f"report: open file://{tmp_path}/out/report.html in a browser" in out
    assert "do not seem to belong" in (tmp_path / "out" / "report.html").read_text()
    assert main(["report", str(tmp_path / "out"), "--no-faces", "--json"]) == 0
    assert '"photos_read": 0' in capsys.readouterr().out
