"""Pictures: faces cut from the photos themselves, read anew: small ones to show, and mean faces of many."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
from numpy.typing import NDArray

from spark_job.errors import PhotoError
from spark_job.faces.align import chip
from spark_job.faces.decode import decode
from spark_job.inputs.again import Key, archive_of, read_again
from spark_job.inputs.archives import leniently
from spark_job.settings import Settings
from spark_job.spark.session import open_session, step

CHIP_PX = 192  # twice what a face is shown at, for screens of two pixels a px
PADDING = 0.45  # of the face's own size on each side: hair and chin are in it
QUALITY = 80
MAX_ARCHIVES = 32  # an archive is read through for any of its photos
WHOLE = -1  # in place of a face's number: the photo as it is
CUT = "path string, face int, height int, width int, pixels binary"
# sRGB's own curve: light, of 65,535, of each of the 256 values. Integers, so that a mean of faces is the same in any
# order.
_VALUES = np.arange(256) / 255
LIGHT = np.rint(
    65_535 * np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4)
).astype(np.int64)  # fmt: skip


class Face(NamedTuple):
    """A face of a photo, by its number in the photo's row, or WHOLE."""

    path: str
    face: int


class Cut(NamedTuple):
    """What to cut from a photo: px (width, height) of the whole, the side of the face's box, its landmarks."""

    face: int
    size: tuple[int, int]
    side: int
    landmarks: list[tuple[int, int]]


class Mean(NamedTuple):
    """The picture of a mean of so many faces, as a data: URI."""

    picture: str
    faces: int


@dataclass(frozen=True)
class Pictures:
    """Pictures as data: URIs; means by what they are of; and of how many photos: read, gone or changed since, not
    looked for since they lie in more archives than are opened."""

    faces: Mapping[Face, str] = field(default_factory=dict)
    means: Mapping[Any, Mean] = field(default_factory=dict)
    read: int = 0
    gone: int = 0
    unopened: int = 0


def pictures(
    photos: Mapping[Key, Sequence[Cut]],
    shown: Iterable[Face],
    means: Mapping[Any, Sequence[Face]],
    settings: Settings,
) -> Pictures:
    """Cut from photos the faces that are shown, and average those of each of means, in linear light."""
    opened = _within_archives(photos)
    sums = {name: np.zeros((CHIP_PX, CHIP_PX, 3), np.int64) for name in means}
    counts = dict.fromkeys(means, 0)
    part_of: dict[Face, list[Any]] = {}
    for name, members in means.items():
        for member in members:
            part_of.setdefault(member, []).append(name)
    faces, wanted, read = {}, set(shown), set()
    for face, pixels in _cut(opened, settings):
        read.add(face.path)
        if pixels is None:
            continue
        if face in wanted:
            faces[face] = _data_uri(pixels)
        for name in part_of.get(face, ()):
            sums[name] += LIGHT[pixels]
            counts[name] += 1
    averages = {name: Mean(_data_uri(_mean(sums[name], count)), count) for name, count in counts.items() if count}
    return Pictures(faces, averages, len(read), len(opened) - len(read), len(photos) - len(opened))


def _within_archives(photos: Mapping[Key, Sequence[Cut]]) -> dict[Key, Sequence[Cut]]:
    """The photos that lie in no archive, or in the first of those that hold them."""
    archives: dict[str | None, None] = dict.fromkeys(archive_of(photo.path) for photo in photos)
    archives.pop(None, None)
    opened = {None, *list(archives)[:MAX_ARCHIVES]}
    return {photo: cuts for photo, cuts in photos.items() if archive_of(photo.path) in opened}


def _cut(photos: Mapping[Key, Sequence[Cut]], settings: Settings) -> Iterator[tuple[Face, NDArray[np.uint8] | None]]:
    """Each face, uint8 (CHIP_PX, CHIP_PX, 3), or photo, no larger, of the photos that are still there.

    None where a photo cannot be decoded. Spark's workers read and cut them.
    """
    if not photos:
        return
    cuts = {photo.path: list(wanted) for photo, wanted in photos.items()}
    with open_session(settings) as spark, leniently(spark), step(spark, "cut faces from the photos for the report"):
        contents = read_again(spark, list(photos), settings).select("path", "content")
        for row in contents.mapInPandas(_cutter(cuts, settings.max_pixels), CUT).toLocalIterator(
            prefetchPartitions=True
        ):
            pixels = row.pixels and np.frombuffer(row.pixels, np.uint8).reshape(row.height, row.width, 3)
            yield Face(row.path, row.face), pixels


def _cutter(
    cuts: Mapping[str, Sequence[Cut]], max_pixels: int
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """What a worker does with photos (path, content): rows of CUT, without pixels where it cannot be decoded."""

    def cut_photos(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            rows = []
            for path, content in zip(batch["path"], batch["content"], strict=True):
                for wanted in cuts[path]:
                    try:
                        pixels = _pixels(content, wanted, max_pixels)
                        rows.append((path, wanted.face, *pixels.shape[:2], pixels.tobytes()))
                    except PhotoError:
                        rows.append((path, wanted.face, 0, 0, None))
            yield pd.DataFrame(rows, columns=["path", "face", "height", "width", "pixels"])

    return cut_photos


def _pixels(content: bytes, wanted: Cut, max_pixels: int) -> NDArray[np.uint8]:
    """A face upright in its square, or the whole photo; decoded no larger than that needs. Raises PhotoError."""
    if wanted.face == WHOLE:
        photo = PIL.Image.fromarray(decode(content, max_pixels, CHIP_PX, partly=True).pixels)
        photo.thumbnail((CHIP_PX, CHIP_PX))
        return np.asarray(photo)
    image = decode(content, max_pixels, max(wanted.size) * CHIP_PX // max(wanted.side, 1) + 1)
    return chip(image.pixels, np.array(wanted.landmarks) / image.scale, CHIP_PX, PADDING)


def _mean(light: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Sums of light -> the pixels of their mean."""
    mean = light / (65_535 * count)
    curve = np.where(mean <= 0.0031308, mean * 12.92, 1.055 * mean ** (1 / 2.4) - 0.055)
    pixels: NDArray[np.uint8] = np.rint(255 * curve).astype(np.uint8)
    return pixels


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
