"""A damaged archive costs what it lost, says so in a row of its own, and never the run."""

import io
import re
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from spark_job import run

COUNT = 6


@pytest.fixture(scope="module")
def contents(face_photos):
    """COUNT different photos, each with a face."""
    return [path.read_bytes() for path in sorted(face_photos.rglob("*.*"))]


def tar(path: Path, contents, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for i, content in enumerate(contents):
            entry = tarfile.TarInfo(f"{i}.jpg")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def zip_(path: Path, contents) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, content in enumerate(contents):
            archive.writestr(f"{i}.jpg", content)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def overwrite(path: Path, at: int, content: bytes) -> Path:
    old = path.read_bytes()
    path.write_bytes(old[:at] + content + old[at + len(content) :])
    return path


def encrypted(path: Path, entry: int) -> Path:
    """The zip with one entry said to be encrypted, in both of its headers."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = [match.start() for match in re.finditer(re.escape(signature), content)][entry]
        content[at + offset : at + offset + 2] = struct.pack("<H", content[at + offset] | 1)
    path.write_bytes(content)
    return path


def statuses(spark, result, root: Path) -> dict[str, str]:
    rows = spark.read.parquet(f"{result.output}/photos").collect()
    assert len({row.path for row in rows}) == result.photos["listed"]
    assert all(row.message for row in rows if row.status != "ok")
    return {row.path.removeprefix(f"file:{root}/"): row.status for row in rows}


@pytest.mark.slow
def test_each_kind_of_damage_costs_its_own_entries_only(spark, settings, contents, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    tar(root / "good.tgz", contents, "w:gz")
    cut(tar(root / "cut.tar", contents))
    cut(tar(root / "cut.tgz", contents, "w:gz"))
    damaged = tar(root / "damaged.tgz", contents, "w:gz")
    overwrite(damaged, damaged.stat().st_size // 2, b"\xff" * 100_000)  # whole blocks, and so their headers
    cut(zip_(root / "cut.zip", contents))
    (root / "text.tgz").write_text("no archive")
    (root / "text.zip").write_text("no archive")
    (root / "empty.tgz").write_bytes(b"")
    (root / "photo.zip").write_bytes(contents[0])
    encrypted(zip_(root / "encrypted.zip", contents[:3]), 1)
    overwrite(zip_(root / "hole.zip", contents[:4]), 35, b"\xff" * 999)
    (root / "alone.jpg").write_bytes(contents[0])
    chosen = settings(root)
    result = run(chosen, spark)
    found = statuses(spark, result, root)

    whole = {name for name in found if "!" not in name}
    assert {name: found[name] for name in whole} == {
        "alone.jpg": "ok", "cut.tar": "truncated", "cut.tgz": "truncated", "damaged.tgz": "truncated",
        "cut.zip": "unreadable", "text.tgz": "unreadable", "text.zip": "unreadable", "empty.tgz": "empty",
        "photo.zip": "unreadable",
    }  # fmt: skip
    assert [found[f"good.tgz!/{i}.jpg"] for i in range(COUNT)] == ["ok"] * COUNT
    assert [found[f"encrypted.zip!/{i}.jpg"] for i in range(3)] == ["ok", "truncated", "ok"]
    assert [found[f"hole.zip!/{i}.jpg"] for i in range(4)] == ["truncated", "ok", "ok", "ok"]
    for name in ("cut.tar", "cut.tgz", "damaged.tgz"):
        held = [found[f"{name}!/{i}.jpg"] for i in range(COUNT) if f"{name}!/{i}.jpg" in found]
        assert held[0] == "ok"
        assert len(held) < COUNT
        assert held[-1] != "no_face"
    assert result.count == list(found.values()).count("ok")

    again = run(chosen, spark)
    assert again.mean_sha256 == result.mean_sha256
    assert again.photos == result.photos


@pytest.mark.slow
def test_an_archive_that_was_mended_is_read_whole(spark, settings, contents, undisturbed, tmp_path):
    archive = cut(tar(tmp_path / "photos.tgz", contents, "w:gz"))
    chosen = settings(archive)
    damaged = run(chosen, spark)
    assert damaged.photos["truncated"] >= 1
    tar(archive, contents, "w:gz")
    mended = run(chosen, spark)
    assert mended.photos["ok"] == mended.photos["listed"] == mended.count == COUNT
    assert mended.mean_sha256 == undisturbed.mean_sha256


@pytest.mark.slow
def test_what_stands_in_an_archive_besides_photos_reads_no_other_file(spark, settings, contents, tmp_path):
    """Links are not followed, and paths that lead out of the archive lead nowhere."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(contents[0])
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for name, kind, target in (
            ("link.jpg", tarfile.SYMTYPE, str(secret)), ("hard.jpg", tarfile.LNKTYPE, str(secret)),
            ("device.jpg", tarfile.CHRTYPE, ""), ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        for name in (
            "/absolute.jpg",
            "../../up.jpg",
            "./here.jpg",
            "twice.jpg",
            "twice.jpg",
            "line\nend<script>.jpg",
            "nested.tar",
            "😀%20:.jpg",
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(contents[1])
            archive.addfile(entry, io.BytesIO(contents[1]))
    result = run(settings(tmp_path / "photos.tar"), spark)
    found = {name.split("!/")[1]: status for name, status in statuses(spark, result, tmp_path).items()}
    assert found == {
        "absolute.jpg": "ok", "here.jpg": "ok", "twice.jpg": "ok", "line\nend<script>.jpg": "ok", "😀%20:.jpg": "ok",
    }  # fmt: skip
    assert result.skipped == 6, "four that are no files, one that leads out, and an archive in the archive"


@pytest.mark.slow
def test_two_entries_of_one_name_time_and_length_count_once_and_always_the_same(spark, settings, contents, tmp_path):
    length = max(map(len, contents[:2]))
    both = [content.ljust(length, b"\0") for content in contents[:2]]
    digests = set()
    for i, order in enumerate((both, both[::-1], both)):
        archive = tmp_path / f"{i}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("same.jpg", order[0])
            with pytest.warns(UserWarning, match="Duplicate name"):
                file.writestr("same.jpg", order[1])
        result = run(settings(archive, output=str(tmp_path / f"out{i}")), spark)
        assert (result.photos["listed"], result.count) == (1, 1)
        digests.add(result.mean_sha256)
    assert len(digests) == 1
