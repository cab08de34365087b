"""Sums: rows of the photos table -> moments and scatter of all faces, and moments of each group's, on Spark."""

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.results.moments import DIMENSIONS, Moments
from spark_job.results.scatter import Scatter

GROUPS = "`group` string, count long, mean array<double>, std array<double>, standard_error array<double>"
ROWS_A_BATCH = 256
BATCHES_AT_ONCE = 32  # of 64 rows, in a megabyte


class Sums(NamedTuple):
    """Exact sums of faces: their moments, and the scatter of which their covariance is made."""

    moments: Moments
    scatter: Scatter

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> "Sums":
        """Of float32 (n, 128). Raises ValueError as Moments.of."""
        return cls(Moments.of(embeddings), Scatter.of(embeddings))

    @classmethod
    def merged(cls, a: "Sums", b: "Sums") -> "Sums":
        return cls(a.moments + b.moments, a.scatter + b.scatter)


NOTHING = Sums.of(np.empty((0, DIMENSIONS), np.float32))


def total(rows: DataFrame) -> Sums:
    """The sums of every embedding in rows of the photos table, by a tree over the partitions' partial sums."""
    embeddings = rows.select(F.explode("faces.embedding").alias("embedding"))
    partials = embeddings.mapInArrow(_partition_sums, "moments binary, scatter binary").rdd
    return partials.map(
        lambda row: Sums(Moments.from_bytes(row.moments), Scatter.from_bytes(row.scatter))
    ).treeAggregate(NOTHING, Sums.merged, Sums.merged)


def moments_of(vectors: DataFrame) -> Moments:
    """The moments of a column of vectors, embedding."""
    partials = vectors.mapInArrow(_partition_moments, "moments binary").rdd
    return partials.map(lambda row: Moments.from_bytes(row.moments)).treeAggregate(
        Moments(), operator.add, operator.add
    )


def by_group(rows: DataFrame) -> DataFrame:
    """group, count, mean, std and standard_error of each group: any number of them, none on the driver."""
    faces = rows.where("group IS NOT NULL").select("group", F.explode("faces.embedding").alias("embedding"))
    return faces.repartition("group").sortWithinPartitions("group").mapInArrow(_group_rows, GROUPS)


def _partition_sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    sums = functools.reduce(Sums.merged, (Sums.of(_embeddings(batch)) for batch in _larger(batches)), NOTHING)
    yield pa.RecordBatch.from_pylist([{"moments": sums.moments.to_bytes(), "scatter": sums.scatter.to_bytes()}])


def _partition_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    moments = sum((Moments.of(_embeddings(batch)) for batch in _larger(batches)), start=Moments())
    yield pa.RecordBatch.from_pylist([{"moments": moments.to_bytes()}])


def _group_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row for each group of a partition that is sorted by group: one group's moments in memory at a time."""
    runs = (run for batch in _larger(batches) for run in _runs(batch))
    rows = (
        _group_row(group, sum((Moments.of(embeddings) for _, embeddings in same), start=Moments()))
        for group, same in itertools.groupby(runs, operator.itemgetter(0))
    )
    while some := list(itertools.islice(rows, ROWS_A_BATCH)):
        yield pa.RecordBatch.from_pylist(some, schema=_GROUP_ARROW)


def _larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches: to sum a few takes as long as to sum many."""
    batches = iter(batches)
    while some := list(itertools.islice(batches, BATCHES_AT_ONCE)):
        yield pa.concat_batches(some)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each group of a sorted batch, with its embeddings (n, 128)."""
    embeddings, start = _embeddings(batch), 0
    for group, same in itertools.groupby(batch.column("group").to_pylist()):
        stop = start + sum(1 for _ in same)
        yield group, embeddings[start:stop]
        start = stop


def _embeddings(batch: pa.RecordBatch) -> NDArray[np.float32]:
    values: NDArray[np.float32] = batch.column("embedding").flatten().to_numpy()
    return values.reshape(-1, DIMENSIONS)


def _group_row(group: str, moments: Moments) -> dict[str, object]:
    error = moments.standard_error()
    return {
        "group": group,
        "count": moments.count,
        "mean": moments.mean().tolist(),
        "std": moments.std().tolist(),
        "standard_error": None if error is None else error.tolist(),
    }


_VECTOR = pa.list_(pa.float64())
_GROUP_ARROW = pa.schema(
    {"group": pa.string(), "count": pa.int64(), "mean": _VECTOR, "std": _VECTOR, "standard_error": _VECTOR}.items()
)
