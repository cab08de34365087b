"""Pyramid: an image and ever smaller copies of it, laid out in one as dlib's CNN detector wants it.

It is dlib's input_rgb_image_pyramid<pyramid_down<6>> (dnn/input.h, image_pyramid.h).
"""

from typing import NamedTuple

import dlib
import numpy as np
from numpy.typing import NDArray

GAP, MARGIN = 10, 11  # px of zeros between levels, and around all
MIN_ROWS = 5  # of the smallest level
MEAN = np.array((122.782, 117.001, 104.298), dtype=np.float32)  # of red, green, blue; over 256


class Tile(NamedTuple):
    """The place of a level: its first row and column and its size, px."""

    top: int
    left: int
    rows: int
    columns: int


def layout(rows: int, columns: int) -> tuple[list[Tile], int, int]:
    """The tiles of an image's levels, the largest first; the rows and columns that hold them all.

    Levels stand in one column, each 5/6 of the one before, until half of what is left fits beside
    them; from there they go up again along the right side, as far as there is room.
    """
    sizes = [(rows, columns)]
    while (rows := rows * 5 // 6) >= MIN_ROWS and (columns := columns * 5 // 6) > 0:
        sizes.append((rows, columns))
    tiles: list[Tile] = []
    (rows, columns), y = sizes[0], MARGIN
    half = (sum(size[0] + GAP for size in sizes) - 2 * GAP - rows) / 2
    for size in sizes:
        beside = bool(tiles) and size[1] <= columns - tiles[-1].columns - GAP
        if beside and y - MARGIN - rows >= half:
            break
        tiles.append(Tile(y, MARGIN, *size))
        y += size[0] + GAP
    y -= GAP
    height = y + MARGIN
    for size in sizes[len(tiles) :]:
        tile = Tile(y - size[0], MARGIN + columns - size[1], *size)
        if tile.top < MARGIN + rows:
            break
        tiles.append(tile)
        y -= size[0] + GAP
    return tiles, height, columns + 2 * MARGIN


def pyramid(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[Tile]]:
    """image uint8 (rows, columns, 3) RGB -> its levels in one, float32 (1, 3, rows, columns), and
    where each is. A pixel is (value - mean) / 256, what no level covers is zero.
    """
    tiles, rows, columns = layout(*image.shape[:2])
    tiled = np.zeros((1, 3, rows, columns), dtype=np.float32)
    for channel in range(3):
        level = (image[:, :, channel] - MEAN[channel]) / np.float32(256)
        for top, left, height, width in tiles:
            if (height, width) != level.shape:
                level = dlib.resize_image(level, height, width)
            tiled[0, channel, top : top + height, left : left + width] = level
    return tiled, tiles


def upsampled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image at twice its size, as dlib's pyramid_up<2> makes it."""
    rows, columns = image.shape[:2]
    return np.asarray(dlib.resize_image(image, 2 * rows + 1, 2 * columns + 2))
