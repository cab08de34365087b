"""Embed: 150x150 chips -> 128-d embeddings."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from spark_job.faces import reference
from spark_job.faces.models import model_path
from spark_job.faces.runtimes import BATCH, RUNTIMES

CHIP_PX = 150
DLIB_SEED = 5489  # of the Mersenne twister, where none is given

Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def dlib_embedder(jitters: int = 1) -> Embedder:
    """dlib's network as dlib runs it: chips uint8 (n, 150, 150, 3) RGB -> float32 (n, 128).

    jitters above 1 average over so many distorted copies of a chip. dlib draws them from a
    generator that the network's object holds: a new object for each chip makes an embedding
    independent of those before it.
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


def network_embedder(engine: str = "onnx", jitters: int = 1, gpu: int = 0) -> Embedder:
    """The same network in another runtime: chips uint8 (n, 150, 150, 3) RGB -> float32 (n, 128).

    engine: a key of RUNTIMES. An embedding has the same bits whatever other chips are given with it. Raises ModelError
    where the runtime does not give dlib's values.
    """
    runtime = RUNTIMES[engine]
    network = runtime.make(gpu)

    def run(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = np.empty((len(chips), 128), dtype=np.float32)
        for start in range(0, len(chips), BATCH):
            part = slice(start, start + BATCH)
            vectors[part] = network(chips[part])
        return vectors

    def average(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = [run(jittered(chip, jitters)).mean(axis=0, dtype=np.float64) for chip in chips]
        return np.array(means, dtype=np.float32).reshape(len(chips), 128)

    reference.check(run(reference.reference_chips()), engine, runtime.tolerance)
    return run if jitters == 1 else average


def jittered(chip: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """uint8 (count, 150, 150, 3): a chip moved, scaled, turned and perhaps mirrored, each a little.

    These are the first copies that a new dlib.face_recognition_model_v1 makes, to the bit: every
    chip gets the same ones, so an embedding does not depend on the chips before it.
    """
    copies = np.empty((count, *chip.shape), dtype=np.uint8)
    for copy, (details, mirror) in zip(copies, _distortions(count), strict=True):
        distorted = dlib.extract_image_chip(chip, details)
        copy[:] = distorted[:, ::-1] if mirror else distorted
    return copies


@cache
def _distortions(count: int) -> list[tuple[Any, bool]]:
    """Places to cut copies from, and whether to mirror: dlib's jitter_image (interpolation.h)."""
    border, side = 3, CHIP_PX - 6  # px; it moves and scales the chip without its border
    centre, dims = border + side // 2, dlib.chip_dims(CHIP_PX, CHIP_PX)
    distortions = []
    for row, column, scale, angle, mirror in _uniform(5 * count).reshape(count, 5):
        x, y = (math.floor((draw * 0.04 - 0.02) * side + 0.5) for draw in (column, row))
        box = int(side / (0.97 + scale * (0.99999 - 0.97)))
        place = dlib.centered_rect(dlib.point(centre + x, centre + y), box, box)
        radians = math.radians(angle * 6 - 3)
        distortions.append((dlib.chip_details(place, dims, radians), bool(mirror > 0.5)))
    return distortions


def _uniform(count: int) -> NDArray[np.float64]:
    """The first numbers in [0, 1) of a new dlib::rand (rand_kernel_1.h), 48 bits each."""
    words = np.random.RandomState(DLIB_SEED).randint(0, 2**32, 10_000 + 2 * count, dtype=np.uint32)
    high, low = (words[10_000:] & 0xFFFFFF).astype(np.float64).reshape(count, 2).T
    return (high * 2**24 + low) / (2**48 - 1 + 0.05)
