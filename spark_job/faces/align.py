"""Align: a face's box -> its landmarks and the 150x150 chip that the network reads."""

from collections.abc import Callable
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from spark_job.faces.detect import Box
from spark_job.faces.embed import CHIP_PX

CHIP_PADDING = 0.25  # as dlib's compute_face_descriptor cuts it

Aligner = Callable[[NDArray[np.uint8], Box], tuple[NDArray[np.int64], NDArray[np.uint8]]]


def aligner(predictor: Any) -> Aligner:
    """(image, box) -> (landmarks (5 or 68, 2) px as x, y; chip uint8 (150, 150, 3)).

    predictor: a dlib.shape_predictor. The chip is the one that dlib's own compute_face_descriptor cuts.
    """

    def align(image: NDArray[np.uint8], box: Box) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        rectangle = dlib.rectangle(left=box.left, top=box.top, right=box.right, bottom=box.bottom)
        shape = predictor(image, rectangle)
        landmarks = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.int64)
        return landmarks, dlib.get_face_chip(image, shape, size=CHIP_PX, padding=CHIP_PADDING)

    return align


def chip(image: NDArray[np.uint8], landmarks: NDArray[np.float64], size: int, padding: float) -> NDArray[np.uint8]:
    """The face that has these landmarks (5 or 68, 2) px, upright in uint8 (size, size, 3), as dlib lays a chip."""
    points = dlib.points([dlib.point(*point) for point in landmarks.round().astype(int).tolist()])
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 0, 0), points)
    cut: NDArray[np.uint8] = dlib.get_face_chip(image, shape, size=size, padding=padding)
    return cut
