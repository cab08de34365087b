"""Hog: dlib's HOG face detector in compiled code of ours: the same rectangles in the same order, in half the time.

It is dlib's object_detector<scan_fhog_pyramid<pyramid_down<6>>> (object_detector.h): five detectors look at all levels
of a pyramid, what they find is sorted by score, and of two that overlap the weaker goes. hog_weights has their weights,
hog_plan the levels, hog_kernels all that is done with pixels, hog_code what is compiled of it.
"""

import math
from collections.abc import Callable
from functools import cache

import dlib
import numpy as np
from numpy.typing import NDArray

from spark_job.faces import hog_code, reference
from spark_job.faces.detect import Box, Finder, downsampled, rounded
from spark_job.faces.hog_plan import AFTER, BEFORE, CELL, plan
from spark_job.faces.hog_weights import Weights, read_weights, separable

NOTED = 4096  # windows; where there are more, the photo is looked at once more

Scan = Callable[[NDArray[np.uint8], int], list[tuple[float, list[int]]]]


@cache
def compiled_hog() -> Finder:
    """(image uint8 (rows, columns, 3) RGB, upsample) -> faces and their scores, the surest first, as dlib finds them.

    Scores differ from dlib's by up to some 3e-6, as sums are made in another order. It keeps nothing from call to call:
    threads may share it. Raises ModelError where there is no code for this processor, dlib's detector has another form,
    or what is found is not what dlib finds.
    """
    weights = read_weights(dlib.get_frontal_face_detector())
    scan = _scanner(weights)

    def find(image: NDArray[np.uint8], upsample: int) -> list[tuple[Box, float]]:
        kept: list[tuple[Box, float]] = []
        for negative, (_, level, row, column) in sorted(scan(image, upsample)):
            box = _box(level, row, column)
            if not any(_overlap(box, other, *weights.overlap) for other, _ in kept):
                kept.append((box, -negative))
        return [(downsampled(box, upsample), score) for box, score in kept]

    reference.check_hog(find, weights.digest)
    return find


def _scanner(weights: Weights) -> Scan:
    """(image, upsample) -> of each window of a face its negative score, and its detector, level, row and column."""
    detect, filters = hog_code.load(), separable(weights.weights)
    constants = (_orientations(), _shares(), filters.places, filters.taps, len(filters.taps))
    thresholds = (weights.thresholds, len(weights.thresholds))

    def scan(image: NDArray[np.uint8], upsample: int) -> list[tuple[float, list[int]]]:
        image = np.ascontiguousarray(image)
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
            raise ValueError(f"no RGB image: {image.dtype} of shape {image.shape}")
        images, float_ends, number_ends = plan(*image.shape[:2], upsample, len(weights.thresholds))
        floats, numbers = np.empty(float_ends[-1], np.float32), np.empty(number_ends[-1], np.uint32)
        arguments = (
            image,
            images,
            len(images),
            upsample,
            floats,
            float_ends,
            numbers,
            number_ends,
            *constants,
            *thresholds,
        )
        count, room = NOTED, 0
        while count > room:
            room = count
            windows, scores = np.empty((room, 4), np.int32), np.empty(room)
            count = detect(*arguments, windows, scores, room)
        return list(zip((-scores[:count]).tolist(), windows[:count].tolist(), strict=True))

    return scan


def _orientations() -> NDArray[np.uint8]:
    """(512, 512): which of 18 orientations a gradient of y - 256 and x - 256 has, by row and column.

    dlib takes the first that has the largest product with it, in float32, of nine and, after each, its opposite.
    """
    nine = [(1, 0), (0.9397, 0.3420), (0.7660, 0.6428), (0.5, 0.8660), (0.1736, 0.9848)]
    nine += [(-x, y) for x, y in nine[:0:-1]]
    gradients = np.arange(-256, 256, dtype=np.float32)
    largest, chosen = np.zeros((512, 512), np.float32), np.zeros((512, 512), np.uint8)
    for number, (x, y) in enumerate(np.array(nine, dtype=np.float32)):
        product = gradients * x + gradients[:, None] * y
        chosen[np.abs(product) > largest] = number
        chosen[-product > largest] = number + len(nine)
        np.maximum(largest, np.abs(product), out=largest)
    return chosen


def _shares() -> NDArray[np.float32]:
    """(8, 8, 4): the shares in a px's gradient of the cells upper left, upper right, lower left and lower right."""
    far = (np.arange(CELL) + 0.5) / CELL
    shares = [np.outer(down, along) for down in (1 - far, far) for along in (1 - far, far)]
    return np.stack(shares, axis=-1).astype(np.float32)


def _box(level: int, row: int, column: int) -> Box:
    """The box of a window, px of the largest level, as fhog_to_image and point_up lay it."""
    cells = (row - BEFORE + 1, column + AFTER + 1, row + AFTER + 1, column - BEFORE + 1)
    sides = [CELL * cell + 1 + math.copysign(CELL // 2, CELL * cell + 1) for cell in cells]
    for _ in range(level):
        sides = [side * 1.2 + 0.3 for side in sides]
    return rounded(*sides)


def _overlap(a: Box, b: Box, union: float, covered: float) -> bool:
    """Whether dlib's test_box_overlap takes two boxes for one face."""
    both = _area(max(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3]))
    around = _area(min(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3]))
    return both > 0 and (both / around > union or both / _area(*a) > covered or both / _area(*b) > covered)


def _area(top: int, right: int, bottom: int, left: int) -> int:
    return max(bottom - top + 1, 0) * max(right - left + 1, 0)
