"""Again: photos of a run that is over, read once more by their paths, where they are what they were."""

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import InputError
from spark_job.inputs.files import LEAST_TASKS, open_files
from spark_job.inputs.kinds import ADDRESS
from spark_job.inputs.photos import task_count
from spark_job.inputs.roots import resolve
from spark_job.inputs.sources import open_inputs
from spark_job.inputs.tables import is_table
from spark_job.row import KEY
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem, reason

ARCHIVED = re.compile(r"(?i)(.+?\.(?:tar|tar\.gz|tgz|zip))!/")
IN_TABLE = re.compile(r"(?i)(.+?\.parquet)#[0-9]+$")
THREADS = 16  # that ask an object store whether files are there


class Key(NamedTuple):
    """A photo as its row has it; modified_us: microseconds since 1970."""

    path: str
    length: int
    modified_us: int


def read_again(spark: SparkSession, photos: Sequence[Key], settings: Settings) -> DataFrame:
    """KEY and content of these photos, in any order; one that is gone, or is another by now, has no row.

    settings: those of the run. To be read leniently. Raises InputError where a storage does not answer.
    """
    try:
        parts = _opened(spark, [photo.path for photo in photos], settings)
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"the photos cannot be read once more: {reason(error)}") from None
    keys = spark.createDataFrame(photos, "path string, length long, modified_us long")
    keys = keys.select("path", "length", F.timestamp_micros("modified_us").alias("modificationTime"))
    tasks = task_count(len(photos), spark.sparkContext.defaultParallelism)
    spark.conf.set(LEAST_TASKS, tasks)
    wanted = [part.select(*KEY, "content").join(F.broadcast(keys), KEY, "left_semi") for part in parts]
    nothing = spark.createDataFrame([], "path string, length long, modificationTime timestamp, content binary")
    return reduce(DataFrame.unionByName, wanted, nothing).repartition(tasks, "path")


def archive_of(path: str) -> str | None:
    """The archive that a photo lies in, which is read through for any of its entries."""
    found = ARCHIVED.match(path)
    return found[1] if found else None


def _opened(spark: SparkSession, paths: list[str], settings: Settings) -> list[DataFrame]:
    """The files, archives and tables that hold these photos and are still there, opened but not read."""
    archives = {archive for path in paths if (archive := archive_of(path))}
    tables = {unquote(found[1]) for path in paths if (found := IN_TABLE.match(path))}
    alone = [path for path in paths if not (ARCHIVED.match(path) or IN_TABLE.match(path))]
    files = _there(spark, alone)
    if len(files) < len(alone):  # a table may say itself what its photos are called
        tables |= {text for text in _there(spark, settings.inputs) if _is_table(spark, text)}
    parts = [open_files(spark, files).alone] if files else []
    if others := _there(spark, sorted(archives | tables)):
        sources = open_inputs(spark, others, settings)
        sources.looks.forget()
        parts += [rows for kind, rows in sources.kinds.items() if kind != ADDRESS]
    return parts


def _there(spark: SparkSession, paths: Iterable[str]) -> list[str]:
    """Those of the files or folders that exist."""
    paths = list(paths)
    with ThreadPoolExecutor(THREADS) as threads:
        exists = threads.map(lambda path: FileSystem(spark, path).exists(), paths)
        return [path for path, is_there in zip(paths, exists, strict=True) if is_there]


def _is_table(spark: SparkSession, text: str) -> bool:
    return any(is_table(spark, root.path, root.is_folder) for root in resolve(spark, text))
