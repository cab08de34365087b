"""Nearest: whose mean is nearest to a vector, and which means lie near each other, by blocks of matrix products.

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
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from spark_job.results.moments import DIMENSIONS

Vectors = NDArray[np.float64]
LATTICE_BITS = 20
ROWS_A_BLOCK = 2**13  # of 128 doubles: 8 MiB; a task holds two blocks
ROWS_A_PRODUCT = 2**9  # of 2^13 doubles: 32 MiB
FOUND = StructType().add("square", "double").add("nearest", "string").add("nearest_distance", "double")
PAIR = StructType().add("group", "string").add("other", "string").add("square", "double").add("distance", "double")


def nearest_other(points: DataFrame, keys: Sequence[str], groups: DataFrame) -> DataFrame:
    """keys, nearest and nearest_distance: the group other than its own whose mean is nearest to each point.

    points: keys (which tell them apart), group, vector; groups: group, vector. A point has no row where there is no
    other group.
    """
    schema = StructType([*points.select(*keys).schema, *FOUND])
    blocks = _block_count(points)
    others = blocks if groups is points else _block_count(groups)
    left = points.withColumn("i", _block(blocks, *keys)).withColumn("j", F.explode(_numbers(others)))
    right = _as_others(groups).withColumn("j", _block(others, "other")).withColumn("i", F.explode(_numbers(blocks)))
    found = _by_blocks(left, right, _nearest_of_blocks(keys), schema)
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
    right = _as_others(groups if others is None else others).withColumn("j", _block(theirs, "other"))
    left = left.withColumn("j", F.explode(F.sequence("i", F.lit(theirs - 1)) if within else _numbers(theirs)))
    right = right.withColumn("i", F.explode(F.sequence(F.lit(0), "j") if within else _numbers(blocks)))
    pairs = _by_blocks(left, right, _pairs_of_blocks(within, bound, limit), PAIR)
    if within:
        names = F.least("group", "other").alias("group"), F.greatest("group", "other").alias("other")
        pairs = pairs.select(*names, "square", "distance")
    return pairs.orderBy("square", "group", "other").limit(limit).drop("square")


def lattice(vectors: Vectors) -> Vectors:
    """Vectors, below 2 in magnitude, in whole multiples of 2^-20, as float64."""
    whole: Vectors = np.rint(np.ldexp(vectors, LATTICE_BITS))
    return whole


def squares(points: Vectors, centres: Vectors) -> Iterator[tuple[int, Vectors]]:
    """The exact squared distances, in 2^-40, of points (n, 128) from centres (m, 128): first row and (some, m)."""
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
    apart: Vectors = np.sqrt(np.square(points - centres).sum(axis=1))
    return apart


def with_distance(rows: DataFrame, name: str, column: str, other: str, keep: bool = False) -> DataFrame:
    """rows with the distance of the vectors in two of its columns in place of these. keep: the first of them, too."""
    replaced = [other] if keep else [column, other]
    schema = rows.drop(*replaced).withColumn(name, F.lit(0.0)).schema

    def measured(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            apart = distances(vectors(batch.column(column)), vectors(batch.column(other)))
            yield batch.drop_columns(replaced).append_column(name, pa.array(apart))

    return rows.mapInArrow(measured, schema)


def vectors(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """A column of lists of 128 numbers as float64 (n, 128)."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values: NDArray[np.floating] = whole.flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.float64).reshape(-1, DIMENSIONS)


def _block_count(rows: DataFrame) -> int:
    return max(1, -(-rows.count() // ROWS_A_BLOCK))


def _block(count: int, *keys: str) -> Column:
    return F.pmod(F.xxhash64(*keys), F.lit(count)).cast("int")


def _numbers(count: int) -> Column:
    return F.sequence(F.lit(0), F.lit(count - 1))


def _as_others(groups: DataFrame) -> DataFrame:
    """groups by other names: of a column that both sides of a cogroup take from one table, Spark gives it to one."""
    return groups.select(F.col("group").alias("other"), F.col("vector").alias("other_vector"))


def _by_blocks(left: DataFrame, right: DataFrame, function: Callable[..., pa.Table], schema: StructType) -> DataFrame:
    """function of i, j and each pair of blocks (i, j) of two tables, where both have rows."""
    none = to_arrow_schema(schema, timezone="UTC").empty_table()

    def of_blocks(key: tuple[pa.Scalar, ...], a: pa.Table, b: pa.Table) -> pa.Table:
        return function(*key, a, b) if len(a) and len(b) else none

    return left.groupBy("i", "j").cogroup(right.groupBy("i", "j")).applyInArrow(of_blocks, schema)


def _nearest_of_blocks(keys: Sequence[str]) -> Callable[..., pa.Table]:
    def nearest_of_blocks(i: pa.Scalar, j: pa.Scalar, left: pa.Table, right: pa.Table) -> pa.Table:
        right = right.sort_by("other")
        names = right["other"].to_pylist()
        position = {name: at for at, name in enumerate(names)}
        own = np.array([position.get(name, -1) for name in left["group"].to_pylist()], dtype=np.int64)
        points, centres = vectors(left["vector"]), vectors(right["other_vector"])
        rows, index, square = nearest_rows(points, centres, own)
        found = left.select(list(keys)).take(pa.array(rows))
        found = found.append_column("square", pa.array(square))
        found = found.append_column("nearest", right["other"].take(pa.array(index)))
        return found.append_column("nearest_distance", pa.array(distances(points[rows], centres[index])))

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


def _pairs_of_blocks(within: bool, bound: float, limit: int) -> Callable[..., pa.Table]:
    def pairs_of_blocks(i: pa.Scalar, j: pa.Scalar, left: pa.Table, right: pa.Table) -> pa.Table:
        left, right = left.sort_by("group"), right.sort_by("other")
        points, centres = vectors(left["vector"]), vectors(right["other_vector"])
        rows, columns, square = close_pairs(points, centres, bound, limit, same=within and i == j)
        found = {
            "group": left["group"].take(pa.array(rows)),
            "other": right["other"].take(pa.array(columns)),
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
