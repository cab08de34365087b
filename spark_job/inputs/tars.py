"""Tars: a look through one by its headers, plain or inflated, as Spark's reader takes them."""

import math
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from spark_job.inputs.bombs import MAX_RATIO, BombError, Look, leads_out

MAX_HEADER = 2**20  # bytes of a tar's long name or extended header; names have 4 KiB at most
CHUNK, INFLATED_CHUNK = 2**16, 2**20
BLOCK = 512
SPARSE = (b"GNU.sparse.", b"SCHILY.realsize")
LINKS = b"12346"  # hard and symbolic links, devices, pipes


def look_through_tar(read: Callable[[int], bytes], skip: Callable[[int], object]) -> Look:
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
        outside += leads_out(text)
        if kind and kind in LINKS:
            links.append(text)
        skip(math.ceil(size / BLOCK) * BLOCK)
    return Look(outside, links, [])


class Inflated:
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
