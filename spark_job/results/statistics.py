"""Statistics: statistics.json: how the embeddings of a run spread, and how far apart is apart; no Spark."""

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spark_job.results.moments import Moments
from spark_job.results.scatter import Scatter

SEED = 0
REPLICATES = 1000
MIN_GROUPS = 10  # of fewer, another draw says little
CONFIDENCE = (2.5, 97.5)  # percent
COMPONENTS = 2
# Where an output does not tell its own: 0.6 is face_recognition's, for two faces; the others have the same false match
# rate on Labeled Faces in the Wild, which is 6e-3; and search has 1e-2 of searches among its 5,749 groups.
FALLBACK = {"pairs": 0.6, "templates": 0.58, "means": 0.55, "search": 0.37}
Kind = Literal["pairs", "templates", "means", "search"]


def statistics(
    moments: Moments, scatter: Scatter, drawn: NDArray[np.float64] | None, verification: dict[str, Any] | None
) -> dict[str, Any]:
    """statistics.json as a dict.

    drawn: means (replicates, 128) of other draws of the groups; without it, faces are taken as independent.
    """
    mean, covariance = moments.mean(), scatter.covariance()
    over = "faces" if drawn is None else "groups"
    if drawn is None and covariance is not None:
        drawn = _over_faces(mean, covariance, moments.count)
    told = {"over": over, "replicates": REPLICATES, "seed": SEED}
    return {
        "mean_sha256": hashlib.sha256(mean.astype("<f8").tobytes()).hexdigest(),
        "count": moments.count,
        "covariance": None if covariance is None else covariance.tolist(),
        **_spread(np.zeros((len(mean),) * 2) if covariance is None else covariance),
        "norm_of_mean": float(np.linalg.norm(mean)),
        "mean_norm": scatter.mean_norm(),
        "bootstrap": None if drawn is None else told | _intervals(mean, drawn),
        "verification": verification,
    }


def threshold(statistics: dict[str, Any] | None, kind: Kind, false_match_rate: str = "1e-3") -> float:
    """The distance below which two are taken for one person, from statistics.json.

    false_match_rate: 1e-3 or 1e-4; of a search among all groups, 1e-2. FALLBACK where is_measured says no.
    """
    measured = _thresholds(statistics, kind).get(false_match_rate)
    return FALLBACK[kind] if measured is None else float(measured["threshold"])


def is_measured(statistics: dict[str, Any] | None, kind: Kind, false_match_rate: str = "1e-3") -> bool:
    """Whether statistics.json has this threshold: a collection without groups, or with few, has none."""
    return false_match_rate in _thresholds(statistics, kind)


def _thresholds(statistics: dict[str, Any] | None, kind: Kind) -> dict[str, dict[str, float]]:
    verification = (statistics or {}).get("verification") or {}
    thresholds: dict[str, dict[str, float]] = verification.get(kind, {}).get("thresholds", {})
    return thresholds


def _spread(covariance: NDArray[np.float64]) -> dict[str, Any]:
    """Principal components, the share of the variance that each explains, and the effective dimension.

    That is the participation ratio of the variances, (sum)^2 / sum of squares: 128 where all are equal, 1 on a line.
    All are None where nothing varies.
    """
    variances, vectors = np.linalg.eigh(covariance)
    variances, components = variances[::-1].clip(0), vectors.T[::-1][:COMPONENTS]
    if not variances.any():
        return dict.fromkeys(("explained_variance_ratio", "components", "effective_dimension"))
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return {
        "explained_variance_ratio": (variances / variances.sum()).tolist(),
        "components": (components * np.sign(largest)).tolist(),  # else their sign is up to the library
        "effective_dimension": float(variances.sum() ** 2 / (variances**2).sum()),
    }


def _over_faces(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means (replicates, 128) of as many independent faces: normal, with the covariance of the mean."""
    return np.random.default_rng(SEED).multivariate_normal(mean, covariance / count, REPLICATES, method="eigh")


def _intervals(mean: NDArray[np.float64], drawn: NDArray[np.float64]) -> dict[str, Any]:
    """The interval of the norm of the mean (95 %), and how far means of other draws lie from it."""
    norm = float(np.linalg.norm(mean))
    # The norm of a mean of few is too large, and that of another draw of them twice so: the interval is turned about.
    low, high = 2 * norm - np.percentile(np.linalg.norm(drawn, axis=1), CONFIDENCE[::-1])
    median, most = np.percentile(np.linalg.norm(drawn - mean, axis=1), (50, 95))
    return {
        "norm": {"low": float(max(low, 0)), "high": float(high)},
        "mean_distance": {"median": float(median), "high": float(most)},
    }
