"""Whatever holds photos is listed, each photo once, with its name as it is."""

import re
import shutil
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_job import Settings
from spark_job.errors import InputError
from spark_job.inputs.archives import leniently
from spark_job.inputs.files import LEAST_TASKS
from spark_job.inputs.photos import MIN_PARTITIONS_A_CORE, contents, list_photos, task_count
from spark_job.inputs.sources import open_inputs
from spark_job.row import KEY
from spark_job.spark.session import open_session


@pytest.fixture
def session(spark, settings):
    with open_session(settings("none"), spark) as private:
        yield private


def listed(session, *inputs):
    """Path -> length of the photos listed, and the listing."""
    listing = list_photos(open_inputs(session, list(map(str, inputs)), SETTINGS), ExitStack())
    rows = listing.photos.collect()
    assert len(rows) == listing.listed
    return {row.path: row.length for row in rows}, listing


def put(path: Path, content: bytes = b"\xff\xd8\xff some bytes") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


SETTINGS = Settings(("none",), "none")
HARD_NAMES = (
    "_DSC0001.jpg", "UPPER.JPEG", "two words.png", "per%20cent.webp", "what?.gif", "br[ack]et.bmp", "{brace}.tif",
    "quo'te\".tiff", "line\nend.jpg", "äccent.jpg", "$(touch x).jpg", "<script>.jpg", "back\\slash.jpg",
)  # fmt: skip


def test_names_stay_as_they_are(session, tmp_path):
    folder = tmp_path / "a [folder]"
    for i, name in enumerate(HARD_NAMES):
        put(folder / "_deep" / name, b"x" * (i + 1))
    found, listing = listed(session, folder)
    assert found == {f"file:{folder}/_deep/{name}": i + 1 for i, name in enumerate(HARD_NAMES)}
    assert listing.skipped == 0


def test_other_files_and_dot_files_are_skipped_and_named(session, tmp_path):
    put(tmp_path / "a.jpg")
    put(tmp_path / "._a.jpg")
    put(tmp_path / "notes.txt")
    found, listing = listed(session, tmp_path)
    assert list(found) == [f"file:{tmp_path}/a.jpg"]
    assert listing.skipped == 2
    assert sorted(listing.skipped_examples) == [f"file:{tmp_path}/._a.jpg", f"file:{tmp_path}/notes.txt"]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip", ".ZIP"])
def test_an_archive_gives_a_row_for_each_of_its_photos(session, tmp_path, suffix):
    photo, other = put(tmp_path / "_a.jpg", b"x" * 7), put(tmp_path / "readme.txt")
    archive = tmp_path / f"photos{suffix}"
    if suffix.lower() == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.write(photo, "deep/_a.jpg")
            file.write(other, "readme.txt")
    else:
        with tarfile.open(archive, "w:gz" if "g" in suffix else "w") as file:
            file.add(photo, "deep/_a.jpg")
            file.add(other, "readme.txt")
    found, listing = listed(session, archive)
    assert found == {f"file:{archive}!/deep/_a.jpg": 7}
    assert listing.skipped == 1


@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_the_names_that_tar_writes_for_the_folder_it_stands_in_are_photos(session, tmp_path, suffix):
    put(tmp_path / "photos" / "a.jpg")
    put(tmp_path / "photos" / "sub" / "b.jpg")
    put(tmp_path / "photos" / ".hidden" / "c.jpg")
    archive = shutil.make_archive(str(tmp_path / "all"), suffix, tmp_path / "photos", ".")
    found, _ = listed(session, archive)
    assert set(found) == {f"file:{archive}!/a.jpg", f"file:{archive}!/sub/b.jpg"}


def test_a_glob_gives_its_matches_and_a_name_that_looks_like_one_itself(session, tmp_path):
    for name in ("a1.jpg", "a2.jpg", "b1.jpg", "a[12].jpg"):
        put(tmp_path / name)
    found, _ = listed(session, tmp_path / "a?.jpg")
    assert set(found) == {f"file:{tmp_path}/a1.jpg", f"file:{tmp_path}/a2.jpg"}
    found, _ = listed(session, tmp_path / "a[12].jpg")
    assert set(found) == {f"file:{tmp_path}/a[12].jpg"}


def test_a_photo_in_overlapping_inputs_is_listed_once(session, tmp_path):
    put(tmp_path / "sub" / "a.jpg")
    put(tmp_path / "b.jpg")
    found, _ = listed(session, tmp_path, tmp_path / "sub", tmp_path / "sub" / "a.jpg", f"{tmp_path}/*", tmp_path)
    assert len(found) == 2


def test_a_parquet_table_is_read_by_its_content_column(session, tmp_path):
    table = session.createDataFrame(
        [("x/1", bytearray(b"abc")), ("x/2", bytearray(b"de"))], "path string, content binary"
    )
    table.write.parquet(str(tmp_path / "t"))
    found, _ = listed(session, tmp_path / "t")
    assert found == {"x/1": 3, "x/2": 2}


def test_a_parquet_table_without_paths_names_its_rows(session, tmp_path):
    table = session.createDataFrame([(bytearray(b"abc"),), (bytearray(b"abc"),)], "content binary").coalesce(1)
    table.write.parquet(str(tmp_path / "t"))
    found, _listing = listed(session, tmp_path / "t")
    assert len(found) == 2
    assert all(re.fullmatch(rf"file:{tmp_path}/t/part-[^/]*\.parquet#[01]", path) for path in found)


def test_only_the_wanted_photos_are_read(session, tmp_path):
    for name in ("a.jpg", "b'.jpg", "c.jpg"):
        put(tmp_path / name, name.encode())
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path)
    sources = open_inputs(session, [str(tmp_path)], SETTINGS)
    listing = list_photos(sources, ExitStack())
    wanted = listing.photos.where('path rlike "b\'.jpg$"')
    rows = contents(sources, wanted, is_all=False, max_bytes=100)
    assert {row.path: bytes(row.content) for row in rows.collect()} == {
        f"file:{tmp_path}/b'.jpg": b"b'.jpg",
        f"file:{tmp_path}/all.zip!/b'.jpg": b"b'.jpg",
    }
    everything = contents(sources, listing.photos, is_all=True, max_bytes=5)
    assert sorted(row.content is None for row in everything.collect()) == [False] * 4 + [True] * 2
    assert everything.columns == [*KEY, "group", "content", "address"]


def test_tasks_are_some_for_each_core_and_never_more_than_the_driver_can_keep_count_of():
    counts = {1: 1, 40: 10, 13_233: 65, 10**6: 977, 10**7: 9766, 10**9: 20_000}
    assert {photos: task_count(photos, 2) for photos in counts} == counts


def sizes_of_tasks(session, folder):
    """How many photos each task of an encoding has, where files are large."""
    sources = open_inputs(session, [str(folder)], SETTINGS)
    listing = list_photos(sources, ExitStack())
    session.conf.set("spark.sql.files.openCostInBytes", "1")  # as if they were
    with leniently(session):
        rows = contents(sources, listing.photos, is_all=True, max_bytes=10_000)
        sizes = [size for size in rows.rdd.glom().map(len).collect() if size]
    assert sum(sizes) == listing.listed
    return sizes


def test_tables_are_split_between_their_groups_of_rows_while_they_are_encoded(session, tmp_path):
    for i in range(MIN_PARTITIONS_A_CORE * 2):
        photos = pa.table({"path": [f"{i}/{j}" for j in range(64)], "content": [b"%d" % j * 500 for j in range(64)]})
        pq.write_table(photos, tmp_path / f"{i}.parquet", row_group_size=8)
    sizes = sizes_of_tasks(session, tmp_path)
    assert sum(sizes) == 64 * MIN_PARTITIONS_A_CORE * 2
    assert len(sizes) > MIN_PARTITIONS_A_CORE * 2
    assert max(sizes) < 64
    assert session.conf.get(LEAST_TASKS, None) is None, "what is read afterwards is read in few tasks"


def test_an_archive_is_a_task_of_its_own_where_that_is_not_of_too_few_photos(session, tmp_path):
    for i in range(MIN_PARTITIONS_A_CORE * 2):
        with zipfile.ZipFile(tmp_path / f"{i}.zip", "w") as file:
            for j in range(8):
                file.writestr(f"{j}.jpg", b"photo")
    assert sizes_of_tasks(session, tmp_path) == [8] * MIN_PARTITIONS_A_CORE * 2


@pytest.mark.parametrize("name", ["missing", "missing*.jpg", "notes.txt", "empty", "archive.zip", "t.parquet"])
def test_an_input_without_a_photo_is_named(session, tmp_path, name):
    put(tmp_path / "photo.jpg")
    put(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as file:
        file.write(tmp_path / "notes.txt", "notes.txt")
    session.createDataFrame([("a",)], "content string").write.parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(InputError) as caught:
        listed(session, tmp_path / "photo.jpg", tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_no_bytes_is_listed(session, tmp_path):
    put(tmp_path / "a.jpg")
    put(tmp_path / "emp [ty] %20.jpg", b"")
    put(tmp_path / "empty.txt", b"")
    found, listing = listed(session, tmp_path)
    assert found == {f"file:{tmp_path}/a.jpg": 14, f"file:{tmp_path}/emp [ty] %20.jpg": 0}
    assert listing.skipped == 1
