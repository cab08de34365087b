"""Tars: a look through one by its headers, plain or inflated, as Spark's reader takes them."""

import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from spark_job.inputs.bombs import MAX_RATIO, ODD, BombError, Entry

MAX_HEADER = 2**20  # bytes of a tar's long name or extended header; names have 4 KiB at most
CHUNK, INFLATED_CHUNK = 2**16, 2**20
BLOCK = 512
SPARSE = (b"GNU.sparse.", b"SCHILY.realsize")
FOLDER, LINKS = b"5", b"12346"  # hard and symbolic links, devices, pipes
# What nearly all tars are made of, which Spark's reader takes as a look does: a header's magic and its numbers as octal
# digits; records of extended headers.
USUAL = re.compile(
    rb"(?s).{100}(?:[0-7]{6}[0-7 ]\0){3}(?:[0-7]{11}[ \0]){2}.{109}"
    rb"(?:ustar\x0000.{64}(?:\0{8}|[0-7]{6}[0-7 ]\0){2}.{155}|ustar  \0.{64}(?:\0{8}|[0-7]{6}[0-7 ]\0){2}\0{155})\0{12}"
)
USUAL_KINDS = {b"\0", *(bytes([kind]) for kind in b"0123456LKx")}
USUAL_RECORDS = re.compile(
    rb"(?s)(?:[acm]time=-?\d{1,18}(?:\.\d+)?|[ug]id=\d{1,9}|(?:[ug]name|linkpath|(?:LIBARCHIVE|SCHILY\.xattr)\.[^=]*)=.*)"
)


def look_through_tar(read: Callable[[int], bytes], skip: Callable[[int], object]) -> Iterator[Entry]:
    """The files and links in a tar by its headers, as Apache's commons-compress takes them, which Spark reads it with.

    ODD is among them where it is damaged, or made as hardly any tar is. Raises BombError.
    """
    told = _Told()
    while len(header := read(BLOCK)) == BLOCK and header.strip(b"\0"):
        kind, size = header[156:157], _number(header[124:136])
        if size is None or size < 0:
            break
        if kind == b"S":
            raise BombError("it holds a sparse file, whose size its header does not bound")
        told.is_usual &= _is_usual(header)
        if kind in (b"L", b"K", b"x", b"X", b"g"):
            if size > MAX_HEADER:
                raise BombError(f"a header in it has {size:,} bytes")
            told.take(kind, read(size))
            skip(-size % BLOCK)
            continue
        name = _name(header) if told.name is None else told.name
        size = size if told.size is None else told.size
        if not told.is_usual or (told.name is None and not name.isascii()) or (kind in LINKS and size):
            yield ODD
        told = _Told()
        if kind == FOLDER or name.endswith(b"/"):
            continue
        yield Entry(name.decode(errors="replace"), size, kind in LINKS)
        skip(math.ceil(size / BLOCK) * BLOCK)
    if len(header) != BLOCK or header.strip(b"\0"):  # cut short, or damaged
        yield ODD


@dataclass(slots=True)
class _Told:
    """What headers of their own say of the entry after them; is_usual: whether all so far are as nearly all are."""

    name: bytes | None = None
    size: int | None = None
    is_usual: bool = True

    def take(self, kind: bytes, content: bytes) -> None:
        """Raises BombError."""
        if kind == b"L":
            self.name = content.rstrip(b"\0")
            self.is_usual &= self.name.isascii()
        elif kind != b"K":
            self.is_usual &= kind == b"x"
            for key, value in _records(content):
                self._take_record(kind, key, value)

    def _take_record(self, kind: bytes, key: bytes, value: bytes) -> None:
        if key.startswith(SPARSE):
            raise BombError("it holds a sparse file, whose size its header does not bound")
        if key == b"path":
            self.name = value
            self.is_usual &= _is_utf8(value)
            return
        if key == b"size":
            if kind == b"g" or not value.isdigit():
                raise BombError("a header in it says no size", "unreadable")
            self.size = int(value)
        self.is_usual &= bool(USUAL_RECORDS.fullmatch(key + b"=" + value))


class Inflated:
    """The bytes that a gzip file holds, read forwards. Raises BombError after so many."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._chunks = self._inflate(file)
        self._ready = b""
        self._left = most
        self.is_whole = False  # whether what was read is all, and its checksums are right

    def _inflate(self, file: IO[bytes]) -> Iterator[bytes]:
        inflater, rest = zlib.decompressobj(31), b""
        while chunk := rest or file.read(CHUNK):
            try:
                yield inflater.decompress(chunk, INFLATED_CHUNK)
            except zlib.error:
                return
            rest, self.is_whole = inflater.unconsumed_tail, inflater.eof
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


def _is_usual(header: bytes) -> bool:
    """Whether a header is as nearly all are, and its checksum right."""
    checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    return header[156:157] in USUAL_KINDS and bool(USUAL.fullmatch(header)) and _number(header[148:156]) == checksum


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _number(field: bytes) -> int | None:
    """A number of a tar's header: octal digits, or binary where the first bit says so; None where it is neither."""
    if field[0] & 0x80:
        return -1 if field[0] == 0xFF else int.from_bytes(field[1:], "big")
    digits = b"" if field[0] == 0 else field.lstrip(b" ").rstrip(b"\0 ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else None


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:262] == b"ustar" else name
