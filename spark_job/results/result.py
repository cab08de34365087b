"""Result: what a run found, as mean.json and mean.npy."""

import functools
import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_job.results.documents import made_with, write_document, write_file
from spark_job.results.moments import Moments
from spark_job.row import FAILURES
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem


@dataclass(frozen=True)
class Result:
    """What a run found, and what it rests on.

    photos: listed, and a count for each status; encoded: how many of them this run encoded; skipped: files of the
    inputs that are no photos; group_means: moments of the groups' means, None without --group-by; failures: (path,
    status, message) of the first photos that failed; processors: the kinds that the rows were made on.
    """

    settings: Settings
    settings_id: str
    models: dict[str, str]
    output: str
    moments: Moments
    photos: dict[str, int]
    encoded: int
    skipped: int
    group_means: Moments | None
    failures: list[tuple[str, str, str]]
    processors: list[str]
    started: datetime
    seconds: float
    encoding_seconds: float

    @property
    def count(self) -> int:
        """Faces in the mean."""
        return self.moments.count

    @property
    def groups(self) -> int | None:
        """How many groups have a face; None without --group-by."""
        return None if self.group_means is None else self.group_means.count

    @functools.cached_property
    def mean(self) -> NDArray[np.float64]:
        """float64 (128,)."""
        return self.moments.mean()

    @property
    def mean_sha256(self) -> str:
        """Of the float64 little-endian bytes of the mean, in hex."""
        return _sha256(self.mean)

    @property
    def photos_per_second(self) -> float:
        """Photos encoded a second, while it encoded."""
        return self.encoded / self.encoding_seconds if self.encoded else 0.0

    @property
    def too_many_failed(self) -> bool:
        """Whether more photos failed than --max-failed allows."""
        return sum(self.photos[status] for status in FAILURES) > self.settings.max_failed * self.photos["listed"]


def summary(result: Result) -> dict[str, Any]:
    """mean.json as a dict, where it lies, and the first failures."""
    return {"output": result.output, **document(result), "failures": result.failures}


def write_mean(output: FileSystem, result: Result) -> None:
    """Replace mean.npy and then mean.json, each whole or not at all. Raises OutputError where that cannot be."""
    npy = io.BytesIO()
    np.save(npy, result.mean.astype("<f8"), allow_pickle=False)
    write_file(output, "mean.npy", npy.getvalue())
    write_document(output, "mean.json", document(result))


def document(result: Result) -> dict[str, Any]:
    """mean.json as a dict."""
    return {
        "count": result.count,
        **_mean_and_error(result.moments),
        "std": result.moments.std().tolist(),
        "mean_of_groups": _mean_of_groups(result.group_means),
        "photos": result.photos,
        "groups": result.groups,
        "encoded": result.encoded,
        "skipped": result.skipped,
        **made_with(result.settings, result.settings_id, result.models, result.started),
        "processors": result.processors,
        "seconds": round(result.seconds, 3),
        "photos_per_second": round(result.photos_per_second, 2),
        "mean_sha256": result.mean_sha256,
    }


def _mean_and_error(moments: Moments) -> dict[str, Any]:
    mean, error = moments.mean(), moments.standard_error()
    return {
        "mean": mean.tolist(),
        "standard_error": None if error is None else error.tolist(),
        "norm": float(np.linalg.norm(mean)),
    }


def _mean_of_groups(moments: Moments | None) -> dict[str, Any] | None:
    """The mean in which each group weighs the same; None where there is no group."""
    if not moments or not moments.count:
        return None
    return {"groups": moments.count, **_mean_and_error(moments), "mean_sha256": _sha256(moments.mean())}


def _sha256(mean: NDArray[np.float64]) -> str:
    return hashlib.sha256(mean.astype("<f8").tobytes()).hexdigest()
