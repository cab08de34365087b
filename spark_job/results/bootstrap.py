"""Bootstrap: means of the collection as other draws of the same people, or faces, would have given them."""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from spark_job.results.moments import DIMENSIONS
from spark_job.results.scatter import VALUE_BITS

SEED = 0
REPLICATES = 1000
CONFIDENCE = (2.5, 97.5)  # percent


def over_groups(groups: DataFrame) -> NDArray[np.float64]:
    """Means (replicates, 128) in which each group counts as often as a Poisson variable of mean 1 says.

    groups: group, count and mean of each. Any number of them: the variable is seeded by the group's name, and weighted
    sums are of integers, so that no partitioning changes a bit.
    Poisson weights are the bootstrap of data that lie in parts (Chamandy et al., Estimating Uncertainty for Massive
    Data Streams, 2012).
    """
    partials = groups.select("group", "count", "mean").mapInArrow(_weighted, "sums binary").rdd
    sums = partials.map(lambda row: np.frombuffer(row.sums)).treeAggregate(
        np.zeros(REPLICATES * (DIMENSIONS + 1)), operator.add, operator.add
    )
    sums = sums.reshape(REPLICATES, DIMENSIONS + 1)
    sums = sums[sums[:, -1] > 0]
    means: NDArray[np.float64] = np.ldexp(sums[:, :-1], -VALUE_BITS) / sums[:, -1:]
    return means


def over_faces(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means (replicates, 128) of as many independent faces: normal, with the covariance of the mean."""
    return np.random.default_rng(SEED).multivariate_normal(mean, covariance / count, REPLICATES, method="eigh")


def intervals(mean: NDArray[np.float64], means: NDArray[np.float64]) -> dict[str, Any]:
    """The interval of the norm of the mean (95 %), and how far means of other draws lie from it."""
    norm = float(np.linalg.norm(mean))
    # The norm of a mean of few is too large, and that of a replicate is so twice: the interval is turned about it.
    low, high = 2 * norm - np.percentile(np.linalg.norm(means, axis=1), CONFIDENCE[::-1])
    median, most = np.percentile(np.linalg.norm(means - mean, axis=1), (50, 95))
    return {
        "norm": {"low": float(max(low, 0)), "high": float(high)},
        "mean_distance": {"median": float(median), "high": float(most)},
    }


def _weighted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For each replicate, the weighted sums of faces' values (in 2^-20) and of counts."""
    sums = np.zeros((REPLICATES, DIMENSIONS + 1))
    for batch in batches:
        weights = np.array([_weights(group) for group in batch.column("group").to_pylist()])
        counts = batch.column("count").to_numpy()
        means = batch.column("mean").flatten().to_numpy().reshape(-1, DIMENSIONS)
        sums += weights.T @ np.column_stack([np.rint(np.ldexp(means * counts[:, None], VALUE_BITS)), counts])
    yield pa.RecordBatch.from_pylist([{"sums": sums.tobytes()}])


def _weights(group: str) -> NDArray[np.float64]:
    name = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "little")
    return np.random.default_rng([SEED, name]).poisson(1, REPLICATES).astype(np.float64)
