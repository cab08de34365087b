"""Verification: how far apart two faces of one person lie, and of two people, from a sample with labels; no Spark."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_job.results.rates import MIN_FALSE_MATCHES, Floats, Labels, Vectors, figures, impostors, random
from spark_job.results.statistics import MIN_GROUPS, SEED

FACES_A_GROUP = 10  # that are compared: one person with 530 photos does not outweigh the rest
MAX_COMPARISONS = 2**25  # of two people, of one kind
SEARCH_RATES = ("1e-2",)
PROTOCOL = (
    f"Up to {FACES_A_GROUP} faces of a group, chosen by the seed. pairs: a face with a face. templates: a face with "
    "the mean of each group; with that of its own, without itself. means: the mean of one half of a group's faces "
    "with that of the other half, and with those of other groups. A match is a Euclidean distance below the "
    "threshold. Intervals (95 %) are of a bootstrap over groups."
)


@dataclass(frozen=True)
class Sample:
    """Faces that are sorted by group and, within one, in the order of the seed.

    faces; ranks: int (n,), the place of each face in its group; counts: int (groups,); means: float64 (groups, 128).
    """

    faces: Vectors
    ranks: NDArray[np.intp]
    counts: NDArray[np.intp]
    means: NDArray[np.float64]

    @classmethod
    def of(cls, embeddings: Floats, groups: Labels) -> "Sample":
        """Of faces whose order does not depend on how they were read."""
        order = np.lexsort((random().random(len(groups)), groups))
        faces = Vectors(embeddings[order].astype(np.float64), groups[order])
        counts = np.bincount(groups)
        starts = np.cumsum(counts) - counts
        means = np.add.reduceat(faces.vectors, starts) / counts[:, None]
        return cls(faces, np.arange(len(groups)) - starts[faces.groups], counts, means)

    def compared(self, at_most: int, least: int = 1) -> NDArray[np.intp]:
        """Up to FACES_A_GROUP faces of each group of at least so many: the first of each group, the second, ..."""
        taken = np.flatnonzero((self.ranks < FACES_A_GROUP) & (self.counts[self.faces.groups] >= least))
        in_turn = np.lexsort((random().random(len(taken)), self.ranks[taken]))
        return taken[in_turn[:at_most]]


def verification(embeddings: Floats, groups: Labels) -> dict[str, Any] | None:
    """The verification part of statistics.json, from float (n, 128) and the number of each face's group, 0, 1, ...

    None for fewer than MIN_GROUPS groups of two faces or more.
    """
    several = int((np.bincount(groups) >= 2).sum())
    if several < MIN_GROUPS:
        return None
    sample = Sample.of(embeddings, groups)
    return {
        "protocol": PROTOCOL,
        "seed": SEED,
        "groups": len(sample.counts),
        "groups_of_two_or_more": several,
        "faces": len(groups),
        "pairs": _pairs(sample),
        **_templates(sample),
        "means": _means(sample),
    }


def leave_one_out(distances: Floats, counts: NDArray[Any]) -> Floats:
    """Distances of faces to the mean of their group -> to the mean of the others: m' - x = n/(n-1) (m - x)."""
    without: Floats = distances * counts / (counts - 1)
    return without


def _pairs(sample: Sample) -> dict[str, Any]:
    """A face with a face."""
    groups, few = sample.faces.groups, np.flatnonzero(sample.ranks < FACES_A_GROUP)
    a, b = np.concatenate(
        [
            np.stack([few[:-step], few[step:]])[:, groups[few[:-step]] == groups[few[step:]]]
            for step in range(1, FACES_A_GROUP)
        ],
        axis=1,
    )
    genuine = np.linalg.norm(sample.faces.vectors[a] - sample.faces.vectors[b], axis=1)
    chosen = sample.faces.take(sample.compared(at_most=int(MAX_COMPARISONS**0.5)))
    return figures(genuine, impostors(chosen, chosen), chosen, chosen, met=2)  # from either side


def _templates(sample: Sample) -> dict[str, Any]:
    """A face with the means of groups, its own without itself, and how often that is the nearest of all."""
    gallery = Vectors(sample.means, np.arange(len(sample.means)))
    probes = sample.faces.take(sample.compared(at_most=MAX_COMPARISONS // len(gallery.groups), least=2))
    own = np.linalg.norm(probes.vectors - sample.means[probes.groups], axis=1)
    genuine = leave_one_out(own, sample.counts[probes.groups])
    others = impostors(probes, gallery)
    found = figures(genuine, others, probes, gallery)
    return {
        "templates": {**found, "rank_1": float((genuine < others.nearest).mean())},
        "search": _search(genuine, others.nearest, len(gallery.groups)),
    }


def _search(genuine: Floats, nearest: Floats, groups: int) -> dict[str, Any]:
    """A face that is looked for among all groups: how near the nearest is of a face that is in none of them.

    A false match rate of single comparisons says little here: with thousands of groups, one of them is soon near.
    """
    thresholds = {}
    for rate in (rate for rate in SEARCH_RATES if len(nearest) * float(rate) >= MIN_FALSE_MATCHES):
        bound = float(np.quantile(nearest, float(rate), method="lower"))
        true_matches = float(((genuine <= bound) & (genuine < nearest)).mean())
        thresholds[rate] = {"threshold": bound, "true_match_rate": true_matches}
    return {"groups": groups, "searches": len(nearest), "thresholds": thresholds}


def _means(sample: Sample) -> dict[str, Any]:
    """The mean of one half of a group's faces with that of the other half, and with those of other groups."""
    groups = np.flatnonzero(sample.counts >= 2)
    groups = np.sort(random().permutation(groups)[: int(MAX_COMPARISONS**0.5)])
    one, other = (_half(sample, half, groups) for half in (0, 1))
    genuine = np.linalg.norm(one.vectors - other.vectors, axis=1)
    return figures(genuine, impostors(one, other), one, other)


def _half(sample: Sample, half: int, groups: Labels) -> Vectors:
    """The means of every other face of these groups."""
    which = (sample.ranks % 2 == half) & np.isin(sample.faces.groups, groups)
    vectors, labels = sample.faces.take(which)
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return Vectors(np.add.reduceat(vectors, starts) / np.diff([*starts, len(labels)])[:, None], groups)
