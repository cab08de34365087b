"""hog_resize: an image -> one of another size, as dlib makes the levels of its pyramid; compiled by numba.

It is dlib's resize_image of RGB by interpolate_bilinear (interpolation.h), to the bit: four columns at a time in
float32, whose positions are stepped, and the last, which have no four right neighbours, in float64; either drops the
fraction of a value. Pixels are of 32 bits, red in the lowest. LLVM makes vectors of a loop over a row where it can tell
its arrays apart: those that it could not lie in one, at fixed distances, which is why wide rows are done in parts.
"""

import math

import numpy as np
from numba import njit

from spark_job.faces.hog_plan import BLENDED, PART_PX

f32, i32, i64, u32, u64 = np.float32, np.int32, np.int64, np.uint32, np.uint64

exact = njit(nogil=True, boundscheck=False, error_model="numpy")


@exact
def _positions(columns, wanted, left, fraction):
    """Left neighbour and distance from it of each new column; returns the first of those that are done in float64."""
    scale = (columns - 1) / max(wanted - 1, 1)
    step, x = f32(4 * scale), -4 * scale  # before the first four
    x0, x1, x2, x3 = f32(x), f32(x + scale), f32(x + 2 * scale), f32(x + 3 * scale)
    for column in range(0, wanted, 4):
        x0, x1, x2, x3 = x0 + step, x1 + step, x2 + step, x3 + step
        if i32(x3) + 1 >= columns or column + 4 > wanted:
            return column
        left[column], left[column + 1], left[column + 2], left[column + 3] = i32(x0), i32(x1), i32(x2), i32(x3)
        fraction[column], fraction[column + 1] = x0 - f32(i32(x0)), x1 - f32(i32(x1))
        fraction[column + 2], fraction[column + 3] = x2 - f32(i32(x2)), x3 - f32(i32(x3))
    return wanted


@exact
def _gather(row, left, count, gathered, channels):
    """The channels of each new column's left neighbour, as float32, and those of its right one."""
    right = row[1:]
    for i in range(count):
        at = u64(left[i])
        gathered[i] = i32(row[at])
        gathered[i + PART_PX] = i32(right[at])
    for side in range(2):
        pixels, values = gathered[side * PART_PX :], channels[side * 3 * PART_PX :]
        for i in range(count):
            pixel = pixels[i]
            values[i] = f32(i32(pixel & 255))
            values[i + PART_PX] = f32(i32((pixel >> 8) & 255))
            values[i + 2 * PART_PX] = f32(i32((pixel >> 16) & 255))


@exact
def _blend(above, below, fraction, up, down, count, out):
    """The new pixels between two gathered rows; up and down: the weights of the upper and of the lower."""
    green, blue, right = PART_PX, 2 * PART_PX, 3 * PART_PX
    for i in range(count):
        along = fraction[i]
        a, b, c, d = up * (f32(1) - along), up * along, down * (f32(1) - along), down * along
        r = ((a * above[i] + b * above[i + right]) + c * below[i]) + d * below[i + right]
        j = i + green
        g = ((a * above[j] + b * above[j + right]) + c * below[j]) + d * below[j + right]
        j = i + blue
        b = ((a * above[j] + b * above[j + right]) + c * below[j]) + d * below[j + right]
        out[i] = u32(i32(r) | (i32(g) << 8) | (i32(b) << 16))


@exact
def _channel(pixel, shift):
    return i32((pixel >> u32(shift)) & u32(255))


@exact
def _last_columns(above, below, columns, first, wanted, down, out):
    """The columns that dlib does one by one."""
    scale = (columns - 1) / max(wanted - 1, 1)
    x = -scale + first * scale
    for column in range(first, wanted):
        x += scale
        left = i64(math.floor(x))
        right, along = min(left + 1, columns - 1), x - left
        pixel = u32(0)
        for shift in (0, 8, 16):
            top = (1 - along) * _channel(above[left], shift) + along * _channel(above[right], shift)
            bottom = (1 - along) * _channel(below[left], shift) + along * _channel(below[right], shift)
            pixel |= u32(i32((1 - down) * top + down * bottom)) << u32(shift)
        out[column] = pixel


@exact
def resize(pixels, rows, columns, resized, wanted_rows, wanted_columns, values, numbers):
    """pixels (rows * columns) -> resized, in place (wanted_rows * wanted_columns).

    values: room for 2 * BLENDED + wanted_columns float32; numbers: for 2 * PART_PX + wanted_columns int32.
    """
    fraction, left = values[2 * BLENDED :], numbers[2 * PART_PX :]
    last = _positions(columns, wanted_columns, left, fraction)
    scale = (rows - 1) / max(wanted_rows - 1, 1)
    for start in range(0, max(last, 1), PART_PX):
        count = min(last - start, PART_PX)
        upper, lower, in_upper, in_lower = values[:BLENDED], values[BLENDED : 2 * BLENDED], -1, -1
        y = -scale
        for row in range(wanted_rows):
            y += scale
            top = i64(math.floor(y))
            bottom = min(top + 1, rows - 1)
            above, below = (
                pixels[top * columns : (top + 1) * columns],
                pixels[bottom * columns : (bottom + 1) * columns],
            )
            if in_lower == top and in_upper != top:
                upper, lower, in_upper, in_lower = lower, upper, in_lower, -1
            if in_upper != top:
                _gather(above, left[start:], count, numbers, upper)
                in_upper = top
            if in_lower != bottom:
                _gather(below, left[start:], count, numbers, lower)
                in_lower = bottom
            new = resized[row * wanted_columns : (row + 1) * wanted_columns]
            _blend(upper, lower, fraction[start:], f32(1 - (y - top)), f32(y - top), count, new[start:])
            if start == 0:
                _last_columns(above, below, columns, last, wanted_columns, y - top, new)
