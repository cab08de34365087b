"""What a look finds in an archive is what Spark would list, or else Spark lists it."""

import io
import os
import subprocess
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from test_inputs import HARD_NAMES, put

from spark_job.inputs.looks import look_through
from spark_job.inputs.photos import list_photos
from spark_job.inputs.sources import open_inputs
from spark_job.row import KEY
from spark_job.spark.session import open_session

NAMES = (
    *HARD_NAMES, "co:lon.jpg", "a/b/c.jpg", "./here.jpg", "a/./b.jpg", "//a//b.jpg", "/top.jpg", ".hidden.jpg",
    "._a.jpg", ".folder/a.jpg", "a/.folder/b.jpg", "../out.jpg", "a/../b.jpg", "..jpg", "d/" * 60 + "long.jpg",
    "n" * 240 + ".jpg", "a.json", "a.cls", "a.jpg.txt", "UP.JPG", "a.g\u0131f", "a.tar", "_metadata",
    "x._COPYING_/a.jpg", "c=d.jpg", " .jpg", "\u202egpj.jpg", "a\r.jpg", "a.jpg\n", "\u3000.jpg", "日本.jpg", "😀.jpg",
    "e\u0301.jpg", "~.jpg", "#?*.jpg", "\x7f.jpg",
)  # fmt: skip
TARS = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}


@pytest.fixture
def session(spark, settings):
    with open_session(settings("none"), spark) as private:
        yield private


def tar(path: Path, names, form: int = tarfile.PAX_FORMAT, mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=form) as archive:
        for i, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = i, 1.5 * i
            archive.addfile(entry, io.BytesIO(bytes(i)))
        for kind, name in ((tarfile.SYMTYPE, "link.jpg"), (tarfile.LNKTYPE, "hard.jpg"), (tarfile.DIRTYPE, "d.jpg")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "a/b/c.jpg"
            archive.addfile(entry)
    return path


def zipped(path: Path, names, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for i, name in enumerate(names):
            archive.writestr(name, bytes(i))
    return path


def listings(session, folder: Path, chosen):
    """By archive: what its look found, what Spark finds, and whether Spark is asked."""
    sources = open_inputs(session, [str(folder)], chosen)
    looks = sources.looks
    found, listed = {}, {}
    for rows, into in (
        (looks.rows.where("path IS NOT NULL"), found),
        (sources.kinds["archive"].where("is_photo"), listed),
    ):
        for row in rows.collect():
            into.setdefault(Path(row.source).name, []).append((row.path, row.length))
    times = {row.modificationTime for row in looks.listing().select("modificationTime").collect()}
    assert times <= {row.modificationTime for row in sources.kinds["archive"].select("modificationTime").collect()}
    looks.forget()
    return found, listed, {Path(uri).name for uri in looks.odd}


def test_what_a_look_lists_is_what_spark_lists(session, settings, tmp_path):
    """Each name alone, so that a name that is left to Spark hides no other."""
    for i, name in enumerate(NAMES):
        tar(tmp_path / f"{i}.tar", [name, "other.jpg"])
        zipped(tmp_path / f"{i}.zip", [name, "other.jpg"])
    found, listed, odd = listings(session, tmp_path, settings("none"))
    usual = listed.keys() - odd
    assert {name: sorted(found[name]) for name in usual} == {name: sorted(listed[name]) for name in usual}
    left = {NAMES[int(name.removesuffix(".tar"))] for name in odd if name.endswith(".tar")}
    assert {name for name in left if name.isprintable()} == {"x._COPYING_/a.jpg"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tars_and_zips_as_programs_make_them_are_not_listed_by_spark(session, settings, tmp_path, mode):
    names = ["a.jpg", "a/b/c.jpg", "d/" * 60 + "long.jpg", "a.json"]
    photos = tmp_path / "photos"
    for i, name in enumerate(names):
        put(photos / name, bytes(i))
    (photos / "up.jpg").symlink_to("a.jpg")
    os.link(photos / "a.jpg", photos / "hard.jpg")
    archives = tmp_path / "archives"
    archives.mkdir()
    suffix = ".tgz" if mode == "w:gz" else ".tar"
    for name, form in TARS.items():
        tar(archives / f"{name}{suffix}", names, form, mode)
        with tarfile.open(archives / f"{name}-added{suffix}", mode, format=form) as archive:
            archive.add(photos, "photos")
        flags = "-czf" if mode == "w:gz" else "-cf"
        command = ["tar", "-C", photos, f"--format={name}", flags, archives / f"{name}-by-tar{suffix}", "."]
        subprocess.run(command, check=True)
    zipped(archives / "deflated.zip", names)
    zipped(archives / "stored.zip", [*names, "é.jpg"], zipfile.ZIP_STORED)
    found, listed, odd = listings(session, archives, settings("none"))
    assert not odd
    assert {name: sorted(rows) for name, rows in found.items()} == {name: sorted(rows) for name, rows in listed.items()}
    assert len(found) == len(list(archives.iterdir()))


def test_neighbours_of_photos_are_counted_and_have_no_rows(session, settings, tmp_path):
    tar(tmp_path / "shard.tar", [f"{i}.{suffix}" for i in range(50) for suffix in ("jpg", "json", "cls")])
    sources = open_inputs(session, [str(tmp_path)], settings("none"))
    rows = sources.listing().count()
    listing = list_photos(sources, ExitStack())
    assert rows == listing.listed == 50
    assert listing.skipped == 102, "and two links"
    assert listing.skipped_examples == [f"file:{tmp_path}/shard.tar!/{name}" for name in ("0.json", "0.cls", "1.json")]
    assert {tuple(row[:3]) for row in listing.photos.select(*KEY).collect()} == {
        tuple(row[:3]) for row in sources.kinds["archive"].where("is_photo").select(*KEY).collect()
    }


def bytes_read(path: Path) -> int:
    process = psutil.Process()
    before = process.io_counters().read_chars
    list(look_through(path, 2**26))
    return process.io_counters().read_chars - before


def test_a_look_reads_the_headers_of_a_tar_and_the_directory_of_a_zip(tmp_path):
    large = [("a.jpg", 2**20), ("b.jpg", 2**20)]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, size in large:
            entry = tarfile.TarInfo(name)
            entry.size = size
            archive.addfile(entry, io.BytesIO(bytes(size)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, size in large:
            archive.writestr(name, bytes(size))
    assert bytes_read(tmp_path / "a.tar") < 2**13
    assert bytes_read(tmp_path / "a.zip") < 2**18
