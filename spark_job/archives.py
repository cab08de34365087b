"""Archives: one that is damaged, cut short, empty or no archive costs what it lost, not the run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.hadoop import FileSystem
from spark_job.inputs import IS_ARCHIVE, known_files

IGNORE = "spark.sql.files.ignoreCorruptFiles"
DAMAGED = "damaged"  # the kind of an archive's own row in a listing
OWN = "source string, path string, length long, modified_ms long"


@contextmanager
def leniently(spark: SparkSession) -> Iterator[None]:
    """While the body runs, Spark leaves off in a file where it is damaged, and says nothing.

    Only for what is compared afterwards with what should have come.
    """
    before = spark.conf.get(IGNORE)
    spark.conf.set(IGNORE, "true")
    try:
        yield
    finally:
        spark.conf.set(IGNORE, str(before))


def with_damaged(listing: DataFrame, archives: DataFrame) -> DataFrame:
    """The listing, persisted, with a row for each archive that is damaged or empty, and the entries it still holds.

    archives: the rows of Sources for archives. Raises what Spark raises where the listing fails for another cause.
    """
    spark = archives.sparkSession
    rows, damaged = listing.persist(), list[str]()
    try:
        told = _sources_in(rows)
    except (Py4JJavaError, PySparkException):
        rows.unpersist()
        damaged = find_damaged(archives)
        if not damaged:
            raise
        rows = listing.where(~F.col("source").isin(damaged)).persist()
        told = _sources_in(rows)
    silent = set(files_of(archives)) - told - set(damaged)
    empty = [name for name in silent if _status(spark, name).getLen() == 0]
    if not damaged and not empty:
        return rows
    return rows.unionByName(_own_rows(spark, damaged + empty)).unionByName(_entries_of(archives, damaged)).persist()


def find_damaged(archives: DataFrame) -> list[str]:
    """The URIs of the archives that cannot be listed to their end, by halves: they are few."""
    pending, damaged = [files_of(archives)], list[str]()
    while pending:
        names = pending.pop()
        if not names or _reads(archives.where(F.col("source").isin(names))):
            continue
        if len(names) == 1:
            damaged += names
        else:
            half = len(names) // 2
            pending += [names[:half], names[half:]]
    return sorted(damaged)


def _entries_of(archives: DataFrame, damaged: list[str]) -> DataFrame:
    """The listing of what stands in damaged archives before the damage."""
    entries = archives.drop("content").where(F.col("source").isin(damaged)).withColumn("kind", F.lit("archive"))
    with leniently(archives.sparkSession):
        held = entries.persist()
        held.count()
    return held


def _sources_in(listing: DataFrame) -> set[str]:
    return {row.source for row in listing.where("kind = 'archive'").select("source").distinct().collect()}


def files_of(archives: DataFrame) -> list[str]:
    """The URIs of the archives, as the column source has them."""
    return [uri for uri in known_files(archives) if re.search(IS_ARCHIVE, uri)]


def _reads(archives: DataFrame) -> bool:
    try:
        archives.select(F.count("path"), F.sum("length")).collect()
    except (Py4JJavaError, PySparkException):
        return False
    return True


def _own_rows(spark: SparkSession, names: list[str]) -> DataFrame:
    """A row of the listing for each archive itself."""
    found = [(name, _status(spark, name)) for name in names]
    rows = [(name, s.getPath().toString(), s.getLen(), s.getModificationTime()) for name, s in found]
    return spark.createDataFrame(rows, OWN).select(
        "path",
        "length",
        F.timestamp_millis("modified_ms").alias("modificationTime"),
        "source",
        F.lit(True).alias("is_photo"),
        F.lit(DAMAGED).alias("kind"),
    )


def _status(spark: SparkSession, uri: str) -> Any:
    jvm: Any = spark.sparkContext._jvm
    return FileSystem(spark, jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(uri)).toString()).status()
