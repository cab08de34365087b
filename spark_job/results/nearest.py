"""Nearest: whose mean is nearest to a vector, and which means lie near each other, by blocks and matrix products on Spark.

Vectors are compared after rounding to multiples of 2^-20. All products and sums of a matrix product are then integers
below 2^53, which float64 holds: neither blocks, nor their order, nor the BLAS change who is nearest, and ties go to the
first name. The distance that is told is that of the vectors as they are.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_job.results.moments import DIMENSIONS

Vectors = NDArray[np.float64]
LATTICE_BITS = 20
ROWS_A_BLOCK = 2**13  # of 128 doubles: 8 MiB; a task holds two blocks
ROWS_A_PRODUCT = 2**9  # of 2^13 doubles: 32 MiB
FOUND = "nearest string, nearest_distance double"


def nearest_other(points: DataFrame, keys: Sequence[str], groups: DataFrame) -> DataFrame:
    """keys, nearest and nearest_distance: the group other than its own whose mean is nearest to each point.

    points: keys (which tell them apart), group, vector; groups: group, vector. A point has no row where there is no
    other group.
    """
    schema = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in points.select(*keys).schema)
    blocks, others = _block_count(points), _block_count(groups)
    left = points.withColumn("i", _block(blocks, *keys)).withColumn("j", F.explode(_numbers(others)))
    right = groups.withColumn("j", _block(others, "group")).withColumn("i", F.explode(_numbers(blocks)))
    found = _by_blocks(left, right, _nearest_of_blocks(keys), f"{schema}, square double, {FOUND}")
    best = F.min(F.struct("square", "nearest", "nearest_distance")).alias("best")
    return found.groupBy(*keys).agg(best).select(*keys, "best.nearest", "best.nearest_distance")


def near_pairs(groups: DataFrame, others: DataFrame | None, bound: float, limit: int) -> DataFrame:
    """group, other and distance of the pairs whose vectors are at most bound apart: the nearest, at most limit.

    groups, others: group, vector. Without others, pairs within groups, each once, by name.
    """
    blocks = _block_count(groups)
    within = others is None
    theirs = blocks if others is None else _block_count(others)
    left = groups.withColumn("i", _block(blocks, "group"))
    right = (groups if others is None else others).withColumn("j", _block(theirs, "group"))
    left = left.withColumn("j", F.explode(F.sequence("i", F.lit(theirs - 1)) if within else _numbers(theirs)))
    right = right.withColumn("i", F.explode(F.sequence(F.lit(0), "j") if within else _numbers(blocks)))
    schema = "`group` string, other string, square double, distance double"
    pairs = _by_blocks(left, right, _pairs_of_blocks(within, bound, limit), schema)
    if within:
        names = F.least("group", "other").alias("group"), F.greatest("group", "other").alias("other")
        pairs = pairs.select(*names, "square", "distance")
    return pairs.orderBy("square", "group", "other").limit(limit).drop("square")


def lattice(vectors: Vectors) -> Vectors:
    """Vectors, below 2 in magnitude, in whole multiples of 2^-20, as float64."""
    return np.rint(np.ldexp(vectors, LATTICE_BITS))


def squares(points: Vectors, centres: Vectors) -> Iterator[tuple[int, Vectors]]:
    """The squared distances (some rows, m) of points (n, 128) from centres (m, 128), in 2^-40, exact; with the first row.

    A block of rows at a time.
    """
    a, b = lattice(points), lattice(centres)
    aa, bb = np.square(a).sum(axis=1), np.square(b).sum(axis=1)
    b *= -2
    for start in range(0, len(a), ROWS_A_PRODUCT):
        some = a[start : start + ROWS_A_PRODUCT] @ b.T
        some += bb
        some += aa[start : start + ROWS_A_PRODUCT, None]
        yield start, some


def distances(points: Vectors, centres: Vectors) -> Vectors:
    """The distance of each row from the row of the same number (n,): the same bits however rows are put together."""
    return np.sqrt(np.square(points - centres).sum(axis=1))


def with_distance(rows: DataFrame, name: str, column: str, other: str) -> DataFrame:
    """rows with one more column, the distance of the vectors in two of its columns, in place of the second of them."""
    schema = rows.drop(other).withColumn(name, F.lit(0.0)).schema

    def measured(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            apart = distances(vectors(batch.column(column)), vectors(batch.column(other)))
            yield batch.drop_columns([other]).append_column(name, pa.array(apart))

    return rows.mapInArrow(measured, schema)


def vectors(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """A column of lists of 128 numbers as float64 (n, 128)."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, DIMENSIONS)


def _block_count(rows: DataFrame) -> int:
    return max(1, -(-rows.count() // ROWS_A_BLOCK))


def _block(count: int, *keys: str) -> Column:
    return F.pmod(F.xxhash64(*keys), F.lit(count)).cast("int")


def _numbers(count: int) -> Column:
    return F.sequence(F.lit(0), F.lit(count - 1))


def _by_blocks(
    left: DataFrame, right: DataFrame, function: Callable[[pa.Table, pa.Table], pa.Table], schema: str
) -> DataFrame:
    """function of each pair of blocks (i, j) of two tables."""
    return left.groupBy("i", "j").cogroup(right.groupBy("i", "j")).applyInArrow(function, schema)


def _nearest_of_blocks(keys: Sequence[str]) -> Callable[[pa.Table, pa.Table], pa.Table]:
    def nearest_of_blocks(left: pa.Table, right: pa.Table) -> pa.Table:
        right = right.sort_by("group")
        names = right["group"].to_pylist()
        position = {name: at for at, name in enumerate(names)}
        own = np.array([position.get(name, -1) for name in left["group"].to_pylist()], dtype=np.int64)
        points, centres = vectors(left["vector"]), vectors(right["vector"])
        rows, index, square = nearest_rows(points, centres, own)
        found = left.select(list(keys)).take(pa.array(rows))
        for name, values in {
            "square": square,
            "nearest": right["group"].take(pa.array(index)),
            "nearest_distance": distances(points[rows], centres[index]),
        }.items():
            found = found.append_column(name, values if isinstance(values, pa.ChunkedArray) else pa.array(values))
        return found

    return nearest_of_blocks


def nearest_rows(
    points: Vectors, centres: Vectors, own: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Vectors]:
    """The rows of points that have another centre than their own; its number, the first of the nearest; the square.

    own: the number of each point's own centre (n,), -1 where it is not among the centres (m, 128).
    """
    index, square = np.zeros(len(points), dtype=np.int64), np.full(len(points), np.inf)
    if len(centres):
        for start, some in squares(points, centres):
            stop = start + len(some)
            has_own = np.flatnonzero(own[start:stop] >= 0)
            some[has_own, own[start:stop][has_own]] = np.inf
            index[start:stop] = some.argmin(axis=1)
            square[start:stop] = some[np.arange(len(some)), index[start:stop]]
    rows = np.flatnonzero(np.isfinite(square))
    return rows, index[rows], square[rows]


def _pairs_of_blocks(
    within: bool, bound: float, limit: int
) -> Callable[[tuple[pa.Scalar, ...], pa.Table, pa.Table], pa.Table]:
    def pairs_of_blocks(key: tuple[pa.Scalar, ...], left: pa.Table, right: pa.Table) -> pa.Table:
        left, right = left.sort_by("group"), right.sort_by("group")
        points, centres = vectors(left["vector"]), vectors(right["vector"])
        same = within and key[0] == key[1]
        rows, columns, square = close_pairs(points, centres, bound, limit, same)
        found = {
            "group": left["group"].take(pa.array(rows)),
            "other": right["group"].take(pa.array(columns)),
            "square": pa.array(square),
            "distance": pa.array(distances(points[rows], centres[columns])),
        }
        return pa.table(found)

    return pairs_of_blocks


def close_pairs(
    points: Vectors, centres: Vectors, bound: float, limit: int, same: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Vectors]:
    """The numbers of points and centres at most bound apart, and their squares: the nearest, at most limit.

    same: points and centres are one table, whose pairs count once.
    """
    farthest = math.ldexp(bound, LATTICE_BITS) ** 2
    found = np.zeros((3, 0))
    for start, some in squares(points, centres):
        near = some <= farthest
        if same:
            near &= np.arange(start, start + len(some))[:, None] < np.arange(len(centres))
        rows, columns = np.nonzero(near)
        found = np.hstack([found, [rows + start, columns, some[rows, columns]]])
        found = found[:, np.lexsort((found[1], found[0], found[2]))[:limit]]
    return found[0].astype(np.int64), found[1].astype(np.int64), found[2]
