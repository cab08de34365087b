"""Looks: through every archive, in Spark's workers, before Spark opens any of them."""

import functools
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pyspark.sql import SparkSession

from spark_job.inputs.bombs import NOTHING, BombError, Look, most_inflated
from spark_job.inputs.tars import Inflated, look_through_tar
from spark_job.inputs.zips import check_inflated, look_through_zip
from spark_job.spark.copies import with_copies
from spark_job.spark.hadoop import path_of
from spark_job.spark.session import step

ENTRIES_A_TASK = 64
MAX_TASKS_A_CORE = 8
NO_7Z = ("unsupported", "7z archives are not read: pack the photos as tar, tar.gz or zip")


class Looks(NamedTuple):
    """What a look through several archives finds.

    refused: the URIs of those not to be opened -> status and message; outside as in Look; links: paths of such rows.
    """

    refused: dict[str, tuple[str, str]]
    outside: int
    links: list[str]


def look_through_all(spark: SparkSession, uris: list[str], max_bytes: int) -> Looks:
    """Look through archives, in Spark's workers; through those that are in no mounted file system, by copies."""
    refused = {uri: NO_7Z for uri in uris if uri.lower().endswith(".7z")}
    here = [uri for uri in uris if uri not in refused and urlsplit(uri).scheme == "file"]
    away = {path_of(uri): uri for uri in uris if uri not in refused and urlsplit(uri).scheme != "file"}
    looks = _in_tasks(spark, functools.partial(_look, max_bytes), here)
    chunks = [
        (uri, look.deflated[i : i + ENTRIES_A_TASK])
        for uri, look in looks
        if isinstance(look, Look)
        for i in range(0, len(look.deflated), ENTRIES_A_TASK)
    ]
    checks = _in_tasks(spark, functools.partial(_check, max_bytes), chunks)
    if away:
        with step(spark, "look through copies of the archives"):
            copied = with_copies(spark, functools.partial(_look_at_copy, max_bytes), list(away))
            looks += [(away[path], told) for path, told in copied]
    refused |= {uri: told for uri, told in looks + checks if not isinstance(told, Look)}
    good = [(path_of(uri), look) for uri, look in looks if isinstance(look, Look) and uri not in refused]
    links = [f"{path}!/{posixpath.normpath(name).lstrip('/')}" for path, look in good for name in look.links]
    return Looks(refused, sum(look.outside for _, look in good), links)


def _in_tasks(
    spark: SparkSession, work: Callable[[Any], tuple[str, Look | tuple[str, str]]], items: list[Any]
) -> list[tuple[str, Look | tuple[str, str]]]:
    """work of each item, in Spark's workers."""
    if not items:
        return []
    context = spark.sparkContext
    tasks = min(len(items), MAX_TASKS_A_CORE * context.defaultParallelism)
    with step(spark, "look through the archives"):
        return context.parallelize(items, tasks).map(work).collect()


def _look(max_bytes: int, uri: str) -> tuple[str, Look | tuple[str, str]]:
    """The URI, and the look through it or why it is not to be opened."""
    try:
        return uri, look_through(local_path(uri), max_bytes)
    except BombError as bomb:
        return uri, bomb.told
    except OSError:  # Spark says what there is to say
        return uri, NOTHING


def _check(max_bytes: int, chunk: tuple[str, list[tuple[int, int]]]) -> tuple[str, Look | tuple[str, str]]:
    uri, entries = chunk
    try:
        check_inflated(local_path(uri), entries, max_bytes)
    except BombError as bomb:
        return uri, bomb.told
    except OSError:
        return uri, NOTHING
    return uri, NOTHING


def _look_at_copy(max_bytes: int, path: str, copy: Path) -> tuple[str, Look | tuple[str, str]]:
    """The path, and the look through a copy of the archive there or why that is not to be opened."""
    try:
        look = look_through(copy, max_bytes)
        check_inflated(copy, look.deflated, max_bytes)
    except BombError as bomb:
        return path, bomb.told
    return path, look


def local_path(uri: str) -> Path:
    """The path of a file: URI, percent signs decoded."""
    return Path(path_of(uri).removeprefix("file:"))


def look_through(path: Path, max_bytes: int) -> Look:
    """The entries of a local archive by their headers, and of a tar.gz by its bytes. Raises BombError; OSError.

    What is damaged is left to Spark, which says so; a zip that Python cannot open is refused.
    """
    with path.open("rb") as file:
        length = path.stat().st_size
        if path.suffix.lower() == ".zip":
            return look_through_zip(file, length, max_bytes)
        if path.suffix.lower() == ".tar":
            return look_through_tar(file.read, lambda n: file.seek(n, 1))
        with_limit = Inflated(file, most_inflated(length))
        return look_through_tar(with_limit.read, with_limit.skip)
