"""Statistics: statistics.json: how the embeddings of a run spread, and how far apart is apart among them."""

import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from py4j.protocol import Py4JJavaError

from spark_job.errors import OutputError
from spark_job.results import bootstrap
from spark_job.results.moments import Moments
from spark_job.results.scatter import Scatter
from spark_job.spark.hadoop import FileSystem, reason

COMPONENTS = 2
# Where an output does not tell its own: face_recognition's 0.6 for two faces, and what Labeled Faces in the Wild has at
# the same false match rate for the others.
FALLBACK = {"pairs": 0.6, "templates": 0.58, "means": 0.54}
Kind = Literal["pairs", "templates", "means"]


def threshold(statistics: dict[str, Any] | None, kind: Kind, false_match_rate: str = "1e-3") -> float:
    """The distance below which two are taken for one person, from statistics.json; FALLBACK where is_measured says no."""
    if not is_measured(statistics, kind, false_match_rate):
        return FALLBACK[kind]
    return float(statistics["verification"][kind]["thresholds"][false_match_rate]["threshold"])


def is_measured(statistics: dict[str, Any] | None, kind: Kind, false_match_rate: str = "1e-3") -> bool:
    """Whether statistics.json has this threshold: a collection without groups, or with few, has none."""
    verification = statistics and statistics["verification"]
    return bool(verification) and false_match_rate in verification[kind]["thresholds"]


def spread(covariance: NDArray[np.float64]) -> dict[str, Any]:
    """Principal components, the share of the variance that each explains, and the effective dimension.

    That is the participation ratio of the variances, (sum)^2 / sum of squares: 128 where all are equal, 1 for a line.
    """
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1].clip(0), vectors[:, ::-1]
    components = vectors[:, :COMPONENTS].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return {
        "explained_variance_ratio": (variances / variances.sum()).tolist(),
        "components": (components * np.sign(largest)).tolist(),  # else their sign is up to the library
        "effective_dimension": float(variances.sum() ** 2 / (variances**2).sum()),
    }
