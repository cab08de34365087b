"""Files: Spark's binaryFile source over folders and archives, and the files that it drops without a word."""

import re
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.inputs.kinds import ENTRIES, IGNORED, IS_ARCHIVE, IS_PHOTO
from spark_job.spark.hadoop import AS_IT_IS

STATUS = "org.apache.hadoop.fs.FileStatus"
LEAST_TASKS = "spark.sql.files.minPartitionNum"  # in how many tasks files are read
FILES_A_TASK = 10_000  # of a listing: with a task go the names of its files


class Files(NamedTuple):
    """What lies in folders: the files, the entries of archives, as rows; and the URIs of the archives."""

    alone: DataFrame
    entries: DataFrame
    archives: list[str]


def open_files(spark: SparkSession, roots: list[str]) -> Files:
    """Spark's binaryFile source over all roots at once. Sets in how many tasks it is listed."""
    options: dict[str, Any] = {
        "recursiveFileLookup": True,
        "wholeFile": False,  # an archive gives a row for each entry
        "archivePathFilter": ENTRIES,  # neighbours of photos are not read
        "ignoredPathSegmentRegex": IGNORED,
        **AS_IT_IS,
    }
    rows = _load(spark.read.format("binaryFile").options(**options), roots)
    files = _scan(rows).relation().location().allFiles().size()
    spark.conf.set(LEAST_TASKS, max(files // FILES_A_TASK, spark.sparkContext.defaultParallelism))
    empty = _empty_files(rows)
    rows = rows.withColumn("source", F.col("_metadata.file_path"))
    is_archive = F.col("source").rlike(IS_ARCHIVE)
    entries, alone = rows.where(is_archive), rows.where(~is_archive)
    archives = [_uri(file.urlEncodedPath()) for file in _scan(entries).selectedPartitions().toPartitionArray()]
    archives += [uri for uri, *_ in empty if re.search(IS_ARCHIVE, uri)]
    if empty := [row for row in empty if not re.search(IS_ARCHIVE, row[0])]:
        alone = alone.unionByName(open_unlisted(spark, empty, b"").drop("is_photo"))
    return Files(
        alone.withColumn("is_photo", F.col("source").rlike(IS_PHOTO)),
        entries.withColumn("is_photo", F.col("path").rlike(IS_PHOTO)),
        archives,
    )


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


def open_unlisted(
    spark: SparkSession, rows: list[tuple[str, str, int, int]], content: bytes | None = None
) -> DataFrame:
    """Rows for files that Spark does not list, with this content: URI, path, length and time (ms) of each."""
    found = spark.createDataFrame(sorted(rows), "source string, path string, length long, modified_ms long")
    return found.select(
        "path",
        F.timestamp_millis("modified_ms").alias("modificationTime"),
        "length",
        F.lit(content).cast("binary").alias("content"),
        "source",
        F.lit(True).alias("is_photo"),
    )


def _empty_files(rows: DataFrame) -> list[tuple[str, str, int, int]]:
    """URI, path, length and time (ms) of the files of no bytes, which Spark's listing knows and its scan drops.

    All that it knows is on the driver, and stays in Java: the shortest come here, as many as are dropped.
    """
    scan = _scan(rows)
    known = scan.relation().location().allFiles()
    dropped = known.size() - scan.selectedPartitions().totalNumberOfFiles()
    if not dropped:
        return []
    jvm: Any = rows.sparkSession.sparkContext._jvm
    find_class, invoke = jvm.java.lang.Class.forName, jvm.java.lang.invoke
    returns_long = invoke.MethodType.methodType(jvm.java.lang.Long.TYPE)
    get_length = invoke.MethodHandles.publicLookup().findVirtual(find_class(STATUS), "getLen", returns_long)
    length = invoke.MethodHandleProxies.asInterfaceInstance(find_class("java.util.function.ToLongFunction"), get_length)
    by_length = jvm.java.util.Comparator.comparingLong(length)
    shortest = jvm.scala.jdk.javaapi.CollectionConverters.asJava(known).stream().sorted(by_length).limit(dropped)
    found = [(status.getPath(), status.getModificationTime()) for status in shortest.toArray()]
    return [(_uri(path.toUri().toString()), path.toString(), 0, modified_ms) for path, modified_ms in found]


def _scan(rows: DataFrame) -> Any:
    """The part of a query's plan that would read files."""
    return rows._jdf.queryExecution().sparkPlan().collectLeaves().head()


def _uri(uri: Any) -> str:
    """A file's URI as the column source has it: Java writes file:///a here."""
    return str(uri).replace(":///", ":/")
