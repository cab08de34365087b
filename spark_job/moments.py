"""Moments: exact sums of embeddings, so that a mean has the same bits however it was computed.

Each float32 value is rounded once to a multiple of 2^-40 and summed as an integer. Integer addition is
associative, so partitions, order, retries and cluster size cannot change the result.
"""

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

DIMENSIONS = 128
FRACTION_BITS = 40
# A rounded value is below 2^41 in magnitude and its halves below 2^21: int64 holds the sums of 2^20 products
# of halves. Fewer rows at a time keep the memory small.
ROWS_A_PARTIAL = 2**14
HALF_BITS = 20
INT_BYTES = 16  # sums of squares of 2^44 faces


@dataclass(frozen=True)
class Moments:
    """count of embeddings, and per dimension the sum of their values (in 2^-40) and of their squares (2^-80)."""

    count: int = 0
    sums: tuple[int, ...] = (0,) * DIMENSIONS
    squares: tuple[int, ...] = (0,) * DIMENSIONS

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> "Moments":
        """Of float32 (n, 128). Raises ValueError on a value that is not finite or not below 2 in magnitude."""
        partials = (
            _partial(embeddings[start : start + ROWS_A_PARTIAL]) for start in range(0, len(embeddings), ROWS_A_PARTIAL)
        )
        return sum(partials, start=cls())

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )

    def mean(self) -> NDArray[np.float64]:
        """The exact mean, rounded once to float64 (128,)."""
        return np.array([_ratio(total, self.count, FRACTION_BITS) for total in self.sums])

    def std(self) -> NDArray[np.float64]:
        """The standard deviation of the values, as numpy.std gives it (128,)."""
        return np.sqrt([_ratio(n2_variance, self.count**2, 2 * FRACTION_BITS) for n2_variance in self._spread()])

    def standard_error(self) -> NDArray[np.float64] | None:
        """The standard error of the mean, from the sample deviation (ddof=1), as scipy.stats.sem (128,).

        None for one embedding, which says nothing of its own error.
        """
        if self.count < 2:
            return None
        return np.sqrt(
            [_ratio(spread, self.count**2 * (self.count - 1), 2 * FRACTION_BITS) for spread in self._spread()]
        )

    def _spread(self) -> Iterator[int]:
        """count^2 times the variance of each dimension, an exact integer in 2^-80."""
        return (self.count * q - s * s for s, q in zip(self.sums, self.squares, strict=True))

    def to_bytes(self) -> bytes:
        """count, sums and squares as 16-byte little-endian integers: a cell of a Spark row."""
        return b"".join(
            value.to_bytes(INT_BYTES, "little", signed=True) for value in (self.count, *self.sums, *self.squares)
        )

    @classmethod
    def from_bytes(cls, cell: bytes) -> "Moments":
        values = [
            int.from_bytes(cell[at : at + INT_BYTES], "little", signed=True) for at in range(0, len(cell), INT_BYTES)
        ]
        return cls(values[0], tuple(values[1 : 1 + DIMENSIONS]), tuple(values[1 + DIMENSIONS :]))


def _partial(embeddings: NDArray[np.float32]) -> Moments:
    """Of at most 2^20 embeddings: the bound of int64."""
    if not (np.abs(embeddings) < 2).all():  # NaN compares false
        raise ValueError("an embedding has a value that is not finite, or not below 2 in magnitude")
    fixed = np.rint(np.ldexp(embeddings.astype(np.float64), FRACTION_BITS)).astype(np.int64)
    high, low = fixed >> HALF_BITS, fixed & (2**HALF_BITS - 1)
    squares = (
        (int(hh) << 2 * HALF_BITS) + (int(hl) << HALF_BITS + 1) + int(ll)
        for hh, hl, ll in zip(_dot(high, high), _dot(high, low), _dot(low, low), strict=True)
    )
    return Moments(len(fixed), tuple(fixed.sum(axis=0).tolist()), tuple(squares))


def _dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> Sequence[int]:
    return (a * b).sum(axis=0).tolist()  # type: ignore[no-any-return]


def _ratio(numerator: int, denominator: int, fraction_bits: int) -> float:
    """numerator / denominator / 2^fraction_bits, rounded once: Python divides integers exactly."""
    return numerator / (denominator << fraction_bits)


# ---- on Spark: rows of the photos table in, moments out ----

GROUPS = "`group` string, count long, mean array<double>, std array<double>, standard_error array<double>"
ROWS_A_BATCH = 256


def total(rows: DataFrame) -> Moments:
    """The moments of every embedding in rows of the photos table, by a tree over the partitions' partial sums."""
    embeddings = rows.select(F.explode("faces.embedding").alias("embedding"))
    partials = embeddings.mapInArrow(_partition_moments, "moments binary").rdd
    return partials.map(lambda row: Moments.from_bytes(row.moments)).treeAggregate(
        Moments(), operator.add, operator.add
    )


def by_group(rows: DataFrame) -> DataFrame:
    """group, count, mean, std and standard_error of each group: any number of them, none on the driver."""
    faces = rows.where("group IS NOT NULL").select("group", F.explode("faces.embedding").alias("embedding"))
    return faces.repartition("group").sortWithinPartitions("group").mapInArrow(_group_rows, GROUPS)


def _partition_moments(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    moments = sum((Moments.of(_embeddings(batch)) for batch in batches), start=Moments())
    yield pa.RecordBatch.from_pylist([{"moments": moments.to_bytes()}])


def _group_rows(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row for each group of a partition that is sorted by group: one group's moments in memory at a time."""
    runs = (run for batch in batches for run in _runs(batch))
    rows = (
        _group_row(group, sum((Moments.of(embeddings) for _, embeddings in same), start=Moments()))
        for group, same in itertools.groupby(runs, operator.itemgetter(0))
    )
    while some := list(itertools.islice(rows, ROWS_A_BATCH)):
        yield pa.RecordBatch.from_pylist(some, schema=_GROUP_ARROW)


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
