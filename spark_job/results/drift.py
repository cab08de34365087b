"""Drift: how far two means would lie apart by chance alone, and how far those of their groups do; no Spark.

The units of chance are groups, where there are: photos of one person are not independent of each other. If nothing but
chance made a difference, what a group adds to the difference of the means might as well have come with the other
sign. (To swap a group's photos between the two would do for halves; where one result has ten times the photos of
the other, it compares some groups with others.) The measure is the Euclidean distance of the means and not Hotelling's
T^2, which has no answer for fewer faces than dimensions.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_job.results.moments import DIMENSIONS
from spark_job.results.statistics import SEED

Floats = NDArray[np.float64]

FLIPS = 4999
NUMBERS_A_BLOCK = 2**22


class Groups(NamedTuple):
    """names, sorted; counts (n,), of faces; means (n, 128); errors (n,): the norm of the mean's standard error, nan
    for one face."""

    names: NDArray[np.object_]
    counts: NDArray[np.int64]
    means: Floats
    errors: Floats

    @classmethod
    def of(cls, groups: pa.Table) -> "Groups":
        """Of rows of groups/: group, count, mean, standard_error."""
        groups = groups.sort_by("group").combine_chunks()
        errors = np.full(len(groups), np.nan)
        several = pc.is_valid(groups["standard_error"]).to_numpy()
        errors[several] = np.linalg.norm(_vectors(groups["standard_error"]), axis=1)
        names = groups["group"].to_numpy()
        return cls(names, groups["count"].to_numpy(), _vectors(groups["mean"]), errors)


class Chance(NamedTuple):
    """What chance makes of the difference: p, the probability of a distance as large; distance, its root mean square;
    over: groups or faces; units: how many of them."""

    p: float
    distance: float
    over: str
    units: int


class Move(NamedTuple):
    """How far the mean of a group moved, and that in standard errors of the difference; None of a mean of one face."""

    group: str
    count_a: int
    count_b: int
    distance: float
    standard_errors: float | None


def over_groups(a: Groups, b: Groups) -> Chance:
    """By random signs of what each group adds to the difference of the means of all faces that have a group."""
    names = np.union1d(a.names, b.names)
    parts = _parts(a, b, names)
    draw, larger, squares = np.random.default_rng(SEED), 0, 0.0
    observed = float((parts.difference**2).sum())
    at_once = max(1, NUMBERS_A_BLOCK // len(names))
    for start in range(0, FLIPS, at_once):
        signs = draw.integers(0, 2, (min(at_once, FLIPS - start), len(names)), np.int8) * np.float32(2) - 1
        distances2 = ((signs @ parts.centred) ** 2).sum(axis=1)
        larger += int((distances2 >= observed).sum())
        squares += float(distances2.sum())
    return Chance((1 + larger) / (1 + FLIPS), (squares / FLIPS) ** 0.5, "groups", len(names))


def over_faces(difference: Floats, covariance: Floats, faces: int) -> Chance:
    """By normal draws with the covariance (128, 128) of the difference: all faces independent, of many."""
    variances = np.linalg.eigvalsh(covariance).clip(0)
    distances2 = np.random.default_rng(SEED).chisquare(1, (FLIPS, len(variances))) @ variances
    larger = int((distances2 >= (difference**2).sum()).sum())
    return Chance((1 + larger) / (1 + FLIPS), float(variances.sum() ** 0.5), "faces", faces)


def moves(a: Groups, b: Groups) -> list[Move]:
    """Of the groups in both that moved, the largest move first."""
    names, i, j = np.intersect1d(a.names, b.names, assume_unique=True, return_indices=True)
    distances = np.linalg.norm(a.means[i] - b.means[j], axis=1)
    in_errors = distances / np.hypot(a.errors[i], b.errors[j])
    found = zip(names, a.counts[i], b.counts[j], distances, in_errors, strict=True)
    told = [Move(name, int(m), int(n), float(d), None if np.isnan(e) else float(e)) for name, m, n, d, e in found if d]
    return sorted(told, key=lambda move: (-move.distance, move.group))


class _Parts(NamedTuple):
    """difference (128,) of the means; centred: float32 (groups, 128), what each adds to it, less what any would."""

    difference: Floats
    centred: NDArray[np.float32]


def _parts(a: Groups, b: Groups, names: NDArray[np.object_]) -> _Parts:
    counts, sums = np.zeros((2, len(names))), np.zeros((2, len(names), DIMENSIONS))
    for side, groups in enumerate((a, b)):
        at = np.searchsorted(names, groups.names)
        counts[side, at] = groups.counts
        sums[side, at] = groups.counts[:, None] * groups.means
    faces, whole = counts.sum(), sums.sum(axis=(0, 1))
    # As a mean of all, that of the others: one's own would make the group's part too small.
    others = (whole - sums.sum(axis=0)) / (faces - counts.sum(axis=0))[:, None]
    shares, of_each = counts / counts.sum(axis=1)[:, None], sums / counts.sum(axis=1)[:, None, None]
    parts = (of_each[0] - shares[0][:, None] * others) - (of_each[1] - shares[1][:, None] * others)
    difference = of_each[0].sum(axis=0) - of_each[1].sum(axis=0)
    return _Parts(difference, parts.astype(np.float32))


def _vectors(column: pa.ChunkedArray) -> Floats:
    """The vectors of a column that are there: float64 (n, 128)."""
    vectors: Floats = pc.list_flatten(column).to_numpy().reshape(-1, DIMENSIONS)
    return vectors
