"""Metrics: what a run has done and has still to do, as gauges in Spark's own metrics system.

They are for watching: a task that Spark runs twice may count twice. The figures of a result come from its rows.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from py4j.protocol import Py4JError
from pyspark import Accumulator, AccumulatorParam, SparkContext

from spark_job.row import FAILURES, STATUSES

GAUGES = (
    "photos_listed",
    "photos_done",  # those that have a row
    "photos_earlier",  # those of them that earlier runs encoded: their statuses are counted at the end
    "photos_failed",
    "photos_per_second",
    "seconds_left",  # nan until a task has ended
    *(f"status_{status}" for status in STATUSES),
)


class Gauges:
    """The gauges of one run. statuses counts the photos that it encodes, by status."""

    def __init__(self, context: SparkContext, listed: int, missing: int) -> None:
        self.statuses = status_counts(context)
        self._listed, self._earlier = listed, listed - missing
        self._gauges = _gauges(context)
        self._told: dict[str, float] = {}
        self.tell(0.0, math.nan if missing else 0.0)

    def done(self) -> int:
        """Photos that this run has encoded so far."""
        return self.statuses.value.total()

    def tell(self, per_second: float, seconds_left: float) -> None:
        """Set all gauges by what the tasks have counted so far."""
        self._set(photos_per_second=per_second, seconds_left=seconds_left, **self._counted(self.statuses.value))

    def settle(self, photos: Mapping[str, int]) -> None:
        """Set the counts to those of the result (see results/tally.py)."""
        self._earlier = 0
        self._set(seconds_left=0.0, **self._counted(Counter({status: photos[status] for status in STATUSES})))

    def _counted(self, statuses: Counter[str]) -> dict[str, float]:
        return {
            "photos_done": self._earlier + statuses.total(),
            "photos_listed": self._listed,
            "photos_earlier": self._earlier,
            "photos_failed": sum(statuses[status] for status in FAILURES),
            **{f"status_{status}": statuses[status] for status in STATUSES},
        }

    def _set(self, **values: float) -> None:
        changed = {name: value for name, value in values.items() if self._told.get(name) != value}
        with suppress(OSError, Py4JError):  # of a Java process that has gone: the run itself tells of that
            for name, value in changed.items():
                self._gauges[name].setValue(float(value))
        self._told |= changed


class _Counts(AccumulatorParam[Counter[str]]):
    """Counts by key. A sum is a new Counter: another thread may read the old one."""

    def zero(self, value: Counter[str]) -> Counter[str]:
        return Counter()

    def addInPlace(self, value1: Counter[str], value2: Counter[str]) -> Counter[str]:  # noqa: N802
        return value1 + value2


def status_counts(context: SparkContext) -> Accumulator[Counter[str]]:
    """An accumulator for encode: photos by status."""
    return context.accumulator(Counter(), _Counts())


@functools.lru_cache(maxsize=1)
def _gauges(context: SparkContext) -> dict[str, Any]:
    """Name -> an accumulator that the driver alone sets, and that Spark shows as a gauge of the same name.

    Once for a SparkContext: of two by one name, Spark shows the first.
    """
    spark: Any = context._jsc.sc()
    jvm: Any = context._jvm
    gauges = {name: spark.doubleAccumulator(name) for name in GAUGES}
    source = getattr(getattr(jvm.org.apache.spark.metrics.source, "DoubleAccumulatorSource$"), "MODULE$")
    source.register(spark, jvm.PythonUtils.toScalaMap(gauges))
    return gauges
