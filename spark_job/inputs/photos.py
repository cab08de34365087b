"""Photos: one row per photo of the inputs, first without its content, then with it."""

import math
from contextlib import ExitStack
from functools import reduce
from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.errors import InputError
from spark_job.inputs.archives import with_damaged
from spark_job.inputs.files import LEAST_TASKS
from spark_job.inputs.kinds import ADDRESS, NOT_READ
from spark_job.inputs.names import hashed
from spark_job.inputs.sources import Sources
from spark_job.row import KEY
from spark_job.spark.hadoop import reason
from spark_job.spark.session import step

# Up to so many files are named to Spark one by one, so that only their bytes are read.
MAX_NAMED = 100_000
# A source of fewer partitions for each core than this is spread over more by a shuffle.
MIN_PARTITIONS_A_CORE = 8
# A task is a checkpoint, and costs Spark some 60 ms of a core: neither too many photos nor too few.
TASKS_A_CORE = 32
PHOTOS_A_TASK = (4, 1024)
# The driver keeps an account of each, and each makes a file: of more than twenty million photos, tasks are larger.
MAX_TASKS = 20_000
EXAMPLES = 3
DIGESTS = 2  # of 64 bits each


class Listing(NamedTuple):
    """photos: path, length, modificationTime, group, source and kind of each, once; and what was counted on the way.

    digest: of the photos and their groups, whatever their order.
    """

    photos: DataFrame
    listed: int
    digest: str
    listed_twice: int
    linked_twice: int
    skipped: int
    skipped_examples: list[str]


def list_photos(sources: Sources, held: ExitStack) -> Listing:
    """The photos of the inputs, each once, and what else lies there, kept on disk until held ends.

    Raises InputError where an input holds no photo.
    """
    holds_photo, looked = sources.holds_photo(), sources.looks
    is_photo = F.col("is_photo")
    # As many hashes as photos are as many keys; of fewer, keys are counted themselves.
    hashes = F.count_distinct(F.when(is_photo, F.xxhash64(*KEY)))
    digests = [F.bit_xor(F.when(is_photo, F.xxhash64(F.lit(i), *KEY, "group"))) for i in range(DIGESTS)]
    try:
        rows = with_damaged(sources, held)
        with step(rows.sparkSession, "count the photos of the inputs"):
            photos, others, distinct, *told = rows.agg(
                F.count_if(is_photo), F.count_if(~is_photo), hashes, *digests, *holds_photo.values()
            ).collect()[0]
            if distinct < photos:
                distinct = rows.where(is_photo).select(*KEY).distinct().count()
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"the inputs cannot be listed: {reason(error)}") from None
    for text, holds in zip(holds_photo, told[DIGESTS:], strict=True):
        if not holds and not any(map(sources.links.leads_elsewhere, sources.roots[text])):
            raise InputError(f"input {text!r} holds no photo: jpg, jpeg, png, webp, bmp, gif, tif or tiff")
    rows.sparkSession.conf.unset(LEAST_TASKS)
    looked.forget()
    examples = [row.path for row in rows.where(~is_photo).select("path").limit(EXAMPLES).collect()] if others else []
    examples += map(hashed, looked.examples) if sources.settings.hash_paths else looked.examples
    wanted = rows.where(is_photo)
    once = wanted if photos == distinct else wanted.dropDuplicates(KEY)
    digest = "-".join(map(str, (photos, distinct, *told[:DIGESTS])))
    skipped = others + looked.others + looked.outside
    return Listing(once, distinct, digest, photos - distinct, sources.links.twice(), skipped, examples)


def contents(sources: Sources, wanted: DataFrame, is_all: bool, max_bytes: int) -> DataFrame:
    """The wanted photos (path, length, modificationTime, group) with their content, spread over tasks.

    wanted: rows of the listing; is_all: whether it is the whole of it. content is null where the photo is longer
    than max_bytes, and such a one is never read. Of the files, only those that hold a wanted photo are opened.
    address: where the worker that encodes a photo reads it; null of those whose content is here.
    """
    spark = wanted.sparkSession
    cores = spark.sparkContext.defaultParallelism
    is_small, can_be_read = F.col("length") <= max_bytes, ~F.col("kind").isin(*NOT_READ)
    nothing, nowhere = F.lit(None).cast("binary").alias("content"), F.lit(None).cast("string").alias("address")
    large = wanted.where(~is_small & can_be_read).select(*KEY, "group", nothing, nowhere)
    parts = list[DataFrame]()
    readable = wanted.where(can_be_read)
    with step(spark, "find the files that hold the photos"):
        named = None if is_all else _sources_of(wanted)
        counts = readable.groupBy("kind").agg(F.count("*"), F.count_distinct("source")).collect()
    fewest = 0
    for kind, photos, files in counts:
        if kind == ADDRESS:
            part = wanted.where((F.col("kind") == kind) & is_small).repartition(task_count(photos, cores), "path")
            parts.append(part.select(*KEY, "group", nothing, F.coalesce("name", F.lit("")).alias("address")))
            continue
        part = sources.kinds[kind].where(F.col("is_photo") & is_small)
        if named is not None:
            part = part.where(f"source IN ({', '.join(map(_sql_string, named))})")
        part = part.select(*KEY, "group", "content", nowhere)
        if not is_all and (kind != "file" or named is None):
            keys = wanted.where(F.col("kind") == kind).select(*KEY)
            part = part.join(keys.hint("broadcast" if photos <= MAX_NAMED else "shuffle_hash"), KEY, "left_semi")
        fewest = max(fewest, task_count(photos, cores))  # tables are split between their groups of rows, archives not
        if kind != "file" and files < MIN_PARTITIONS_A_CORE * cores:
            part = part.repartition(task_count(photos, cores), "path")
        parts.append(part)
    if fewest:
        spark.conf.set(LEAST_TASKS, fewest)
    # Of the first partition, Spark writes a file even where it has no rows.
    return reduce(DataFrame.unionByName, [*parts, large])


def task_count(photos: int, cores: int) -> int:
    """How many tasks encode so many photos."""
    fewest, most = PHOTOS_A_TASK
    a_task = min(max(photos // (TASKS_A_CORE * cores), fewest), most)
    return min(math.ceil(photos / a_task), MAX_TASKS)


def _sources_of(wanted: DataFrame) -> list[str] | None:
    """The files that hold the wanted photos; None where they are too many to name."""
    rows = wanted.select("source").distinct().limit(MAX_NAMED + 1).collect()
    return [row.source for row in rows] if len(rows) <= MAX_NAMED else None


def _sql_string(text: str) -> str:
    r"""A string as a literal of Spark's SQL; for a URI, in which a backslash is always %5C."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
