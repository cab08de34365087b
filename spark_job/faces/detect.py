"""Detect: an image -> the boxes of its faces, by a chain of detectors."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray


class Box(NamedTuple):
    """A face's place in the upright image, px; as the detector gave it, it may reach past the border."""

    top: int
    right: int
    bottom: int
    left: int

    def scaled(self, scale: float) -> "Box":
        """The same place in an image that is larger by this factor."""
        return Box(*(round(side * scale) for side in self))

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        return math.prod(self.sides)


class Detection(NamedTuple):
    """A face, the detector that found it, and the detector's own score (above 0, larger is surer)."""

    box: Box
    detector: str
    score: float


Detector = Callable[[NDArray[np.uint8]], list[Detection]]
# (image, upsample) -> (box, score) of each face, the surest first.
Finder = Callable[[NDArray[np.uint8], int], Sequence[tuple[Box, float]]]


def detector(name: str, find: Finder, upsample: int) -> Detector:
    """What hog or cnn finds, whoever runs it."""

    def detect(image: NDArray[np.uint8]) -> list[Detection]:
        return [Detection(box, name, score) for box, score in find(image, upsample)]

    return detect


def dlib_hog(detector: Any) -> Finder:
    """The HOG detector as dlib runs it; detector: a dlib.fhog_object_detector."""

    def find(image: NDArray[np.uint8], upsample: int) -> list[tuple[Box, float]]:
        boxes, scores, _ = detector.run(image, upsample, 0.0)
        return list(zip(map(_box, boxes), scores, strict=True))

    return find


def dlib_cnn(detector: Any) -> Finder:
    """The CNN detector as dlib runs it; detector: a dlib.cnn_face_detection_model_v1."""

    def find(image: NDArray[np.uint8], upsample: int) -> list[tuple[Box, float]]:
        return [(_box(found.rect), found.confidence) for found in detector(image, upsample)]

    return find


def chain(detectors: Sequence[Detector]) -> Detector:
    """The faces of the first detector that finds any; each passes on what it found nothing in."""

    def detect(image: NDArray[np.uint8]) -> list[Detection]:
        return next((found for detector in detectors if (found := detector(image))), [])

    return detect


def bounded(detector: Detector, size_px: int) -> Detector:
    """A detector that looks at an image of at most size_px on its longer side, and where it finds nothing at all of it.

    The time of detection grows with the pixels: of a photo of 12 megapixels, that at 1024 px of 0.8.
    """

    def detect(image: NDArray[np.uint8]) -> list[Detection]:
        scale = max(image.shape[:2]) / size_px
        if scale <= 1:
            return detector(image)
        found = detector(_shrunk(image, scale))
        return [face._replace(box=face.box.scaled(scale)) for face in found] or detector(image)

    return detect


def _shrunk(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    rows, columns = (max(1, round(side / scale)) for side in image.shape[:2])
    return np.array(PIL.Image.fromarray(image).resize((columns, rows), PIL.Image.Resampling.BOX))


def select(detections: list[Detection], face: str, rows: int, columns: int) -> list[Detection]:
    """The detections that --face asks for, in an image of so many rows and columns; of equals, the first.

    prominent weighs size against the distance from the centre, as facenet's align_dataset_mtcnn.py does: the person
    whom a photo is of is seldom at its border, and a bystander may be larger.
    """

    def off_centre(found: Detection) -> float:
        top, right, bottom, left = found.box
        return ((top + bottom - rows) ** 2 + (left + right - columns) ** 2) / 4

    if face == "only":
        return detections if len(detections) == 1 else []
    ranks: dict[str, Callable[[Detection], float]] = {
        "prominent": lambda found: found.box.area - 2 * off_centre(found),
        "largest": lambda found: found.box.area,
        "central": lambda found: -off_centre(found),
        "first": lambda found: 0,
    }
    return [max(detections, key=ranks[face])] if face in ranks and detections else detections


def rounded(top: float, right: float, bottom: float, left: float) -> Box:
    """A box of whole px, halves away from zero, as C's lround."""
    return Box(*(int(math.copysign(math.floor(abs(v) + 0.5), v)) for v in (top, right, bottom, left)))


def downsampled(box: Box, times: int) -> Box:
    """A box in px of the image before it was doubled so many times: pyramid_down<2>::point_down."""
    top, right, bottom, left = map(float, box)
    for _ in range(times):
        top, bottom = top / 2 - 0.75, bottom / 2 - 0.75
        right, left = right / 2 - 1.25, left / 2 - 1.25
    return rounded(top, right, bottom, left)


def _box(rectangle: Any) -> Box:
    return Box(rectangle.top(), rectangle.right(), rectangle.bottom(), rectangle.left())
