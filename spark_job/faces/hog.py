"""Hog: dlib's HOG face detector in compiled code of ours: the same rectangles in the same order in half of the time.

It scans as dlib's object_detector does (object_detector.h): five detectors at all levels of a pyramid, whose windows are
sorted by score, and of two that overlap the weaker one goes. hog_weights has its weights, hog_kernels its inner loops.
"""

import functools
import math
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import dlib
import numpy as np
from numpy.typing import NDArray

from spark_job.faces.detect import Box
from spark_job.faces.hog_weights import PLANES, WINDOW, Weights, read_weights, separable

CELL, MIN_LEVEL = 8, 64  # px
BEFORE, AFTER = (WINDOW - 1) // 2, WINDOW // 2  # cells of zeros around the features
PART_PX, PART, AROUND, ORIENTATIONS = 1024, 512, 12, 18  # FIXME
NOTED = 4096
KEPT_BYTES = 32 * 2**20

Found = list[tuple[Box, float]]


class Plan(NamedTuple):
    images: NDArray[np.int64]
    float_ends: NDArray[np.int64]
    number_ends: NDArray[np.int64]


def _rounded(value: float) -> int:
    """To whole px, halves away from zero, as C's lround."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


@functools.lru_cache(maxsize=256)
def plan(rows, columns, upsample, detectors):
    sizes = [(rows, columns)]
    for _ in range(upsample):
        rows, columns = 2 * rows + 1, 2 * columns + 2
        sizes.append((rows, columns))
    left, top, right, bottom = 0, 0, columns - 1, rows - 1
    while True:
        left, top, right, bottom = (_rounded((side - 0.3) * (5 / 6)) for side in (left, top, right, bottom))
        if right - left + 1 < MIN_LEVEL or bottom - top + 1 < MIN_LEVEL:
            break
        rows, columns = 5 * rows // 6, 5 * columns // 6
        sizes.append((rows, columns))
    images = []
    for rows, columns in sizes:
        cell_rows, cell_columns = (int(np.float32(side) / np.float32(CELL) + 0.5) for side in (rows, columns))
        along = cell_columns - 2
        pitch = max(along + BEFORE + AFTER, (along + 7) // 8 * 8 + BEFORE)
        images.append((rows, columns, cell_rows, cell_columns, cell_rows - 2 + BEFORE + AFTER, pitch))
    rows, columns, cell_rows, cell_columns, height, pitch = images[upsample]
    widest = max(columns for _, columns in sizes)
    blocks = 8 * CELL * (cell_columns + 2)
    floats = (
        2 * 4 * ORIENTATIONS, 12 * PART, blocks, (cell_rows + 2) * ORIENTATIONS * (cell_columns + AROUND),
        cell_rows * (cell_columns + AROUND), PLANES * height * pitch, 2 * height * pitch, detectors * height * pitch, 12 * PART_PX + widest,
    )
    second = max([a * b for i, (a, b) in enumerate(sizes) if (i - upsample) % 2], default=0)
    numbers = blocks, 2 * PART_PX + widest, rows * columns, second
    return Plan(np.array(images), np.cumsum((0, *floats)), np.cumsum((0, *numbers)))


def orientations():
    """For each gradient (y, x) + 256 the orientation, as dlib picks it: the first of those it is nearest to."""
    directions = np.array([[1, 0], [0.9397, 0.3420], [0.7660, 0.6428], [0.5, 0.8660], [0.1736, 0.9848], [-0.1736, 0.9848], [-0.5, 0.8660], [-0.7660, 0.6428], [-0.9397, 0.3420]], np.float32)
    y, x = np.indices((512, 512)).astype(np.float32) - np.float32(256)
    best, chosen = np.zeros_like(x), np.zeros(x.shape, np.uint8)
    for o, (along, up) in enumerate(directions):
        dot = x * along + y * up
        for sign, number in ((1, o), (-1, o + 9)):
            better = sign * dot > best
            best[better] = sign * dot[better]
            chosen[better] = number
    return chosen


def vote_weights():
    """float32 (8, 8, 4): how much of a px of a block goes to the cells upper left, upper right, lower left, lower right."""
    far = (np.arange(8) + 0.5) / 8
    return np.stack([np.outer(1 - far, 1 - far), np.outer(1 - far, far), np.outer(far, 1 - far), np.outer(far, far)], -1).astype(np.float32)


class Detector:
    def __init__(self, function, dlibs):
        self.function = function
        self.weights = read_weights(dlibs)
        f = separable(self.weights.weights)
        self.filters = np.ascontiguousarray(np.stack([f.planes, f.detectors], 1))
        self.taps = np.concatenate([f.rows, f.columns], 1)
        self.orientations = orientations()
        self.votes = vote_weights()
        self.room = threading.local()

    def __call__(self, image, upsample):
        image = np.ascontiguousarray(image)
        p = plan(*image.shape[:2], upsample, len(self.weights.thresholds))
        floats = np.empty(p.float_ends[-1], np.float32); numbers = np.empty(p.number_ends[-1], np.uint32)
        n = NOTED
        while True:
            found = np.empty((n, 4), np.int32); above = np.empty(n)
            args = [image, p.images, len(p.images), upsample, floats, p.float_ends, numbers, p.number_ends, self.orientations, self.votes, self.filters, self.taps, len(self.filters), self.weights.thresholds, len(self.weights.thresholds), found, above, n]
            c = self.function(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in args])
            if c <= n: break
            n = c
        return self.strongest(found[:c].tolist(), above[:c].tolist(), upsample)

    def strongest(self, found, above, upsample):
        kept = []
        for score, (detector, level, row, column) in sorted(zip(above, found), key=lambda x: -x[0]):
            box = _box(level, row, column)
            if not any(_overlaps(box, other, *self.weights.overlap) for other, _ in kept):
                kept.append((box, score))
        return [(_downsampled(box, upsample), score) for box, score in kept]


def _box(level, row, column):
    sides = [8 * (side) + 1 for side in (row - 3, column + 6, row + 6, column - 3)]
    sides = [side + 4 if side >= 0 else side - 4 for side in sides]
    for _ in range(level):
        sides = [side * 1.2 + 0.3 for side in sides]
    return Box(*map(_rounded, sides))

def _downsampled(box, times):
    if not times:
        return box
    top, right, bottom, left = box
    for _ in range(times):
        top, bottom = top / 2 - 0.75, bottom / 2 - 0.75
        right, left = right / 2 - 1.25, left / 2 - 1.25
    return Box(*map(_rounded, (top, right, bottom, left)))

def _area(top, right, bottom, left):
    return (right - left + 1) * (bottom - top + 1) if right >= left and bottom >= top else 0

def _overlaps(a, b, union, covered):
    both = _area(max(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3]))
    if not both:
        return False
    around = _area(min(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3]))
    return both / around > union or both / _area(*a) > covered or both / _area(*b) > covered
