"""An archive that would take Java's memory, or time without end, is refused before Spark opens it."""

import gzip
import io
import secrets
import struct
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from bomb_archives import MIB, long_header_tar, lying_zip, old_sparse_tar, overlapping_zip, sparse_tar, zeros_tgz
from py4j.protocol import Py4JJavaError

from spark_job import run
from spark_job.inputs import bombs, zips
from spark_job.inputs.bombs import BombError
from spark_job.inputs.looks import Account, look_through
from spark_job.inputs.sources import open_inputs
from spark_job.spark.copies import with_copies
from spark_job.spark.hadoop import reason
from spark_job.spark.session import open_session

MAX_BYTES = 2**26


def refusal(path: Path, max_bytes: int = MAX_BYTES) -> str | None:
    """Why an archive is not opened."""
    try:
        list(look_through(path, max_bytes))
    except BombError as bomb:
        return str(bomb)
    return None


def test_a_tar_is_refused_for_what_its_headers_do_to_memory(tmp_path):
    assert "sparse" in refusal(sparse_tar(tmp_path / "a.tar"))
    assert "sparse" in refusal(old_sparse_tar(tmp_path / "b.tar"))
    for i, kind in enumerate((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)):
        assert "2,147,483,648 bytes" in refusal(long_header_tar(tmp_path / f"{i}.tar", kind))


@pytest.mark.slow
def test_what_inflates_without_end_is_refused(tmp_path):
    assert refusal(zeros_tgz(tmp_path / "few.tgz", 2)) is None
    assert "100 times" in refusal(zeros_tgz(tmp_path / "many.tgz", 17))
    assert refusal(zeros_tgz(tmp_path / "many.tar.gz", 17)) is not None
    honest = tmp_path / "honest.zip"
    with zipfile.ZipFile(honest, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(9):
            archive.writestr(f"{i}.jpg", bytes(MIB))
    assert refusal(honest) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bombs, "MAX_TOTAL", 8 * MIB)
        assert "100 times" in refusal(honest)


def test_a_zip_whose_header_lies_is_refused_where_the_lie_matters(tmp_path):
    assert "larger than its header says" in refusal(lying_zip(tmp_path / "large.zip", 2))
    assert refusal(lying_zip(tmp_path / "harmless.zip", 1)) is None
    assert "overlap" in refusal(overlapping_zip(tmp_path / "overlapping.zip"))
    with zipfile.ZipFile(tmp_path / "stored.zip", "w") as archive:
        archive.writestr("a.jpg", bytes(2 * MIB))
        archive.getinfo("a.jpg").file_size = 10
    assert "larger than its header says" in refusal(tmp_path / "stored.zip", MIB)
    with zipfile.ZipFile(tmp_path / "bzip2.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.jpg", bytes(MIB))
    assert "method 12" in refusal(tmp_path / "bzip2.zip")


@pytest.mark.slow
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_look_through_a_tar_sees_all_of_its_entries(tmp_path, format_, mode):
    """A long name, a large one and a link lie before what is looked for: a wrong step would miss it."""
    path = tmp_path / ("a.tar" if mode == "w" else "a.tgz")
    with tarfile.open(path, mode, format=format_) as archive:
        for i, name in enumerate(("d/" * 60 + "long.jpg", "äö.jpg", "../out.jpg", "a/../../b.jpg", "..jpg")):
            entry = tarfile.TarInfo(name)
            entry.size = 700 * i
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
        folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("l" * 90 + ".jpg")
        folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, "../out.jpg"
        archive.addfile(folder)
        archive.addfile(link)
    account = Account()
    names = [name for entry in look_through(path, MAX_BYTES) if (name := account.take(entry))]
    assert (account.outside, account.links) == (2, ["l" * 90 + ".jpg"])
    assert names == ["d/" * 60 + "long.jpg", "äö.jpg"]


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.zip"])
def test_what_is_damaged_is_left_to_spark_but_a_zip_that_java_may_read_otherwise(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"text " * 1000, gzip.compress(b"text " * 1000), bytes(99), b"\x1f\x8b\x08" + bytes(99)):
        path.write_bytes(content)
        assert (refusal(path) is None) == (name != "a.zip" or not content)


def test_a_zip_of_a_huge_directory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(100):
            archive.writestr(f"{i}.jpg", b"")
    assert refusal(tmp_path / "a.zip") is None
    monkeypatch.setattr(zips, "MAX_DIRECTORY", 5000)
    assert "500,000 files" in refusal(tmp_path / "a.zip")


def test_a_lie_in_an_entry_that_looks_like_a_folder_is_seen(tmp_path):
    path = lying_zip(tmp_path / "a.zip", 2)
    path.write_bytes(path.read_bytes().replace(b"lying.jpg", b"a/\0g.jpg/"))
    assert "larger than its header says" in refusal(path)


def test_a_directory_that_java_finds_and_python_does_not_hides_nothing(tmp_path):
    """Its size is a lie: Python looks before the file for its start, and Java where its offset says."""
    path = lying_zip(tmp_path / "a.zip", 2)
    whole = bytearray(path.read_bytes())
    struct.pack_into("<I", whole, len(whole) - 22 + 12, 2**31 - 1)
    path.write_bytes(whole)
    assert "no zip" in refusal(path)


def extended(*records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """An extended header of a tar, of records of which each has its length before it."""
    content = b"".join(b"%d " % (len(record) + 3) + record for record in records)
    header = tarfile.TarInfo("pax")
    header.type, header.size = kind, len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def entry(name: str, size_field: bytes, data: bytes = b"") -> bytes:
    """An entry of a tar with the twelve bytes of its size as they are given."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size_field
    return bytes(header) + data


ODD_SIZES = (
    entry("a.jpg", b"\0" + b"0000001000\0"),  # Java reads nothing behind a zero byte
    entry("a.jpg", b"\x81" + bytes(11)),  # any first bit makes it binary
    entry("a.jpg", b"\x80" + bytes(9) + b"\2\0", bytes(512)),
    entry("a.jpg", b"     1000   ", bytes(512)),
    entry("folder/", b"00000001000\0"),  # a folder has no bytes, whatever it says
    extended(b"comment=30 size=512\n") + entry("a.jpg", b"00000000000\0"),
    extended(b"size=512\n") + entry("a.jpg", b"00000000000\0", bytes(512)),
    extended(b"path=folder/\n") + entry("a.jpg", b"00000001000\0"),
)


@pytest.mark.parametrize("before", ODD_SIZES)
def test_a_size_that_is_written_oddly_hides_nothing_behind_it(tmp_path, before):
    """A wrong step would land in what stands behind, and miss the header there."""
    path = long_header_tar(tmp_path / "a.tar")
    path.write_bytes(before + path.read_bytes())
    assert "2,147,483,648 bytes" in refusal(path)


@pytest.mark.slow
def test_spark_steps_over_odd_sizes_as_the_look_does(spark, settings, tmp_path):
    for i, before in enumerate(ODD_SIZES):
        (tmp_path / f"{i}.tar").write_bytes(before + entry("after.jpg", b"00000000000\0") + bytes(1024))
    with open_session(settings("none"), spark) as session:
        rows = open_inputs(session, [str(tmp_path)], settings("none")).listing()
        found = {row.path.removeprefix(f"file:{tmp_path}/") for row in rows.collect()}
    assert {f"{i}.tar!/after.jpg" for i in range(len(ODD_SIZES))} <= found


def test_headers_that_cannot_be_followed_are_refused(tmp_path):
    path = tmp_path / "a.tar"
    for header, why in (
        (extended(b"SCHILY.realsize=9999999999\n"), "sparse"),
        (extended(b"size=many\n"), "no size"),
        (extended(b"size=0\n", kind=tarfile.XGLTYPE), "no size"),
        (extended(b"size\n"), "damaged"),
    ):
        path.write_bytes(header + entry("a.jpg", b"00000000000\0"))
        assert why in refusal(path)


@pytest.mark.slow
def test_bombs_cost_their_own_entries_and_each_has_a_row_that_says_why(spark, settings, photos, tmp_path):
    sparse_tar(photos / "sparse.tar")
    long_header_tar(photos / "header.tar")
    zeros_tgz(photos / "zeros.tgz", 17)
    lying_zip(photos / "lying.zip", 40)
    overlapping_zip(photos / "overlapping.zip")
    (photos / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    with zipfile.ZipFile(photos / "good.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(photos / "biden" / "biden.jpg", "./here/good.jpg")
        archive.writestr("../../biden.jpg", b"outside")
    result = run(settings(photos), spark)
    rows = spark.read.parquet(f"{result.output}/photos").where("status != 'ok'").collect()
    told = {Path(row.path).name: (row.status, row.message) for row in rows}
    refused = {"sparse.tar", "header.tar", "zeros.tgz", "lying.zip", "overlapping.zip"}
    assert set(told) == refused | {"a.7z"}
    assert {told[name][0] for name in refused} == {"too_large"}
    assert all(told[name][1].startswith("the archive is not opened") for name in refused)
    assert told["a.7z"][0] == "unsupported"
    assert (result.count, result.photos["listed"], result.skipped) == (7, 13, 1)


@pytest.fixture
def viewed(spark, tmp_path):
    """A URI of the test's folder in a file system of Hadoop's that is not the machine's own."""
    conf, host = spark.sparkContext._jsc.hadoopConfiguration(), secrets.token_hex(4)  # Hadoop keeps what it once opened
    conf.set(link := f"fs.viewfs.mounttable.{host}.link./away", tmp_path.as_uri())
    yield f"viewfs://{host}/away"
    conf.unset(link)


@pytest.mark.slow
def test_archives_away_are_looked_through_as_those_here(spark, settings, tmp_path, viewed):
    sparse_tar(tmp_path / "sparse.tar")
    zeros_tgz(tmp_path / "zeros %20.tgz", 17)
    lying_zip(tmp_path / "lying.zip", 2)
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    (tmp_path / "nothing.zip").write_bytes(b"")
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as archive:
        for name, kind in (
            ("../out.jpg", tarfile.REGTYPE),
            ("a link.jpg", tarfile.SYMTYPE),
            ("a.jpg", tarfile.REGTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            archive.addfile(entry)
    with open_session(settings("none"), spark) as session:
        here, away = (open_inputs(session, [uri], settings("none")).looks for uri in (tmp_path.as_uri(), viewed))
    as_here = {uri.replace(viewed, f"file:{tmp_path}"): told for uri, told in away.refused.items()}
    assert as_here == here.refused
    assert {Path(uri).name for uri in as_here} == {"sparse.tar", "zeros%20%2520.tgz", "lying.zip", "a.7z"}
    assert (away.outside, away.links) == (here.outside, [f"{viewed}/good.tar.gz!/a link.jpg"]) == (1, away.links)


def test_copies_to_look_through_are_removed_and_one_that_cannot_be_made_says_why(spark, tmp_path, viewed):
    (tmp_path / "a.tar").write_bytes(b"some bytes")
    schema = pa.schema({"path": pa.string(), "copy": pa.string(), "modified_ms": pa.int64(), "content": pa.binary()})

    def tell(path, copy, modified_ms):
        yield pa.RecordBatch.from_arrays([[path], [str(copy)], [modified_ms], [copy.read_bytes()]], schema=schema)

    copies = with_copies(spark, tell, [f"{viewed}/a.tar"] * 3, schema).collect()
    modified_ms = (tmp_path / "a.tar").stat().st_mtime_ns // 10**6
    assert {(row.path, row.modified_ms, bytes(row.content)) for row in copies} == {
        (f"{viewed}/a.tar", modified_ms, b"some bytes")
    }
    assert len({row.copy for row in copies}) == 3
    assert not any(Path(row.copy).exists() for row in copies)
    with pytest.raises(Py4JJavaError) as caught:
        with_copies(spark, tell, [f"{viewed}/gone.tar"], schema).collect()
    assert "gone.tar" in reason(caught.value)


@pytest.mark.slow
def test_a_bomb_alone_is_an_input_of_one_row(spark, settings, tmp_path, photos):
    result = run(settings(sparse_tar(tmp_path / "alone.tar"), photos), spark)
    assert (result.photos["too_large"], result.count) == (1, 6)
