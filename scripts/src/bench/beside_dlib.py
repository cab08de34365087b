"""Beside dlib: what the compiled HOG detector finds, and in what time, beside dlib's own. See scripts/hog."""

import argparse
import io
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import dlib
import numpy as np
from bench import machine
from numpy.typing import NDArray
from PIL import Image
from ways import CORES, ROOT, processes_of, small_photos

from spark_job.errors import PhotoError
from spark_job.faces.decode import decode
from spark_job.faces.detect import Box, Finder, dlib_hog
from spark_job.faces.hog import compiled_hog

A_TASK = 40  # photos
OTHER = 500  # photos of other sizes
TIMED = {"250x250": ((250, 250), 60), "1024x768": ((1024, 768), 12)}
ROUNDS = 3
Found = list[tuple[Box, float]]


class Difference(NamedTuple):
    """Of one photo: what differs between what dlib finds and what the compiled detector does.

    faces: how many dlib finds; flipped: those that only one of them finds; is_moved: whether the same come in another
    order; is_tie: in which only faces of one score to dlib changed places; is_other_status: of none, one and several;
    score: the largest difference.
    """

    faces: int
    flipped: list[tuple[str, Box, float]]
    is_moved: bool
    is_tie: bool
    is_other_status: bool
    score: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, metavar="TGZ", help="an archive of photos; without it, the sample's")
    parser.add_argument("--count", type=int, default=13_233, help="how many of them")
    chosen = parser.parse_args()
    print(machine(), flush=True)
    photos = list(small_photos(chosen.photos, chosen.count if chosen.photos else min(chosen.count, 500)))
    sample = [path.read_bytes() for path in sorted((ROOT / "sample").rglob("*")) if path.is_file()]
    sets = {"photos": photos, "sample": sample, "other sizes": list(other_sizes(photos))}
    print("| set | upsample | photos | faces | faces that flip | another order | of ties | other status | scores |")
    print("| --- " * 9 + "|")
    different = sum(compared(name, some, upsample) for name, some in sets.items() for upsample in (0, 1))
    print("| size | upsample | dlib, ms | compiled, ms | times as fast |\n| --- | --- | --- | --- | --- |")
    for name, (size, count) in TIMED.items():
        images = [np.array(opened(photo).resize(size)) for photo in photos[:: len(photos) // count]]
        for upsample in (0, 1):
            timed(name, images, upsample)
    return 1 if different else 0


# ---- what is found ----


def compared(name: str, photos: list[bytes], upsample: int) -> int:
    """Print a row of the table, and each photo that differs; returns how many do so by more than the order of ties."""
    tasks = [photos[start : start + A_TASK] for start in range(0, len(photos), A_TASK)]
    with processes_of(CORES) as executor:
        found = list(itertools.chain(*executor.map(differences, tasks, itertools.repeat(upsample))))
    seen = {number: difference for number, difference in enumerate(found) if difference}
    faces, flipped = sum(d.faces for d in seen.values()), sum(len(d.flipped) for d in seen.values())
    moved, ties = sum(d.is_moved for d in seen.values()), sum(d.is_tie for d in seen.values())
    statuses, score = sum(d.is_other_status for d in seen.values()), max(d.score for d in seen.values())
    counts = f"{len(seen):,} | {faces:,} | {flipped} | {moved} | {ties} | {statuses}"
    print(f"| {name} | {upsample} | {counts} | {score:.1e} |", flush=True)
    for number, difference in seen.items():
        if difference.flipped or difference.is_moved:
            print(f"  {name} {number}: {difference.flipped or 'another order'}", flush=True)
    return sum(bool(d.flipped) or d.is_moved != d.is_tie for d in seen.values())


def differences(photos: list[bytes], upsample: int) -> list[Difference | None]:
    """Of each photo, None where it cannot be read."""
    return [difference(image, upsample) if (image := pixels(photo)) is not None else None for photo in photos]


def pixels(photo: bytes) -> NDArray[np.uint8] | None:
    try:
        return decode(photo, 10**9).pixels
    except PhotoError:
        return None


def difference(image: NDArray[np.uint8], upsample: int) -> Difference:
    dlibs, ours = finders()
    theirs, found = dict(dlibs(image, upsample)), dict(ours(image, upsample))
    flipped = [("dlib's", *face) for face in theirs.items() if face[0] not in found]
    flipped += [("compiled", *face) for face in found.items() if face[0] not in theirs]
    is_moved = not flipped and list(theirs) != list(found)
    is_tie = is_moved and [theirs[box] for box in found] == list(theirs.values())
    is_other_status = min(len(theirs), 2) != min(len(found), 2)
    score = max((abs(theirs[box] - found[box]) for box in theirs if box in found), default=0.0)
    return Difference(len(theirs), flipped, is_moved, is_tie, is_other_status, score)


@cache
def finders() -> tuple[Finder, Finder]:
    return dlib_hog(dlib.get_frontal_face_detector()), compiled_hog()


# ---- time ----


def timed(name: str, images: list[NDArray[np.uint8]], upsample: int) -> None:
    """Print the median of both detectors, taken in turn."""
    seconds: list[list[float]] = [[], []]
    for _, image in itertools.product(range(ROUNDS), images):
        for taken, find in zip(seconds, finders(), strict=True):
            started = time.process_time()
            find(image, upsample)
            taken.append(time.process_time() - started)
    dlibs, ours = (1e3 * statistics.median(taken) for taken in seconds)
    print(f"| {name} | {upsample} | {dlibs:.1f} | {ours:.1f} | {dlibs / ours:.2f} |", flush=True)


# ---- photos ----


def other_sizes(photos: list[bytes]) -> Iterator[bytes]:
    """Two in five are parts of a photo, two are laid of several, and one of many, of 1 to 12 megapixels."""
    generator = np.random.default_rng(0)
    for number in range(OTHER):
        if number % 5 < 2:
            photo = _any(photos, generator)
            width, height = (int(generator.integers(60, side + 1)) for side in photo.size)
            left, top = (int(generator.integers(0, 250 - side + 1)) for side in (width, height))
            yield _png(photo.crop((left, top, left + width, top + height)))
        else:
            scale = generator.uniform(0.6, 1.4) if number % 5 < 4 else generator.uniform(0.6, 4)
            tile = round(250 * scale)
            megapixels = generator.uniform(0.2, 1) if number % 5 < 4 else generator.uniform(1, 12)
            width = round((megapixels * 1e6 * generator.uniform(0.5, 2)) ** 0.5)
            yield _png(_tiled(photos, generator, tile, width, round(megapixels * 1e6 / width)))


def _tiled(photos: list[bytes], generator: np.random.Generator, tile: int, width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for left, top in itertools.product(range(0, width, tile), range(0, height, tile)):
        image.paste(_any(photos, generator).resize((tile, tile)), (left, top))
    return image


def _any(photos: list[bytes], generator: np.random.Generator) -> Image.Image:
    return opened(photos[generator.integers(len(photos))])


def opened(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).convert("RGB")


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
