"""With --hash-paths no name of a photo, a folder or an archive is in what a run writes or says."""

import hashlib
import hmac
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from spark_job import outliers, overlap, run
from spark_job.console import Console
from spark_job.inputs.names import hashed, named
from spark_job.results.result import summary


def digest(key: str, name: str) -> str:
    return hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def personal(photos, tmp_path):
    """Photos whose names say who they are of, on their own and in an archive."""
    root = tmp_path / "zelda"
    shutil.copytree(photos / "obama", root / "quentin")
    with tarfile.open(root / "wilma.tgz", "w:gz") as archive:
        archive.add(photos / "biden", "xaver")
    (root / "yorick.txt").write_text("no photo")
    (root / "damaged-ursula.zip").write_text("no archive")
    (root / "victor.jpg").write_bytes(b"no photo")
    return root


NAMES = (b"zelda", b"quentin", b"wilma", b"xaver", b"yorick", b"ursula", b"victor", b"obama", b"biden")


@pytest.mark.slow
def test_hashed_names_are_all_that_is_written_and_said(spark, settings, personal, monkeypatch, capfd):
    monkeypatch.setenv("FACEMEAN_HASH_KEY", "a key")
    chosen = settings(personal, hash_paths=True, group_by="parent")
    result = run(chosen, spark, console := Console())
    console.show(summary(result))
    console.outliers(outliers(chosen.output, Path(chosen.output, "keep.txt"), spark), "keep.txt")
    console.overlap(overlap(chosen.output, spark=spark))
    said = capfd.readouterr()
    written = [path.read_bytes() for path in Path(chosen.output).rglob("*") if path.is_file()]
    for name in NAMES:
        assert name not in (said.out + said.err).replace(str(chosen.output), "").encode()
        assert not any(name in content for content in written)

    rows = {row.path: row for row in spark.read.parquet(f"{chosen.output}/photos").collect()}
    photo = f"file:{personal}/wilma.tgz!/xaver/biden.jpg"
    assert rows[digest("a key", photo)].group == digest("a key", "xaver")
    assert hashed(photo) == digest("a key", photo)
    assert rows[digest("a key", f"file:{personal}/damaged-ursula.zip")].status == "unreadable"
    groups = {row.group: row["count"] for row in spark.read.parquet(f"{chosen.output}/groups").collect()}
    assert groups == {digest("a key", "quentin"): 4, digest("a key", "xaver"): 2}
    assert json.loads(Path(chosen.output, "mean.json").read_text())["inputs"] == [digest("a key", str(personal))]

    again = run(chosen, spark)
    assert (again.encoded, again.mean_sha256) == (1, result.mean_sha256), "but for the archive that is none"


@pytest.mark.parametrize("key", ["", "a key", "k" * 64, "k" * 65, "ä" * 100])
def test_a_column_is_hashed_as_a_name_is(spark, settings, monkeypatch, key):
    monkeypatch.setenv("FACEMEAN_HASH_KEY", key)
    names = ["file:/a.jpg", "", "new\nline 😀 'quote\\"]
    rows = spark.createDataFrame([(name, "file:/") for name in names], "path string, source string")
    found = {row.path for row in named(rows, settings("none", hash_paths=True)).collect()}
    assert found == {hashed(name) for name in names} == {digest(key, name) for name in names}


HARD_NAMES = (
    "new\nline", "quo'te\"s", "it''s", "<script>alert(1)<", "😀", "two  words ", "per%20cent%", "co:lon", "a:b:c",
    "st*ar?[1]{a,b}", "[", "{", "_camera", "-rf", "$(reboot)", "back\\slash", "back\\'", "\\", "n" * 251,
    "tab\tbell\a\x1b[31m", "u\u202egpj.exe", "cafe\u0301", "caf\u00e9", "#hash", "a?b=c&d", "!", "a!", "=",
)  # fmt: skip


@pytest.mark.slow
def test_every_name_has_one_row_and_a_rerun_finds_it(spark, settings, photos, tmp_path):
    """On the disk and in an archive; what is listed anew passes through SQL by its name."""
    content = (photos / "biden" / "biden.jpg").read_bytes()
    root = tmp_path / "in"
    root.mkdir()
    for i, name in enumerate(HARD_NAMES):
        (root / f"{name}.jpg").write_bytes(content if i == 0 else b"no photo" * (i + 1))
    with tarfile.open(root / "names.tar", "w") as archive:
        for name in HARD_NAMES:
            archive.add(root / f"{name}.jpg", f"{name}.jpg")
    chosen = settings(root)
    result = run(chosen, spark)
    names = [f"{name}.jpg" for name in HARD_NAMES]
    expected = {f"file:{root}/{name}" for name in names} | {f"file:{root}/names.tar!/{name}" for name in names}
    rows = spark.read.parquet(f"{chosen.output}/photos").collect()
    assert {row.path for row in rows} == expected
    assert len(rows) == result.photos["listed"] == len(expected)

    for name in HARD_NAMES:
        os.utime(root / f"{name}.jpg", (10**9, 10**9))
    again = run(chosen, spark)
    assert again.encoded == len(HARD_NAMES)
    assert again.photos == result.photos
    assert run(chosen, spark).encoded == 0


@pytest.mark.slow
def test_a_name_that_java_cannot_say_has_a_row_that_says_so(spark, settings, photos):
    folder = os.fsencode(photos)
    for name in (b"caf\xe9.jpg", b"d\xff/a.jpg", b".d\xff/hidden.jpg", b"n\xe9.txt"):
        path = os.path.join(folder, name)  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        Path(os.fsdecode(path)).write_bytes(b"no photo")
    result = run(settings(photos), spark)
    rows = spark.read.parquet(f"{result.output}/photos").where("status = 'unreadable'").collect()
    assert {row.path for row in rows} == {f"file:{photos}/caf\\xe9.jpg", f"file:{photos}/d\\xff/a.jpg"}
    assert all("UTF-8" in row.message and "rename" in row.message for row in rows)
    assert result.count == 6
