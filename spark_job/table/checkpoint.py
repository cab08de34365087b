"""Checkpoint: files of OUTPUT/photos that are damaged are named, and set aside where --repair says so."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError
from spark_job.row import SCHEMA
from spark_job.spark.hadoop import AS_IT_IS, FileSystem
from spark_job.spark.session import step
from spark_job.table.store import PHOTOS, VERIFY

ASIDE = "damaged"
NAMED = 3


@contextmanager
def damage_named(spark: SparkSession, output: FileSystem) -> Iterator[None]:
    """Where the body fails, and files of the checkpoint are damaged, raise an OutputError that names them."""
    try:
        yield
    except (Py4JJavaError, PySparkException):
        names = find_damaged(spark, output)
        if not names:
            raise
        shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        raise OutputError(
            f"{len(names)} of the files in {output.uri}/{PHOTOS} cannot be read ({shown}): run again with --repair, "
            f"which moves them to {output.uri}/{ASIDE} and encodes the photos that they held once more"
        ) from None


def repair(spark: SparkSession, output: FileSystem) -> list[str]:
    """Move the damaged files of the checkpoint out of it; returns their names."""
    names = find_damaged(spark, output)
    if names:
        FileSystem(spark, f"{output.uri}/{ASIDE}").make()
    for name in names:
        output.move(f"{PHOTOS}/{name}", f"{ASIDE}/{name}")
    return names


def find_damaged(spark: SparkSession, output: FileSystem) -> list[str]:
    """The names of the files that cannot be read whole, by halves: they are few."""
    if not output.exists(PHOTOS):
        return []
    children = FileSystem(spark, f"{output.uri}/{PHOTOS}").children()
    pending = [[name for status in children if (name := status.getPath().getName()).endswith(".parquet")]]
    damaged = list[str]()
    while pending:
        names = pending.pop()
        if not names or _reads(spark, [posixpath.join(output.uri, PHOTOS, name) for name in names]):
            continue
        half = len(names) // 2
        if half:
            pending += [names[:half], names[half:]]
        else:
            damaged += names
    return sorted(damaged)


def _reads(spark: SparkSession, paths: list[str]) -> bool:
    try:
        with step(spark, "look for damaged files of the checkpoint"):
            rows = spark.read.schema(SCHEMA).options(**AS_IT_IS, **VERIFY).parquet(*paths)
            rows.select(F.bit_xor(F.xxhash64("*"))).collect()
    except (Py4JJavaError, PySparkException):
        return False
    return True
