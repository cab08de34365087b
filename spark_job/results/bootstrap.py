"""Bootstrap: means of the collection as other draws of its groups would have given them, on Spark."""

import hashlib
import operator
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from spark_job.results.moments import DIMENSIONS
from spark_job.results.scatter import VALUE_BITS
from spark_job.results.statistics import MIN_GROUPS, REPLICATES, SEED

COLUMNS = DIMENSIONS + 1  # the sums of values, and the count


def over_groups(groups: DataFrame, n_groups: int) -> NDArray[np.float64] | None:
    """Means (replicates, 128) in which each group counts as often as a Poisson variable of mean 1 says; None of few.

    groups: group, count and mean of each, any number of them. The variable is seeded by the group's name, and what is
    weighted is rounded to 2^-20, so that sums below 2^33 have the same bits for any partitioning.
    Poisson weights are the bootstrap of data that lie in parts (Chamandy et al., Estimating Uncertainty for Massive
    Data Streams, 2012).
    """
    if n_groups < MIN_GROUPS:
        return None
    partials = groups.select("group", "count", "mean").mapInArrow(_weighted, "sums binary").rdd
    nothing = np.zeros(REPLICATES * COLUMNS)
    sums = (
        partials.map(lambda row: np.frombuffer(row.sums))
        .treeAggregate(nothing, operator.add, operator.add)
        .reshape(REPLICATES, COLUMNS)
    )
    sums = sums[sums[:, -1] > 0]
    means: NDArray[np.float64] = np.ldexp(sums[:, :-1], -VALUE_BITS) / sums[:, -1:]
    return means


def _weighted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """For each replicate, the weighted sums of values (in 2^-20) and of counts."""
    sums = np.zeros((REPLICATES, COLUMNS))
    for batch in batches:
        weights = np.array([_weights(group) for group in batch.column("group").to_pylist()])
        counts = batch.column("count").to_numpy()
        means = batch.column("mean").flatten().to_numpy().reshape(-1, DIMENSIONS)
        sums += weights.T @ np.column_stack([np.rint(np.ldexp(means * counts[:, None], VALUE_BITS)), counts])
    yield pa.RecordBatch.from_pylist([{"sums": sums.tobytes()}])


def _weights(group: str) -> NDArray[np.float64]:
    name = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "little")
    return np.random.default_rng([SEED, name]).poisson(1, REPLICATES).astype(np.float64)
