"""Inputs: folders, globs, archives and Parquet tables -> DataFrames of photos, opened but not read."""

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple
from urllib.parse import quote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType

from spark_job.errors import InputError
from spark_job.hadoop import AS_IT_IS, FileSystem, reason
from spark_job.looks import Looks, local_path, look_through_all
from spark_job.names import named
from spark_job.session import step
from spark_job.settings import Settings

KEY = ["path", "length", "modificationTime"]  # of a photo: a row of these is of this photo as it is now
SUFFIX = r"\.(jpe?g|png|webp|bmp|gif|tiff?)$"
IS_PHOTO = rf"(?i)(^|/)[^./][^/]*{SUFFIX}"
IS_ARCHIVE = r"(?i)\.(tar|tar\.gz|tgz|zip|7z)$"  # what Spark 4.3 opens
# Kinds of rows of a listing that nothing can be read of: an archive's own, and files with names that Java cannot say.
DAMAGED, NAMELESS = NOT_READ = ("damaged", "nameless")
IS_TABLE = r"(?i)\.parquet$"
READABLE = "|".join(f"(?:{kind})".replace("(?:(?i)", "(?i:") for kind in (IS_PHOTO, IS_ARCHIVE, IS_TABLE))
# Listed: names that begin with _ (cameras write _DSC0001.jpg), and a dot before a photo's name (._IMG.jpg), so
# that it is counted as skipped. Not listed: other dot files, and dot folders.
# A dot alone is a folder itself: tar writes ./a.jpg.
IGNORED = rf"(?i)^\.(?!$|.*{SUFFIX})"


class Root(NamedTuple):
    """A folder or file that an input stands for: its path, its URI (percent-encoded), whether it is a folder."""

    path: str
    uri: str
    is_folder: bool


@dataclass(frozen=True)
class Sources:
    """The inputs by kind (file, archive, table), as DataFrames that are opened but not read.

    Columns: path, length, modificationTime, group, content; source, the URI of the file that holds the photo; is_photo.
    roots: what each input stands for; looks: what stands in the archives, and which of them are not opened.
    """

    kinds: dict[str, DataFrame]
    roots: dict[str, list[Root]]
    looks: Looks
    settings: Settings

    def listing(self) -> DataFrame:
        """All that the inputs hold, and its kind, without content: of files, Spark reads no byte for it."""
        parts = [part.drop("content").withColumn("kind", F.lit(kind)) for kind, part in self.kinds.items()]
        return reduce(DataFrame.unionByName, parts)

    def holds_photo(self) -> dict[str, Column]:
        """For each input, an aggregate over the listing: whether it holds a photo."""
        return {
            text: F.coalesce(F.bool_or(F.col("is_photo") & _lies_in(roots)), F.lit(False))
            for text, roots in self.roots.items()
        }


def open_inputs(spark: SparkSession, inputs: Sequence[str], settings: Settings) -> Sources:
    """The inputs: folders, globs, photos, archives, Parquet tables, by any URI that Spark reads.

    inputs: those of the settings, fetched.
    Raises InputError where one does not exist, cannot be listed, or is a file of another kind.
    """
    roots = {text: _resolve(spark, text) for text in inputs}
    distinct = {root.path: root for found in roots.values() for root in found}
    try:
        tables = [path for path, root in distinct.items() if _is_table(spark, path, root.is_folder)]
        binary = [path for path in _without_nested(distinct) if path not in tables]
        kinds = _open_binary(spark, binary) if binary else {}
        looks = look_through_all(spark, archives_of(kinds["archive"]) if binary else [], settings.max_bytes)
        if looks.refused:
            kinds["archive"] = kinds["archive"].where(~F.col("source").isin(list(looks.refused)))
        if looks.links:
            kinds["archive"] = _without_links(kinds["archive"], looks.links)
        if tables:
            kinds["table"] = reduce(DataFrame.unionByName, [_open_table(spark, table) for table in tables])
        nameless = [row for root in distinct.values() if root.is_folder for row in _nameless(root.uri)]
        if nameless:
            kinds["nameless"] = _open_nameless(spark, nameless)
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"the inputs cannot be listed: {reason(error)}") from None
    return Sources({kind: named(rows, settings) for kind, rows in kinds.items()}, roots, looks, settings)


def _resolve(spark: SparkSession, text: str) -> list[Root]:
    """What an input stands for: itself, or the matches of a glob."""
    try:
        files = FileSystem(spark, text)
        files.contact()
        paths = [(status.getPath(), status.isDirectory()) for status in files.glob()]
    except Py4JJavaError as error:
        raise InputError(f"input {text!r} cannot be read: {reason(error)}") from None
    if not paths:
        raise InputError(f"input {text!r} does not exist: check the path, or the pattern")
    # Java writes file:///a where Spark writes file:/a.
    roots = [
        Root(path.toString(), path.toUri().toString().replace(":///", ":/"), bool(is_folder))
        for path, is_folder in paths
    ]
    if not any(root.is_folder or re.search(READABLE, root.path) for root in roots):
        raise InputError(
            f"input {text!r} holds no photo: give a folder, a photo (jpg, png, webp, bmp, gif, tif), "
            "an archive (tar, tar.gz, tgz, zip) or a Parquet table"
        )
    return roots


def _lies_in(roots: list[Root]) -> Column:
    """Whether a row of the listing is of one of these."""
    folders = [F.col("source").startswith(root.uri.rstrip("/") + "/") for root in roots if root.is_folder]
    files = F.col("source").isin([root.uri for root in roots if not root.is_folder])
    return reduce(Column.__or__, folders, files)


def _is_table(spark: SparkSession, root: str, is_folder: bool) -> bool:
    """Whether a URI is a Parquet file, or a folder of such, or of partitions (name=value) of such."""
    if re.search(IS_TABLE, root):
        return True
    if not is_folder:
        return False
    for status in FileSystem(spark, root).children():
        name = status.getPath().getName()
        if re.search(IS_TABLE, name) and not status.isDirectory():
            return True
        if "=" in name and status.isDirectory():
            return _is_table(spark, status.getPath().toString(), True)
    return False


def _without_nested(roots: dict[str, Root]) -> Iterator[str]:
    """The paths less those that lie in another, whose photos would be read twice."""
    folders = {path.rstrip("/") for path, root in roots.items() if root.is_folder}
    for root in roots:
        parent = posixpath.dirname(root.rstrip("/"))
        while parent and parent not in folders and parent != posixpath.dirname(parent):
            parent = posixpath.dirname(parent)
        if parent not in folders:
            yield root


def _open_binary(spark: SparkSession, roots: list[str]) -> dict[str, DataFrame]:
    """Spark's binaryFile source over all roots at once: their files, and the entries of their archives."""
    options: dict[str, Any] = {
        "recursiveFileLookup": True,
        "wholeFile": False,  # an archive gives a row for each entry
        "ignoredPathSegmentRegex": IGNORED,
        **AS_IT_IS,
    }
    rows = spark.read.format("binaryFile").options(**options).load(roots)
    rows = rows.withColumn("source", F.col("_metadata.file_path"))
    is_archive = F.col("source").rlike(IS_ARCHIVE)
    files = rows.where(~is_archive)
    return {
        "file": files.unionByName(_empty_files(spark, files)).withColumn("is_photo", F.col("source").rlike(IS_PHOTO)),
        "archive": rows.where(is_archive).withColumn("is_photo", F.col("path").rlike(IS_PHOTO)),
    }


def _without_links(archives: DataFrame, links: list[str]) -> DataFrame:
    """The rows of archives, in which links, devices and pipes are no photos."""
    found = archives.sparkSession.createDataFrame([(path, True) for path in set(links)], "path string, is_link boolean")
    is_photo = F.col("is_photo") & F.col("is_link").isNull()
    return archives.join(F.broadcast(found), "path", "left").withColumn("is_photo", is_photo).drop("is_link")


def _empty_files(spark: SparkSession, files: DataFrame) -> DataFrame:
    """The files of no bytes, which Spark's listing knows and its scan drops without a word."""
    jvm: Any = spark.sparkContext._jvm
    known = [uri for uri in known_files(files) if not re.search(IS_ARCHIVE, uri)]
    dropped: list[str] = []
    with step(spark, "look for files of no bytes"):
        if known and files.count() < len(known):
            sources = spark.createDataFrame([(uri,) for uri in known], "source string")
            dropped = [row.source for row in sources.join(files.select("source"), "source", "left_anti").collect()]
    paths = [jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(uri)).toString() for uri in dropped]
    found = [(uri, path, FileSystem(spark, path).modified_ms()) for uri, path in zip(dropped, paths, strict=True)]
    return spark.createDataFrame(found, "source string, path string, modified_ms long").select(
        "path",
        F.timestamp_millis("modified_ms").alias("modificationTime"),
        F.lit(0).cast("long").alias("length"),
        F.lit(b"").alias("content"),
        "source",
    )


def _nameless(root: str) -> Iterator[tuple[str, str, int, int]]:
    """URI, path, length and time (ms) of the photos of a local folder whose names are no UTF-8.

    Java does not list them, and could not open them.
    """
    if not root.startswith("file:"):
        return
    top = os.fsencode(local_path(root))
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not re.search(IGNORED, os.fsdecode(name))]
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 bytes, which pathlib does not take
            try:
                path.decode()
            except UnicodeDecodeError:
                text = path.decode(errors="backslashreplace")
                if re.search(IS_PHOTO, text):
                    told = os.stat(path, follow_symlinks=False)  # noqa: PTH116
                    yield root + quote(path[len(top) :]), f"file:{text}", told.st_size, told.st_mtime_ns // 10**6


def _open_nameless(spark: SparkSession, rows: list[tuple[str, str, int, int]]) -> DataFrame:
    found = spark.createDataFrame(sorted(set(rows)), "source string, path string, length long, modified_ms long")
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


def _open_table(spark: SparkSession, root: str) -> DataFrame:
    """A Parquet table with a binary column content; path, length and modificationTime where it has them."""
    table = spark.read.options(**AS_IT_IS).parquet(root)
    types = dict(zip(table.columns, (field.dataType for field in table.schema), strict=True))
    if not isinstance(types.get("content"), BinaryType):
        raise InputError(
            f"table {root!r} has no binary column 'content' to read photos from: its columns are {', '.join(types)}"
        )
    row_path = F.concat("_metadata.file_path", F.lit("#"), F.col("_metadata.row_index").cast("string"))
    defaults = {
        "path": row_path,
        "length": F.octet_length("content"),
        "modificationTime": F.col("_metadata.file_modification_time"),
    }
    own = {name: F.coalesce(name, default) if name in types else default for name, default in defaults.items()}
    return table.select(
        own["path"].cast("string").alias("path"),
        own["length"].cast("long").alias("length"),
        own["modificationTime"].cast("timestamp").alias("modificationTime"),
        "content",
        F.col("_metadata.file_path").alias("source"),
        F.lit(True).alias("is_photo"),
    )
