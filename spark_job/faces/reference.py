"""Reference: dlib's own embeddings of synthetic chips, which any other engine has to give too."""

import json
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import ModelError
from spark_job.faces.models import model_digest


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
