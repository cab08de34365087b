"""Synthetic: collections of any number of photos that cost next to nothing to make, and to encode by unseen.py."""

import gzip
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ARCHIVES, A_TABLE_FILE = 100, 100_000
NEIGHBOURS = ((".json", b'{"caption": "a face, as a data set tells of it"}'), (".cls", b"7"))
NOISE = np.random.default_rng(1).integers(0, 256, 2**22, np.uint8).tobytes()
LIST = "photos.txt"
MODIFIED_US = 1_700_000_000_000_000
COLUMNS = pa.schema(
    {"path": pa.string(), "length": pa.int64(), "modificationTime": pa.timestamp("us", "UTC"), "content": pa.binary()}
)


def photos(rows: int, size: int, groups: int) -> Iterator[tuple[str, bytes]]:
    """Name (a group's folder, a number) and content of each, no two alike; size: bytes of each, at least 136."""
    for i in range(rows):
        start = i * 4099 % (len(NOISE) - size)
        yield f"{i * groups // rows:06}/{i:08}", i.to_bytes(8) + NOISE[start : start + size - 8]


def write(shape: str, folder: Path, rows: int, size: int, groups: int) -> Path:
    """Write a collection of a shape (of WRITERS) into a new folder; gives the input of a run: it, or a list in it."""
    folder.mkdir()
    WRITERS[shape](folder, photos(rows, size, groups), rows)
    return folder / LIST if shape == "list" else folder


def _tables(folder: Path, photos: Iterator[tuple[str, bytes]], rows: int) -> None:
    for start in range(0, rows, A_TABLE_FILE):
        some = [next(photos) for _ in range(min(A_TABLE_FILE, rows - start))]
        columns = zip(*((f"{name}.jpg", len(photo), MODIFIED_US, photo) for name, photo in some), strict=True)
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, COLUMNS, strict=True)], COLUMNS)
        pq.write_table(table, folder / f"{start:09}.parquet", row_group_size=2000, compression="NONE")


def _tars(
    folder: Path,
    photos: Iterator[tuple[str, bytes]],
    rows: int,
    suffix: str = ".tar",
    create: Callable[..., IO[bytes]] = open,
) -> None:
    """Webdataset's shape: each photo has neighbours of its name."""
    for number, count in enumerate(_shares(rows)):
        with create(folder / f"{number:03}{suffix}", "wb") as file:
            for _ in range(count):
                name, photo = next(photos)
                for kind, content in ((".jpg", photo), *NEIGHBOURS):
                    file.write(_header(name + kind, len(content)) + content + bytes(-len(content) % 512))
            file.write(bytes(1024))


def _zips(folder: Path, photos: Iterator[tuple[str, bytes]], rows: int) -> None:
    for number, count in enumerate(_shares(rows)):
        with zipfile.ZipFile(folder / f"{number:03}.zip", "w") as archive:
            for _ in range(count):
                name, photo = next(photos)
                archive.writestr(f"{name}.jpg", photo)


def _files(folder: Path, photos: Iterator[tuple[str, bytes]], rows: int) -> None:
    for name, photo in photos:
        path = folder / f"{name}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo)


def _list(folder: Path, photos: Iterator[tuple[str, bytes]], rows: int) -> None:
    _files(folder, photos, rows)
    (folder / LIST).write_text("".join(f"{path.relative_to(folder)}\n" for path in sorted(folder.glob("*/*.jpg"))))


def _shares(rows: int) -> list[int]:
    """How many of the rows each archive holds."""
    archives = min(ARCHIVES, rows)
    return [rows * (i + 1) // archives - rows * i // archives for i in range(archives)]


def _header(name: str, size: int) -> bytes:
    """What tarfile makes, in a fifth of its time."""
    header = bytearray(PLAIN)
    header[: len(name)] = name.encode()
    header[124:135] = b"%011o" % size
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header)


PLAIN = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
WRITERS = {
    "parquet": _tables,
    "tar": _tars,
    "tgz": partial(_tars, suffix=".tgz", create=partial(gzip.open, compresslevel=1)),
    "zip": _zips,
    "files": _files,
    "list": _list,
}
