"""Zips: a look through one by its directory, and at what its entries inflate to."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from spark_job.inputs.bombs import MAX_RATIO, ODD, BombError, Entry, most_inflated

# An entry may hold so many bytes for each of its own, which deflate cannot pass: 258 of a run in 2 bits.
DEFLATE_RATIO = 1032
MAX_DIRECTORY = 2**26  # bytes of a zip's directory, which Python and Java hold as objects: some 500,000 entries
CHUNK, INFLATED_CHUNK = 2**16, 2**20
ENCRYPTED, UTF8 = 0x1, 0x800  # of an entry's flags
OTHER_NAMES = b"up"  # the extra field of a name in Unicode, beside that in the directory


def look_through_zip(file: IO[bytes], length: int, max_bytes: int) -> Iterator[Entry]:
    """The files and links in a zip of so many bytes, by its directory; and ODD where Spark may not list some so.

    Raises BombError.
    """
    try:
        archive = zipfile.ZipFile(_InParts(file))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        if not length:
            return
        # Java may make more of it than Python does, and so it may not try.
        raise BombError(
            f"it is damaged, or is no zip ({str(error).rstrip('.') or 'cut short'})", "unreadable"
        ) from None
    entries = archive.infolist()  # folders too: Java may see a file where Python sees a folder
    if sum(entry.compress_size for entry in entries) > length:
        raise BombError("its entries overlap: they have more bytes than the archive")
    read = [entry for entry in entries if entry.file_size <= max_bytes]
    if sum(entry.file_size for entry in read) > most_inflated(length):
        raise BombError(f"it inflates to more than {MAX_RATIO} times its size")
    for entry in read:
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BombError(f"an entry of it is compressed by method {entry.compress_type}: only deflate is read")
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size > max_bytes:
            raise BombError("an entry of it is larger than its header says, and than --max-bytes allows")
        if entry.compress_type == zipfile.ZIP_DEFLATED and entry.compress_size * DEFLATE_RATIO > max_bytes:
            _check_inflated(file, entry, max_bytes)
    for entry in entries:
        if not _is_usual(entry):
            yield ODD
        if not entry.filename.endswith("/"):
            yield Entry(entry.filename, entry.file_size, stat.S_ISLNK(entry.external_attr >> 16))


def _is_usual(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry can be read, and Java gives it the name that Python does."""
    is_named = entry.orig_filename == entry.filename and "\\" not in entry.filename and OTHER_NAMES not in entry.extra
    return is_named and not entry.flag_bits & ENCRYPTED and (entry.flag_bits & UTF8 or entry.filename.isascii()) != 0


def _check_inflated(file: IO[bytes], entry: zipfile.ZipInfo, max_bytes: int) -> None:
    """Raise BombError where an entry inflates to more than max_bytes, whatever its header says."""
    file.seek(entry.header_offset + 26)  # in the header of the entry: the lengths of its name and of its extra field
    lengths = file.read(4)
    file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
    if _inflated_size(file, entry.compress_size, max_bytes) > max_bytes:
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
