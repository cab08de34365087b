"""Files: Spark's binaryFile source over folders and archives, and the files that it drops without a word."""

import re
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.inputs.kinds import IGNORED, IS_ARCHIVE, IS_PHOTO
from spark_job.spark.hadoop import AS_IT_IS, FileSystem, path_of
from spark_job.spark.session import step


def open_files(spark: SparkSession, roots: list[str]) -> dict[str, DataFrame]:
    """Spark's binaryFile source over all roots at once: their files, and the entries of their archives."""
    options: dict[str, Any] = {
        "recursiveFileLookup": True,
        "wholeFile": False,  # an archive gives a row for each entry
        "ignoredPathSegmentRegex": IGNORED,
        **AS_IT_IS,
    }
    rows = _load(spark.read.format("binaryFile").options(**options), roots)
    rows = rows.withColumn("source", F.col("_metadata.file_path"))
    is_archive = F.col("source").rlike(IS_ARCHIVE)
    files = rows.where(~is_archive)
    return {
        "file": files.unionByName(_empty_files(spark, files)).withColumn("is_photo", F.col("source").rlike(IS_PHOTO)),
        "archive": rows.where(is_archive).withColumn("is_photo", F.col("path").rlike(IS_PHOTO)),
    }


def _load(reader: Any, paths: list[str]) -> DataFrame:
    """What reader.load does, of however many paths: as one string, since each element of a list is a call to Java."""
    jvm: Any = reader._spark.sparkContext._jvm
    joined = jvm.org.apache.hadoop.util.StringUtils.getStringCollection("\0".join(paths), "\0")
    return reader._df(reader._jreader.load(jvm.PythonUtils.toSeq(joined)))  # type: ignore[no-any-return]


def without_links(archives: DataFrame, links: list[str]) -> DataFrame:
    """The rows of archives, in which links, devices and pipes are no photos."""
    found = archives.sparkSession.createDataFrame([(path, True) for path in set(links)], "path string, is_link boolean")
    is_photo = F.col("is_photo") & F.col("is_link").isNull()
    return archives.join(F.broadcast(found), "path", "left").withColumn("is_photo", is_photo).drop("is_link")


def _empty_files(spark: SparkSession, files: DataFrame) -> DataFrame:
    """The files of no bytes, which Spark's listing knows and its scan drops without a word."""
    known = [uri for uri in known_files(files) if not re.search(IS_ARCHIVE, uri)]
    dropped: list[str] = []
    with step(spark, "look for files of no bytes"):
        if known and files.count() < len(known):
            sources = spark.createDataFrame([(uri,) for uri in known], "source string")
            dropped = [row.source for row in sources.join(files.select("source"), "source", "left_anti").collect()]
    paths = {uri: path_of(uri) for uri in dropped}
    found = [(uri, path, FileSystem(spark, path).modified_ms()) for uri, path in paths.items()]
    return spark.createDataFrame(found, "source string, path string, modified_ms long").select(
        "path",
        F.timestamp_millis("modified_ms").alias("modificationTime"),
        F.lit(0).cast("long").alias("length"),
        F.lit(b"").alias("content"),
        "source",
    )


def open_unlisted(spark: SparkSession, rows: list[tuple[str, str, int, int]]) -> DataFrame:
    """Rows without content for photos and archives of which there is none: URI, path, length and time (ms) of each."""
    found = spark.createDataFrame(sorted(rows), "source string, path string, length long, modified_ms long")
    return found.select(
        "path",
        F.timestamp_millis("modified_ms").alias("modificationTime"),
        "length",
        F.lit(None).cast("binary").alias("content"),
        "source",
        F.lit(True).alias("is_photo"),
    )


def archives_of(rows: DataFrame) -> list[str]:
    """The URIs of the archives among a reader's files."""
    return [uri for uri in known_files(rows) if re.search(IS_ARCHIVE, uri)]


def known_files(rows: DataFrame) -> list[str]:
    """The URIs of all files that a reader's listing knows, as the column source has them."""
    jvm: Any = rows.sparkSession.sparkContext._jvm
    # One string, since each element of a Java array is a call; a URI has no line end. Java writes file:///a here.
    joined = jvm.org.apache.hadoop.util.StringUtils.join("\n", rows._jdf.inputFiles()).replace(":///", ":/")
    return [uri for uri in joined.split("\n") if uri]
