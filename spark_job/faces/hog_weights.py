"""hog_weights: dlib's frontal face detector -> its weights and the separable filters that it scans with.

Both come of the Python object, whose pickled state is dlib's serialization of an
object_detector<scan_fhog_pyramid<pyramid_down<6>>> (object_detector.h, scan_fhog_pyramid.h, matrix.h).
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import ModelError
from spark_job.faces.dlib_weights import DamagedError, Reader
from spark_job.faces.hog_plan import PLANES, WINDOW

# Versions of detector and scanner, no image loaded (twice 0), px of a cell, padding of a window, its width and height,
# most levels, width and height of the smallest.
FORM = [2, 1, 0, 0, 8, 0, 80, 80, 1000, 64, 64]
# build_fhog_filterbank drops smaller singular values, and smaller shares of a plane's largest.
MIN_SINGULAR, MIN_SHARE = 1e-4, 1e-3


class Weights(NamedTuple):
    """What dlib's detector holds.

    weights: float64 (detectors, 31, 10, 10), by plane and cell; thresholds: float64 (detectors,), what a face scores at
    least; overlap: intersection over union, and share covered, above which the weaker of two boxes goes; digest: the
    sha256 of dlib's serialization.
    """

    weights: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    overlap: tuple[float, float]
    digest: str


class Filters(NamedTuple):
    """Filters whose outer products add up to the weights; they come by plane.

    places: int32 (n, 2), plane and detector; taps: float32 (n, 2, 10), along a row and along a column.
    """

    places: NDArray[np.int32]
    taps: NDArray[np.float32]


def read_weights(detector: Any) -> Weights:
    """detector: a new dlib.fhog_object_detector. Raises ModelError where its form is not that of dlib's frontal one."""
    try:
        return _read(detector.__getstate__()[0])
    except (DamagedError, AttributeError, TypeError, IndexError) as error:
        raise ModelError(f"dlib's HOG detector has another form: {error}") from None


def _read(data: bytes) -> Weights:
    reader = Reader(data)
    form = [reader.integer() for _ in FORM]
    reader.real()  # the strength of a regularization, of use in training only
    dimensions, overlap, count = reader.integer(), (reader.real(), reader.real()), reader.integer()
    if form != FORM or dimensions != PLANES * WINDOW**2:
        raise DamagedError(f"it begins with {form}, {dimensions}")
    vectors = np.empty((count, dimensions + 1))
    for vector in vectors:
        shape = reader.integer(), reader.integer()  # a matrix's rows and columns, stored below zero
        if shape != (-len(vector), -1):
            raise DamagedError(f"weights of shape {shape}")
        vector[:] = [reader.real() for _ in vector]
    weights = vectors[:, :-1].reshape(count, PLANES, WINDOW, WINDOW)
    return Weights(weights, vectors[:, -1].copy(), overlap, hashlib.sha256(data).hexdigest())


def separable(weights: NDArray[np.float64]) -> Filters:
    """The filters that build_fhog_filterbank makes: the largest parts of each plane's singular value decomposition."""
    left, values, right = np.linalg.svd(weights)
    kept = values >= np.maximum(MIN_SINGULAR, values[:, :, :1] * MIN_SHARE)
    detectors, planes, _ = np.nonzero(kept)
    by_plane = np.argsort(planes, kind="stable")
    taps = np.stack([right[kept], left.swapaxes(2, 3)[kept]], axis=1) * np.sqrt(values[kept])[:, None, None]
    places = np.stack([planes, detectors], axis=1)
    return Filters(places[by_plane].astype(np.int32), taps[by_plane].astype(np.float32))
