"""Rates: from distances to the rates at which people are told apart: impostors, thresholds, their intervals, the ROC.

A match is a distance below a threshold. The false match rate of a threshold is the share of comparisons of two people
that match, the true match rate the share of one person's that do.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.results.statistics import CONFIDENCE, SEED

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.intp]

RATES = ("1e-3", "1e-4")
MIN_FALSE_MATCHES = 10  # expected below a threshold: of fewer, it is not told
REPLICATES = 500
DIGITS = 4  # of an interval: BLAS adds in an order of its own

BINS = 2**13
BINS_A_UNIT = 2**12  # distances are counted in steps of 1/4096, up to 2
EDGES = np.arange(BINS + 1) / BINS_A_UNIT
BINS_A_BAR = 2**7
ROC_RATES = np.logspace(-5, 0, 51)
# Comparisons of two people are made in blocks of so many. Of them, this share, the nearest, is kept whole for the
# intervals: the first block tells how near that is.
BLOCK, KEPT = 2**21, 0.004


class Vectors(NamedTuple):
    """vectors: float (n, 128); groups: int (n,), the number of the group of each."""

    vectors: Floats
    groups: Labels

    def take(self, which: NDArray[Any]) -> "Vectors":
        return Vectors(self.vectors[which], self.groups[which])


class Impostors(NamedTuple):
    """What comparisons of two people come to.

    counts: int (BINS,), how many there are at each distance; near: the nearest of them, by distance: distance, probe's
    group, other group; nearest: float (probes,), the distance of each probe to the nearest other group.
    """

    counts: NDArray[np.int64]
    near: tuple[Floats, Labels, Labels]
    nearest: Floats


def impostors(probes: Vectors, gallery: Vectors) -> Impostors:
    """Every probe with all of the gallery that are of another group, by blocks of matrix products."""
    counts, near, nearest = np.zeros(BINS, np.int64), [], []
    cut = np.inf
    for probe_groups, distances in _blocks(probes, gallery):
        counts += np.bincount(_bins(distances[np.isfinite(distances)]), minlength=BINS)
        nearest.append(distances.min(axis=1))
        if np.isinf(cut):
            cut = float(np.quantile(distances, KEPT))
        rows, columns = np.nonzero(distances <= cut)
        near.append((distances[rows, columns], probe_groups[rows], gallery.groups[columns]))
    distance, a, b = (np.concatenate(parts) for parts in zip(*near, strict=True))
    order = np.argsort(distance, kind="stable")
    return Impostors(counts, (distance[order], a[order], b[order]), np.concatenate(nearest))


def _blocks(probes: Vectors, gallery: Vectors) -> Iterator[tuple[Labels, NDArray[np.float32]]]:
    """Groups of some probes, and their distances to the gallery: infinite to their own group."""
    one, squares = np.ones(len(probes.groups)), (probes.vectors**2).sum(axis=1)
    a = np.column_stack([probes.vectors, squares, one]).astype(np.float32)
    one, squares = np.ones(len(gallery.groups)), (gallery.vectors**2).sum(axis=1)
    b = np.column_stack([-2 * gallery.vectors, one, squares]).astype(np.float32).T  # a @ b is |a|^2 - 2 ab + |b|^2
    rows = max(1, BLOCK // len(gallery.groups))
    for start in range(0, len(a), rows):
        groups, distances = probes.groups[start : start + rows], a[start : start + rows] @ b
        np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
        distances[groups[:, None] == gallery.groups] = np.inf
        yield groups, distances


def figures(genuine: Floats, others: Impostors, probes: Vectors, gallery: Vectors, met: int = 1) -> dict[str, Any]:
    """What is told of one kind of comparison: counts, equal error rate, thresholds, ROC, histogram.

    met: how often each comparison of two people is among the others.
    """
    counts = np.bincount(_bins(genuine), minlength=BINS)
    total = int(others.counts.sum()) // met
    true_matches, false_matches = _rates(counts), _rates(others.counts)
    at = {rate: _highest(false_matches, float(rate)) for rate in RATES if total * float(rate) >= MIN_FALSE_MATCHES}
    intervals = bootstrap(others.near, probes.groups, gallery.groups, [float(rate) for rate in at])
    roc = [_highest(false_matches, rate) for rate in ROC_RATES[ROC_RATES * total >= 1]]
    return {
        "genuine": len(genuine),
        "impostor": total,
        # Where the false match rate and the rate of one person's comparisons that are missed cross.
        "equal_error_rate": float(np.interp(0.0, false_matches + true_matches - 1, false_matches)),
        "thresholds": {
            rate: {
                "threshold": float(EDGES[edge]),
                "low": low,
                "high": high,
                "true_match_rate": float(true_matches[edge]),
            }
            for (rate, edge), (low, high) in zip(at.items(), intervals, strict=True)
        },
        "roc": {
            "false_match_rate": false_matches[roc].tolist(),
            "true_match_rate": true_matches[roc].tolist(),
            "threshold": EDGES[roc].tolist(),
        },
        "histogram": {
            "edges": EDGES[::BINS_A_BAR].tolist(),
            "genuine": counts.reshape(-1, BINS_A_BAR).sum(axis=1).tolist(),
            "impostor": (others.counts.reshape(-1, BINS_A_BAR).sum(axis=1) // met).tolist(),
        },
    }


def bootstrap(
    near: tuple[Floats, Labels, Labels], probes: Labels, gallery: Labels, rates: list[float]
) -> list[tuple[float, float]]:
    """The interval of the threshold of each false match rate, from people drawn with replacement.

    Comparisons that share a person are not independent: one of two people counts as often as the one was drawn times
    as often as the other (the vertex bootstrap; Fogliato, Patil and Perona, arXiv 2306.01198).
    near: the nearest comparisons, of distance, group and group; probes, gallery: the groups of all that are compared.
    """
    distance, a, b = near
    n_probes, n_gallery = (
        np.bincount(groups, minlength=max(probes.max(), gallery.max()) + 1) for groups in (probes, gallery)
    )
    people = np.flatnonzero(n_probes + n_gallery)
    drawn, thresholds = random(), np.zeros((REPLICATES, len(rates)))
    times = np.zeros(len(n_probes), np.int64)
    for replicate in range(REPLICATES):
        times[people] = drawn.multinomial(len(people), np.full(len(people), 1 / len(people)))
        total = (times @ n_probes) * (times @ n_gallery) - (times * times) @ (n_probes * n_gallery)
        matches = np.cumsum(times[a] * times[b])
        at = np.searchsorted(matches, np.multiply(rates, total), side="right")
        thresholds[replicate] = distance[np.minimum(at, len(distance) - 1)]
    return [
        (round(float(low), DIGITS), round(float(high), DIGITS))
        for low, high in np.percentile(thresholds, CONFIDENCE, axis=0).T
    ]


def _rates(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of comparisons below each edge."""
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def _highest(false_matches: NDArray[np.float64], rate: float) -> int:
    """The edge of the highest threshold whose false match rate is no more than this."""
    return int(np.searchsorted(false_matches, rate, side="right")) - 1


def _bins(distances: Floats) -> NDArray[np.intp]:
    return np.minimum(distances * BINS_A_UNIT, BINS - 1).astype(np.intp)


def random() -> np.random.Generator:
    """What draws by SEED."""
    return np.random.default_rng(SEED)
