"""Archives: one that is damaged, cut short, empty or no archive costs what it lost, not the run."""

import contextlib
import functools
import posixpath
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType

from spark_job.inputs.files import LEAST_TASKS
from spark_job.inputs.kinds import DAMAGED
from spark_job.inputs.looks import local_path
from spark_job.inputs.names import named
from spark_job.inputs.sources import Sources
from spark_job.row import KEY
from spark_job.spark.hadoop import FileSystem, path_of
from spark_job.spark.session import on_disk, step

IGNORE = ("spark.sql.files.ignoreCorruptFiles", "spark.sql.files.ignoreMissingFiles")
OWN = "source string, path string, length long, modified_ms long"


@contextmanager
def leniently(spark: SparkSession) -> Iterator[None]:
    """While the body runs, Spark leaves off in a file where it is damaged or has gone, and says nothing.

    Only for what is compared afterwards with what should have come. What is read later is read in few tasks again.
    """
    before = {name: str(spark.conf.get(name)) for name in IGNORE}
    try:
        for name in IGNORE:
            spark.conf.set(name, "true")
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
        spark.conf.unset(LEAST_TASKS)


def with_damaged(sources: Sources, held: ExitStack) -> DataFrame:
    """The listing, with a row for each archive that is damaged, empty or refused, and what it still holds.

    It is kept on disk until held ends. Raises what Spark raises where the listing fails for another cause.
    """
    rows, damaged = on_disk(sources.listing(), held), list[str]()
    if sources.looks.odd:
        try:
            _list(rows)
        except (Py4JJavaError, PySparkException):
            rows.unpersist()
            damaged = find_damaged(sources.kinds["archive"], sources.looks.odd)
            if not damaged:
                raise
            rows = on_disk(sources.listing().where(~F.col("source").isin(damaged)), held)
            _list(rows)
    own = {*damaged, *sources.looks.refused, *sources.looks.empty}
    if not own:
        return rows
    rows = rows.unionByName(named(_own_rows(rows.sparkSession, sorted(own)), sources.settings))
    if damaged:
        rows = rows.unionByName(_entries_of(sources.kinds["archive"], damaged))
    return on_disk(rows, held)


def find_damaged(archives: DataFrame, names: list[str]) -> list[str]:
    """Those of the archives with these URIs that cannot be listed to their end, by halves: they are few."""
    pending, damaged = [names], list[str]()
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


def one_by_one(entries: DataFrame, max_bytes: int) -> DataFrame:
    """The entries of local zips (rows of a listing) that can be read by themselves, with their content.

    Spark leaves off at the first entry that is damaged or encrypted; a zip's directory knows where the others are.
    """
    zipped = entries.where(F.col("name").isNotNull() & F.col("source").startswith("file:"))
    read = F.udf(functools.partial(_zip_entry, max_bytes), BinaryType()).asNondeterministic()
    with_content = zipped.select(*KEY, "group", read("source", "name", "length").alias("content"))
    return with_content.where("content IS NOT NULL")


def _zip_entry(max_bytes: int, source: str, name: str, length: int) -> bytes | None:
    """The bytes of an entry of a zip, of that length and with the right checksum; None where there are none."""
    with contextlib.suppress(Exception):  # zipfile raises any type where an entry is damaged or encrypted
        path = local_path(source)
        archive, entries = _open_zip(path, path.stat().st_mtime_ns)
        for entry in entries.get(name.split("!/", 1)[1], []):
            if entry.file_size == length <= max_bytes:
                with archive.open(entry) as file:
                    content = file.read(max_bytes + 1)
                return content if len(content) == length else None
    return None


@functools.lru_cache(maxsize=1)
def _open_zip(path: Path, modified_ns: int) -> tuple[zipfile.ZipFile, dict[str, list[zipfile.ZipInfo]]]:
    """A zip, and its entries by the names that Spark lists them by. modified_ns: one replaced is opened anew."""
    archive = zipfile.ZipFile(path)
    entries: dict[str, list[zipfile.ZipInfo]] = {}
    for entry in archive.infolist():
        entries.setdefault(posixpath.normpath(entry.filename).lstrip("/"), []).append(entry)
    return archive, entries


def _entries_of(archives: DataFrame, damaged: list[str]) -> DataFrame:
    """The listing of what stands in damaged archives before the damage."""
    entries = (
        archives.drop("content")
        .where(F.col("source").isin(damaged) & F.col("is_photo"))
        .withColumn("kind", F.lit("archive"))
    )
    with leniently(archives.sparkSession):
        held = entries.persist()
        with step(archives.sparkSession, "list what damaged archives still hold"):
            held.count()
    return held


def _list(listing: DataFrame) -> None:
    with step(listing.sparkSession, "list the entries of the archives"):
        listing.count()


def _reads(archives: DataFrame) -> bool:
    try:
        with step(archives.sparkSession, "look for damaged archives"):
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
    return FileSystem(spark, path_of(uri)).status()
