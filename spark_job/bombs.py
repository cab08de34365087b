"""Bombs: archives that would take Java's memory, or time without end, are found before Spark opens them.

Spark's reader takes an entry whole into Java's memory, whatever its header says of its size, and headers too.
"""

import functools
import math
import posixpath
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from pyspark.sql import SparkSession

from spark_job.session import step

# An entry may hold so many bytes for each of its own, which deflate cannot pass: 258 of a run in 2 bits.
DEFLATE_RATIO = 1032
# Photos hardly compress. Where an archive holds more than this for each byte of its own, it is a bomb.
MAX_RATIO, MAX_TOTAL = 100, 2**30
MAX_HEADER = 2**20  # bytes of a tar's long name or extended header; names have 4 KiB at most
MAX_DIRECTORY = 2**26  # bytes of a zip's directory, which Python and Java hold as objects: some 500,000 entries
CHUNK, INFLATED_CHUNK = 2**16, 2**20
BLOCK = 512
ENTRIES_A_TASK = 64
MAX_TASKS_A_CORE = 8
REFUSED = "the archive is not opened, and none of its photos is read"
NO_7Z = ("unsupported", "7z archives are not read: pack the photos as tar, tar.gz or zip")
SPARSE = (b"GNU.sparse.", b"SCHILY.realsize")
LINKS = b"12346"  # hard and symbolic links, devices, pipes


class BombError(Exception):
    """Why an archive is not to be opened: a status and a message."""

    def __init__(self, message: str, status: str = "too_large") -> None:
        super().__init__(message)
        self.told = status, f"{REFUSED}: {message}"


class Look(NamedTuple):
    """What a look through an archive finds.

    outside: entries with .. in their names, which Spark leaves out; links: names of entries that are no files;
    deflated: (header offset, compressed size) of entries that may inflate beyond what a photo may have.
    """

    outside: int
    links: list[str]
    deflated: list[tuple[int, int]]


NOTHING = Look(0, [], [])


class Looks(NamedTuple):
    """What a look through several archives finds.

    refused: the URIs of those not to be opened -> status and message; outside as in Look; links: paths of such rows.
    """

    refused: dict[str, tuple[str, str]]
    outside: int
    links: list[str]


def look_through_all(spark: SparkSession, uris: list[str], max_bytes: int) -> Looks:
    """Look through archives, in Spark's workers. Those that are in no mounted file system are left to Spark."""
    refused = {uri: NO_7Z for uri in uris if uri.lower().endswith(".7z")}
    local = [uri for uri in uris if urlsplit(uri).scheme == "file" and uri not in refused]
    looks = _in_tasks(spark, functools.partial(_look, max_bytes), local)
    chunks = [
        (uri, look.deflated[i : i + ENTRIES_A_TASK])
        for uri, look in looks
        if isinstance(look, Look)
        for i in range(0, len(look.deflated), ENTRIES_A_TASK)
    ]
    found = looks + _in_tasks(spark, functools.partial(_check, max_bytes), chunks)
    refused |= {uri: told for uri, told in found if not isinstance(told, Look)}
    good = [(uri, look) for uri, look in looks if isinstance(look, Look) and uri not in refused]
    links = [
        f"file:{local_path(uri)}!/{posixpath.normpath(name).lstrip('/')}" for uri, look in good for name in look.links
    ]
    return Looks(refused, sum(look.outside for _, look in good), links)


def _in_tasks(
    spark: SparkSession, work: Callable[[Any], tuple[str, Look | tuple[str, str]]], items: list[Any]
) -> list[tuple[str, Look | tuple[str, str]]]:
    """work of each item, in Spark's workers."""
    if not items:
        return []
    context = spark.sparkContext
    tasks = min(len(items), MAX_TASKS_A_CORE * context.defaultParallelism)
    with step(spark, "look through the archives"):
        return context.parallelize(items, tasks).map(work).collect()


def _look(max_bytes: int, uri: str) -> tuple[str, Look | tuple[str, str]]:
    """The URI, and the look through it or why it is not to be opened."""
    try:
        return uri, look_through(local_path(uri), max_bytes)
    except BombError as bomb:
        return uri, bomb.told
    except OSError:  # Spark says what there is to say
        return uri, NOTHING


def _check(max_bytes: int, chunk: tuple[str, list[tuple[int, int]]]) -> tuple[str, Look | tuple[str, str]]:
    uri, entries = chunk
    try:
        check_inflated(local_path(uri), entries, max_bytes)
    except BombError as bomb:
        return uri, bomb.told
    except OSError:
        return uri, NOTHING
    return uri, NOTHING


def local_path(uri: str) -> Path:
    """The path of a file: URI, percent signs decoded."""
    return Path(unquote(urlsplit(uri).path))


def look_through(path: Path, max_bytes: int) -> Look:
    """The entries of a local archive by their headers, and of a tar.gz by its bytes. Raises BombError; OSError.

    What is damaged is left to Spark, which says so; a zip that Python cannot open is refused.
    """
    with path.open("rb") as file:
        length = path.stat().st_size
        if path.suffix.lower() == ".zip":
            return _look_through_zip(file, length, max_bytes)
        if path.suffix.lower() == ".tar":
            return _look_through_tar(file.read, lambda n: file.seek(n, 1), length)
        with_limit = _Inflated(file, max(MAX_TOTAL, MAX_RATIO * length))
        return _look_through_tar(with_limit.read, with_limit.skip, None)


def check_inflated(path: Path, entries: list[tuple[int, int]], max_bytes: int) -> None:
    """Raise BombError where one of a zip's entries (header offset, compressed size) inflates to more than max_bytes."""
    with path.open("rb") as file:
        for at, size in entries:
            file.seek(at + 26)  # in the header of the entry: the lengths of its name and of its extra field
            lengths = file.read(4)
            file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
            if _inflated_size(file, size, max_bytes) > max_bytes:
                raise BombError("an entry of it is larger than its header says, and than --max-bytes allows")


def _inflated_size(file: IO[bytes], size: int, enough: int) -> int:
    """The size of what so many bytes of deflate hold, as far as they are good; counted to a little over enough."""
    inflater, rest, inflated = zlib.decompressobj(-zlib.MAX_WBITS), b"", 0
    while not inflater.eof and inflated <= enough:
        if not rest:
            rest = file.read(min(size, CHUNK))
            size -= len(rest)
        if not rest:
            break
        try:
            inflated += len(inflater.decompress(rest, INFLATED_CHUNK))
        except zlib.error:
            break
        rest = inflater.unconsumed_tail
    return inflated


def _look_through_zip(file: IO[bytes], length: int, max_bytes: int) -> Look:
    try:
        archive = zipfile.ZipFile(_InParts(file))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        if not length:
            return NOTHING
        # Java may make more of it than Python does, and so it may not try.
        raise BombError(
            f"it is damaged, or is no zip ({str(error).rstrip('.') or 'cut short'})", "unreadable"
        ) from None
    entries = archive.infolist()  # folders too: Java may see a file where Python sees a folder
    if sum(entry.compress_size for entry in entries) > length:
        raise BombError("its entries overlap: they have more bytes than the archive")
    read = [entry for entry in entries if entry.file_size <= max_bytes]
    if sum(entry.file_size for entry in read) > max(MAX_TOTAL, MAX_RATIO * length):
        raise BombError(f"it inflates to more than {MAX_RATIO} times its size")
    for entry in read:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BombError(f"an entry of it is compressed by method {entry.compress_type}: only deflate is read")
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size > max_bytes:
            raise BombError("an entry of it is larger than its header says, and than --max-bytes allows")
    return Look(
        sum(_leads_out(entry.filename) for entry in entries),
        [entry.filename for entry in entries if stat.S_ISLNK(entry.external_attr >> 16)],
        [(entry.header_offset, entry.compress_size) for entry in read
         if entry.compress_type == zipfile.ZIP_DEFLATED and entry.compress_size * DEFLATE_RATIO > max_bytes],
    )  # fmt: skip


def _look_through_tar(read: Callable[[int], bytes], skip: Callable[[int], object], length: int | None) -> Look:
    """The headers of a tar, as Apache's commons-compress takes them, which Spark reads it with."""
    outside, links = 0, list[str]()
    long_name: bytes | None = None
    long_size: int | None = None
    while len(header := read(BLOCK)) == BLOCK and header.strip(b"\0"):
        kind, size = header[156:157], _number(header[124:136])
        if size is None or size < 0:
            break
        if kind == b"S":
            raise BombError("it holds a sparse file, whose size its header does not bound")
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            if size > MAX_HEADER:
                raise BombError(f"a header in it has {size:,} bytes")
            told = read(size)
            skip(-size % BLOCK)
            if kind == b"L":
                long_name = told.rstrip(b"\0")
            elif kind != b"K":
                for key, value in _records(told):
                    if key.startswith(SPARSE):
                        raise BombError("it holds a sparse file, whose size its header does not bound")
                    if key == b"path":
                        long_name = value
                    if key == b"size":
                        if kind == b"g" or not value.isdigit():
                            raise BombError("a header in it says no size", "unreadable")
                        long_size = int(value)
            continue
        name = long_name if long_name is not None else _name(header)
        size = long_size if long_size is not None else size
        long_name = long_size = None
        if kind == b"5" or name.endswith(b"/"):
            continue
        text = name.decode(errors="replace")
        outside += _leads_out(text)
        if kind and kind in LINKS:
            links.append(text)
        skip(math.ceil(size / BLOCK) * BLOCK)
    return Look(outside, links, [])


class _InParts:
    """A file of which no more than a zip's directory may have is read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # the end of the file, behind its directory
            size = MAX_DIRECTORY
        if size > MAX_DIRECTORY:
            raise BombError("its directory is larger than that of 500,000 files: pack the photos in several")
        return self._read(size)


class _Inflated:
    """The bytes that a gzip file holds, read forwards. Raises BombError after so many."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._chunks = self._inflate(file)
        self._ready = b""
        self._left = most

    def _inflate(self, file: IO[bytes]) -> Iterator[bytes]:
        inflater, rest = zlib.decompressobj(31), b""
        while chunk := rest or file.read(CHUNK):
            try:
                yield inflater.decompress(chunk, INFLATED_CHUNK)
            except zlib.error:
                return
            rest = inflater.unconsumed_tail
            if inflater.eof:  # another member may follow, as after concatenation
                inflater, rest = zlib.decompressobj(31), inflater.unused_data

    def read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing > len(self._ready):
            parts.append(self._ready)
            missing -= len(self._ready)
            self._ready = b""
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left -= len(chunk)
            if self._left < 0:
                raise BombError(f"it inflates to more than {MAX_RATIO} times its size")
            self._ready = chunk
        parts.append(self._ready[:missing])
        self._ready = self._ready[missing:]
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size > 0 and (got := self.read(min(size, INFLATED_CHUNK))):
            size -= len(got)


def _records(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a tar's extended header, each after its own length."""
    at = 0
    while header[at : at + 1].strip(b"\0"):
        match = re.match(rb"(\d{1,7}) ([^=]+)=", header[at:])
        size = int(match[1]) if match else 0
        if match is None or not match.end() < size <= len(header) - at:
            raise BombError("a header in it is damaged", "unreadable")
        yield match[2], header[at + match.end() : at + size - 1]
        at += size


def _number(field: bytes) -> int | None:
    """A number of a tar's header: octal digits, or binary where the first bit says so; None where it is neither."""
    if field[0] & 0x80:
        return -1 if field[0] == 0xFF else int.from_bytes(field[1:], "big")
    digits = b"" if field[0] == 0 else field.lstrip(b" ").rstrip(b"\0 ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else None


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:262] == b"ustar" else name


def _leads_out(name: str) -> bool:
    return ".." in name.split("/")
