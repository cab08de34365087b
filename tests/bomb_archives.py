"""Archives that are bombs, made by tests."""

import copy
import gzip
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

MIB = 2**20


def sparse_tar(path: Path) -> Path:
    """10 KiB that hold a file of 3 GB."""
    size = str(3 * 10**9)
    sparse = {"major": "0", "minor": "1", "name": "a.jpg", "size": size, "numblocks": "1", "map": f"{size},0"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("a.jpg")
        entry.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
        archive.addfile(entry)
    return path


def old_sparse_tar(path: Path) -> Path:
    entry = tarfile.TarInfo("a.jpg")
    entry.type = tarfile.GNUTYPE_SPARSE
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    return path


def long_header_tar(path: Path, kind: bytes = tarfile.GNUTYPE_LONGNAME) -> Path:
    """A name of 2 GB."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = kind, 2**31
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    return path


def zeros_tgz(path: Path, times: int) -> Path:
    """A file of zeros in a tar.gz, of 64 MiB for each time: 64 KiB each."""
    entry = tarfile.TarInfo("zeros.jpg")
    entry.size = times * 64 * MIB
    path.write_bytes(gzip.compress(entry.tobuf()) + gzip.compress(bytes(64 * MIB)) * times)
    return path


def lying_zip(path: Path, times: int) -> Path:
    """A zip of an entry that says 1000 bytes, and holds 64 MiB of zeros for each time."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = deflater.compress(bytes(64 * MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    content = zeros * times + zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS).flush()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.jpg", b"no lie")
        archive.writestr("lying.jpg", content)  # stored, and then said to be deflated
        entry = archive.getinfo("lying.jpg")
        entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, 1000
    whole = bytearray(path.read_bytes())
    struct.pack_into("<H", whole, entry.header_offset + 8, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", whole, entry.header_offset + 22, 1000)
    path.write_bytes(whole)
    return path


def overlapping_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.jpg", b"x" * MIB)
        for i in range(1, 4):
            entry = copy.copy(archive.filelist[0])
            entry.filename = f"{i}.jpg"
            archive.filelist.append(entry)
    return path
