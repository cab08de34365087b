"""Embed: 150x150 chips -> 128-d embeddings."""

from collections.abc import Callable

import dlib
import numpy as np
from numpy.typing import NDArray

from spark_job.models import model_path

Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def dlib_embedder(jitters: int) -> Embedder:
    """dlib's network as dlib runs it: chips uint8 (n, 150, 150, 3) RGB -> float32 (n, 128).

    jitters above 1 average over so many distorted copies of a chip. dlib draws them from a generator that the
    network's object holds: a new object for each chip makes an embedding independent of those before it.
    """
    weights = str(model_path("resnet"))
    shared = dlib.face_recognition_model_v1(weights)

    def embed(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = np.empty((len(chips), 128), dtype=np.float32)
        for vector, chip in zip(vectors, chips, strict=True):
            network = shared if jitters == 1 else dlib.face_recognition_model_v1(weights)
            vector[:] = network.compute_face_descriptor(chip, jitters)
        return vectors

    return embed
