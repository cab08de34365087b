"""Result: what a run found, as mean.json, mean.npy and groups/."""

import functools
import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from spark_job.results.documents import made_with, write_document, write_file
from spark_job.results.moments import Moments
from spark_job.row import FAILURES
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import step
from spark_job.table.store import read_table


@dataclass(frozen=True)
class Result:
    """What a run found, and what it rests on.

    photos: listed, and a count for each status; encoded: how many of them this run encoded; skipped: files of the
    inputs that are no photos; groups: how many, None without --group-by; failures: (path, status, message) of the
    first photos that failed; processors: the kinds that the rows were made on.
    """

    settings: Settings
    settings_id: str
    models: dict[str, str]
    output: str
    moments: Moments
    photos: dict[str, int]
    encoded: int
    skipped: int
    groups: int | None
    failures: list[tuple[str, str, str]]
    processors: list[str]
    started: datetime
    seconds: float
    encoding_seconds: float

    @property
    def count(self) -> int:
        """Faces in the mean."""
        return self.moments.count

    @functools.cached_property
    def mean(self) -> NDArray[np.float64]:
        """float64 (128,)."""
        return self.moments.mean()

    @property
    def mean_sha256(self) -> str:
        """Of the float64 little-endian bytes of the mean, in hex."""
        return hashlib.sha256(self.mean.astype("<f8").tobytes()).hexdigest()

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
    error = result.moments.standard_error()
    return {
        "count": result.count,
        "mean": result.mean.tolist(),
        "std": result.moments.std().tolist(),
        "standard_error": None if error is None else error.tolist(),
        "norm": float(np.linalg.norm(result.mean)),
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


def write_groups(output: FileSystem, groups: DataFrame) -> int:
    """Replace groups/ by a table of one row for each group; returns how many there are."""
    new = ".groups.new"
    groups.write.mode("overwrite").parquet(f"{output.uri}/{new}")
    output.replace_folder("groups", new)
    with step(groups.sparkSession, "count the groups"):
        return read_table(groups.sparkSession, f"{output.uri}/groups").count()
