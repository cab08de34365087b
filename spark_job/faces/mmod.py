"""Mmod: dlib's CNN face detector (max-margin object detection), run by ONNX Runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_job.faces.detect import Box, Finder, downsampled, rounded
from spark_job.faces.models import session
from spark_job.faces.pyramid import Tile, pyramid, upsampled

STRIDE, OFFSET = 8, 14  # px: score (r, c) is that of the window around (8 r + 14, 8 c + 14)
HALO = 10  # scores: how far from a score those are that its pixels bear on, by half a window more
STRIP_PIXELS = 2_000_000  # of the pyramid in one pass, which bounds the memory


def onnx_cnn_detector() -> Finder:
    """(image uint8 (rows, columns, 3) RGB, upsample) -> faces and their scores, the surest first.

    It gives what dlib's cnn_face_detection_model_v1 gives. upsample: how often the image is doubled
    before. A box may reach past the image's border. Raises ModelError where there is no model.
    """
    network = session("cnn")
    options = network.get_modelmeta().custom_metadata_map
    window = float(options["columns"]), float(options["rows"])
    overlap = float(options["overlap"])

    def detect(image: NDArray[np.uint8], upsample: int) -> list[tuple[Box, float]]:
        for _ in range(upsample):
            image = upsampled(image)
        tiled, tiles = pyramid(image)
        scores = _scores(network, tiled)
        found: list[tuple[Box, float]] = []
        places = np.argwhere(scores > 0)
        surest = np.argsort(-scores[*places.T], kind="stable")
        for row, column in places[surest].tolist():
            box = _box(STRIDE * row + OFFSET, STRIDE * column + OFFSET, window, tiles)
            if not any(_overlap(box, other) > overlap for other, _ in found):
                found.append((box, float(scores[row, column])))
        return [(downsampled(box, upsample), score) for box, score in found]

    return detect


def _scores(network: Any, tiled: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores (r, c) of a pyramid, above 0 for a face; a large one is read strip by strip."""
    rows, columns = tiled.shape[2:]
    count = _scored(rows)
    if min(count, _scored(columns)) < 1:  # an image of some 10 px, on which dlib may end the process
        return np.empty((0, 0), dtype=np.float32)
    step = max(STRIP_PIXELS // columns // STRIDE - 2 * HALO, 4 * HALO)
    strips = []
    for start in range(0, count, step):
        stop = min(start + step, count)
        first, last = max(start - HALO, 0), min(stop + HALO, count)
        end = rows if last == count else STRIDE * (last - 1) + 2 * OFFSET + 1
        strip = network.run(None, {"pyramid": tiled[:, :, STRIDE * first : end]})[0]
        strips.append(strip[0, 0, start - first : stop - first])
    return np.concatenate(strips)


def _scored(pixels: int) -> int:
    """How many scores stand along so many px: three 5-px windows with a stride of 2, unpadded."""
    for _ in range(3):
        pixels = (pixels - 5) // 2 + 1
    return pixels


def _box(y: int, x: int, window: tuple[float, float], tiles: list[Tile]) -> Box:
    """The box of the window around a place of the pyramid, in px of its largest level."""
    level = min(range(len(tiles)), key=lambda index: _distance(tiles[index], y, x))
    y, x = y - tiles[level].top, x - tiles[level].left
    right, bottom = (window[0] - 1) / 2, (window[1] - 1) / 2
    sides = np.array((y - bottom, x + right, y + bottom, x - right))
    for _ in range(level):
        sides = sides * 1.2 + 0.3  # as pyramid_down<6>::point_up
    return rounded(*sides.tolist())


def _distance(tile: Tile, y: int, x: int) -> int:
    """The square of the distance from a place to a tile, 0 within it."""
    below = y - (tile.top + tile.rows - 1)
    right = x - (tile.left + tile.columns - 1)
    return max(tile.top - y, 0, below) ** 2 + max(tile.left - x, 0, right) ** 2


def _overlap(a: Box, b: Box) -> float:
    """The share of the smallest box around two that both cover: dlib's test_box_overlap."""
    rows = min(a[2], b[2]) - max(a[0], b[0]) + 1
    columns = min(a[1], b[1]) - max(a[3], b[3]) + 1
    around = (max(a[2], b[2]) - min(a[0], b[0]) + 1) * (max(a[1], b[1]) - min(a[3], b[3]) + 1)
    return rows * columns / around if rows > 0 and columns > 0 else 0.0
