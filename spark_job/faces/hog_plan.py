"""hog_plan: the images in which a photo is looked at for faces, and the room that the kernels work in."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.faces.detect import Box, rounded

CELL, MIN_LEVEL = 8, 64  # px; of a level's shorter side
ORIENTATIONS, PLANES = 18, 31  # of features: 18 signed and 9 unsigned orientations, 4 of texture
WINDOW = 10  # cells
BEFORE, AFTER = 4, 5  # cells of zeros around the features: half a window reaches out
PART_PX, PART = 1024, 512  # px and cells of a row that are done at once
BLENDED = 6 * PART_PX  # float32: red, green and blue of left neighbours, then of right ones
AROUND = 12  # cells that a row of them has more than the image
VOTES = 4 * ORIENTATIONS  # of a block of px for the four cells around it
NORMS = 12 * PART


class Plan(NamedTuple):
    """images: of each its rows, columns, rows and columns of cells, rows and columns of a plane of features; first the
    photo's doublings, then the levels. float_ends, number_ends: where the parts of the kernels' room begin and end.
    """

    images: NDArray[np.intp]
    float_ends: NDArray[np.intp]
    number_ends: NDArray[np.intp]


@functools.lru_cache(maxsize=256)
def plan(rows: int, columns: int, upsample: int, detectors: int) -> Plan:
    """What to do with a photo of this size, which is doubled upsample times first."""
    sizes = [*_doublings(rows, columns, upsample)]
    sizes += _smaller(*sizes[-1])
    images = np.array([_image(*size) for size in sizes], dtype=np.intp)
    rows, columns, cell_rows, cell_columns, height, pitch = images[upsample].tolist()
    widest = max(columns for _, columns in sizes)
    along, plane, blocks = cell_columns + AROUND, height * pitch, 8 * CELL * (cell_columns + 2)
    floats = [2 * VOTES, NORMS, blocks, (cell_rows + 2) * ORIENTATIONS * along, cell_rows * along, PLANES * plane]
    floats += [2 * plane, detectors * plane, 2 * BLENDED + widest]
    others = [math.prod(size) for index, size in enumerate(sizes) if (index - upsample) % 2]
    numbers = [blocks, 2 * PART_PX + widest, rows * columns, max(others, default=0)]
    return Plan(images, *(np.cumsum((0, *parts), dtype=np.intp) for parts in (floats, numbers)))


def _doublings(rows: int, columns: int, times: int) -> list[tuple[int, int]]:
    """The sizes of a photo and of what pyramid_up<pyramid_down<2>> makes of it."""
    sizes = [(rows, columns)]
    for _ in range(times):
        sizes.append((2 * sizes[-1][0] + 1, 2 * sizes[-1][1] + 2))
    return sizes


def _smaller(rows: int, columns: int) -> list[tuple[int, int]]:
    """The sizes of an image's smaller levels, each 5/6 of the one before.

    There are as many as create_fhog_pyramid makes (scan_fhog_pyramid.h), which counts by a rectangle's rounded corners.
    """
    sizes = []
    box = Box(0, columns - 1, rows - 1, 0)
    while min((box := rounded(*((side - 0.3) * (5 / 6) for side in box))).sides) + 1 >= MIN_LEVEL:
        rows, columns = 5 * rows // 6, 5 * columns // 6
        sizes.append((rows, columns))
    return sizes


def _image(rows: int, columns: int) -> tuple[int, ...]:
    """A row of Plan.images."""
    cell_rows, cell_columns = (int(np.float32(side) / np.float32(CELL) + 0.5) for side in (rows, columns))
    described = cell_columns - 2
    pitch = max(BEFORE + described + AFTER, BEFORE + -(-described // 8) * 8)  # vectors of 8 may write on
    return rows, columns, cell_rows, cell_columns, BEFORE + cell_rows - 2 + AFTER, pitch
