"""A table of addresses: photos that are nowhere listed and read by the workers, with the keys that a listing gives."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_job import compact, run
from spark_job.errors import InputError, OutputError
from spark_job.inputs.photos import list_photos
from spark_job.inputs.sources import open_inputs
from spark_job.row import KEY
from spark_job.spark.session import open_session


@pytest.fixture
def session(spark, settings):
    with open_session(settings("none"), spark) as private:
        yield private


def keys(session, settings, *inputs):
    listing = list_photos(open_inputs(session, list(map(str, inputs)), settings(*inputs)), ExitStack())
    return sorted(tuple(row) for row in listing.photos.select(*KEY).collect())


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file())


def write_list(photos: Path, *more: str) -> Path:
    path = photos / "list.txt"
    path.write_text("".join(f"{name}\n" for name in (*names_in(photos), *more)))
    return path


def rows_of(spark, output: str) -> dict[str, tuple[str, str]]:
    return {Path(row.path).name: (row.status, row.message) for row in spark.read.parquet(f"{output}/photos").collect()}


def test_a_photo_has_the_key_that_a_listing_of_it_has(session, settings, photos):
    write_list(photos, "", "./biden/biden.jpg", f"file://{photos}/obama/obama.jpg", f"{photos}/obama/obama2.jpg")
    assert keys(session, settings, photos / "list.txt") == keys(session, settings, photos / "*" / "*")


def test_a_table_that_says_size_and_time_is_believed_and_no_store_is_asked(session, settings, tmp_path):
    (tmp_path / "a.csv").write_text(
        'photo,Size,LastModifiedDate\n"x, ""y"".jpg",7,2024-02-03T04:05:06.000Z\nb.png,8,\n'
    )
    when = pa.array([1_706_933_106_000_000, None], pa.timestamp("us", "UTC"))
    pq.write_table(
        pa.table({"photo": ["s3://b/c.jpg", "s3n://b/ü/d#?%20.jpg"], "length": [9, None], "modificationTime": when}),
        tmp_path / "b.parquet",
    )
    found = list_photos(
        open_inputs(session, [f"{tmp_path}/a.csv", f"{tmp_path}/b.parquet"], settings("none", uri_column="photo")),
        ExitStack(),
    )
    told = found.photos.selectExpr("path", "length", "unix_seconds(modificationTime)", "kind").collect()
    assert {tuple(row) for row in told} == {
        (f'file:{tmp_path}/x, "y".jpg', 7, 1_706_933_106, "address"),
        (f"file:{tmp_path}/b.png", 8, 0, "address"),
        ("s3a://b/c.jpg", 9, 1_706_933_106, "address"),
        ("s3a://b/ü/d#?%20.jpg", -1, 0, "address"),
    }


def test_of_an_inventory_with_all_versions_the_latest_counts_and_nothing_that_was_deleted(session, settings, tmp_path):
    columns = {
        "bucket": ["b"] * 4,
        "key": ["new.jpg", "new.jpg", "gone.jpg", "notes.txt"],
        "is_latest": [True, False, True, True],
        "is_delete_marker": [False, False, True, False],
        "size": [1, 2, None, 3],
        "last_modified_date": pa.array([10**6] * 4, pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), tmp_path / "inventory.parquet")
    sources = open_inputs(session, [str(tmp_path)], settings("none"))
    listing = list_photos(sources, ExitStack())
    assert [(row.path, row.length) for row in listing.photos.collect()] == [("s3a://b/new.jpg", 1)]
    assert listing.skipped == 1


def test_addresses_give_the_mean_of_the_folder_and_a_rerun_reads_nothing(spark, settings, photos, undisturbed):
    chosen = settings(write_list(photos), group_by="parent")
    result = run(chosen, spark)
    assert (result.mean_sha256, result.groups, result.encoded) == (undisturbed.mean_sha256, 2, 6)
    for name in names_in(photos):  # what they hold now gives no face
        if name != "list.txt":
            told = (photos / name).stat()
            (photos / name).write_bytes(bytes(told.st_size))
            os.utime(photos / name, ns=(told.st_atime_ns, told.st_mtime_ns))
    again = run(chosen, spark)
    assert (again.mean_sha256, again.encoded) == (undisturbed.mean_sha256, 0)
    # What was encoded by its address is known by a listing of the folder, too.
    assert run(settings(photos), spark).encoded == 0


@pytest.mark.slow
def test_what_cannot_be_read_is_a_row_that_says_why_and_is_tried_again(spark, settings, photos, tmp_path):
    outside = Path(shutil.copy(photos / "biden" / "biden.jpg", tmp_path / "outside.jpg"))
    os.mkfifo(photos / "pipe.jpg")
    (photos / "folder.jpg").mkdir()
    names = ["gone.jpg", "pipe.jpg", "folder.jpg", "../outside.jpg", "http://host/h.jpg", "s3://!/bucket.jpg"]
    table = photos / "table.csv"
    shutil.copy(photos / "biden" / "biden.jpg", photos / "changed.jpg")
    lines = [f"{name},7,2024-01-01" for name in (*names, str(outside), "changed.jpg")]
    table.write_text("\n".join(["uri,size,modificationTime", *lines, "obama/obama.jpg,-,2024-01-01"]))
    (photos / "good.txt").write_text("biden/biden.jpg\n")
    chosen = settings(table, photos / "good.txt", max_failed=1)
    result = run(chosen, spark)
    rows = rows_of(spark, chosen.output)
    no_address = ("unsupported", "its address is none that is read")
    expected = {
        "biden.jpg": ("ok", None),
        "gone.jpg": ("unreadable", "there is nothing at its address"),
        "pipe.jpg": ("unsupported", "it is a folder, a pipe"),
        "folder.jpg": ("unsupported", "it is a folder, a pipe"),
        "outside.jpg": no_address,
        "h.jpg": no_address,
        "bucket.jpg": no_address,
        "changed.jpg": ("unreadable", "it had 7 bytes when it was listed, and has"),
        "obama.jpg": ("unreadable", "neither its table nor"),
    }
    assert result.photos["listed"] == 10  # outside.jpg by two addresses
    assert set(rows) == set(expected)
    for name, (status, says) in expected.items():
        assert rows[name][0] == status, name
        assert (rows[name][1] or "").startswith(says or ""), name
    (photos / "gone.jpg").write_bytes(b"nothing")
    again = run(chosen, spark)
    assert (again.encoded, again.photos["unsupported"]) == (9, result.photos["unsupported"] + 1)
    with pytest.raises(OutputError, match=r"could not ask its store for \(\S+obama.jpg, say\)"):
        compact(chosen.output, drop_stale=True, spark=spark)
    table.write_text("\n".join(["uri,size,modificationTime", *lines]))
    assert (
        run(chosen, spark).photos["listed"] == compact(chosen.output, drop_stale=True, spark=spark)["rows"]["kept"] == 9
    )


@pytest.mark.slow
def test_hashed_paths_are_read_by_what_they_are(spark, settings, photos, undisturbed):
    chosen = settings(write_list(photos, "gone.jpg"), hash_paths=True, group_by="parent")
    result = run(chosen, spark)
    assert (result.mean_sha256, result.photos["unreadable"]) == (undisturbed.mean_sha256, 1)
    written = spark.read.parquet(f"{chosen.output}/photos").collect()
    assert all(len(row.path) == 64 for row in written)
    assert not any("biden" in str(row) or "gone" in str(row) for row in written)


@pytest.mark.slow
def test_a_photo_that_is_replaced_is_encoded_anew(spark, settings, photos, undisturbed):
    chosen = settings(write_list(photos))
    run(chosen, spark)
    shutil.copy(photos / "biden" / "biden.jpg", photos / "obama" / "obama.jpg")
    again = run(chosen, spark)
    assert again.encoded == 1
    assert again.mean_sha256 != undisturbed.mean_sha256


def test_a_photo_longer_than_max_bytes_is_not_read(spark, settings, photos):
    (photos / "list.csv").write_text(
        "uri,size,modificationTime\nbiden/biden.jpg,99999999,2024-01-01\ngone.jpg,2000,2024-01-01"
    )
    (photos / "good.txt").write_text("obama/obama.jpg\n")
    chosen = settings(photos / "list.csv", photos / "good.txt", max_bytes=10**6)
    assert run(chosen, spark).photos["too_large"] == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "a.csv",
            "url,size\nb.jpg,1\n",
            r"no column 'uri' \(--uri-column\), nor 'bucket' and 'key': its columns are url, size",
        ),
        ("manifest.json", "{}", "is no manifest of an inventory"),
        ("manifest.json", "no json", "is no manifest of an inventory"),
        ("a.txt", "notes.md\n", "holds no photo"),
        ("a.txt", "", "holds no photo"),
    ],
)
def test_a_list_that_is_none_is_told(session, settings, tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        keys(session, settings, tmp_path / name)


def test_a_parquet_table_that_has_neither_photos_nor_addresses_is_told(session, settings, tmp_path):
    pq.write_table(pa.table({"name": ["a.jpg"]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"no binary column 'content' .* no column 'uri' .* its columns are name"):
        keys(session, settings, tmp_path / "t.parquet")


def test_a_text_beside_photos_is_no_list_of_addresses(session, settings, photos):
    before = keys(session, settings, photos)
    write_list(photos, "gone.jpg")
    assert keys(session, settings, photos) == before
    assert keys(session, settings, photos / "*") == before
