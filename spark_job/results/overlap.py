"""Overlap: groups that are likely one person: two folders of one, or people of one collection in another."""

import json
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError
from spark_job.results.groups import open_groups
from spark_job.results.nearest import near_pairs
from spark_job.results.statistics import is_measured, threshold
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import open_session, step

RATE = "1e-4"
LIMIT = 1000


def overlap(
    uri: str,
    other: str | None = None,
    limit: int = LIMIT,
    spark: SparkSession | None = None,
    master: str | None = None,
    conf: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The pairs of groups whose means lie nearer than the threshold, nearest first: within one output or between two.

    limit: the most pairs to give. spark: a session to use; without it, one is made with master and conf. Gives outputs;
    compared (pairs in all); threshold (of the first output, for a false match rate of 1e-4); is_measured (whether that
    output told its own); by_chance (how many pairs of different people lie so near at that rate); and pairs: group,
    count, other, other_count, distance. Raises OutputError.
    """
    with open_session(Settings(inputs=("none",), output=uri, master=master, conf=conf), spark) as session:
        output, groups = open_groups(session, uri)
        theirs = None
        if other is not None:
            other_output, theirs = open_groups(session, other)
            _check_comparable(output, other_output)
        statistics = json.loads(output.read("statistics.json")) if output.exists("statistics.json") else None
        bound, ours = threshold(statistics, "means", RATE), groups.count()
        compared = ours * (ours - 1) // 2 if theirs is None else ours * theirs.count()
        with step(session, "compare the means of the groups"):
            near = near_pairs(_means(groups), None if theirs is None else _means(theirs), bound, limit)
            counted = _with_counts(near, groups, groups if theirs is None else theirs)
            pairs = counted.orderBy("distance", "group", "other").toArrow().to_pylist()
        return {
            "outputs": [uri] if other is None else [uri, other],
            "compared": compared,
            "threshold": bound,
            "is_measured": is_measured(statistics, "means", RATE),
            "by_chance": round(float(RATE) * compared),
            "pairs": pairs,
        }


def _means(groups: DataFrame) -> DataFrame:
    return groups.select("group", F.col("mean").alias("vector"))


def _with_counts(pairs: DataFrame, groups: DataFrame, others: DataFrame) -> DataFrame:
    ours = groups.select("group", "count")
    theirs = others.select(F.col("group").alias("other"), F.col("count").alias("other_count"))
    found = pairs.join(ours, "group").join(theirs, "other")
    return found.select("group", "count", "other", "other_count", "distance")


def _check_comparable(*outputs: FileSystem) -> None:
    models = [json.loads(output.read("mean.json"))["models"] for output in outputs]
    if models[0] != models[1]:
        raise OutputError(
            f"{outputs[0].uri} and {outputs[1].uri} were made with different models, whose embeddings do not compare: "
            "run one of them again with the other's --engine and --landmarks"
        )
