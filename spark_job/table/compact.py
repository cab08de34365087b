"""Compact: few large files in the place of many small ones in OUTPUT/photos.

New files are written into a folder that no reader looks into. Then a manifest names them, and the old ones whose rows
they hold: from there it only goes forward. The new ones move in, the old ones go, the folder goes. Whoever holds the
output next finishes that, or, where there is no manifest, removes what was begun. Meanwhile rows are there twice, and
count once.
"""

import json
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from spark_job.errors import OutputError
from spark_job.inputs.files import LEAST_TASKS
from spark_job.spark.hadoop import FileSystem, path_of
from spark_job.spark.session import compile_for, step
from spark_job.table.store import BY_TASK, PHOTOS, ROW_GROUPS, read_photos

WORK = ".compact"
MANIFEST = f"{WORK}/manifest.json"
# Files of 64 to 512 MB are what Spark and people read well: smaller ones are merged into ones of about the target.
SMALL_BYTES, TARGET_BYTES = 64 * 2**20, 256 * 2**20
# So many files of so few bytes are felt in each run, which lists and opens them.
MANY_FILES, FEW_BYTES = 1000, 16 * 2**20
# What Spark says of where a row lies: its file, the bytes of that, and its place in it.
FILE, BYTES, ROW = (f"_metadata.{name}" for name in ("file_name", "file_size", "row_index"))


class File(NamedTuple):
    """How many bytes and rows a file of the table has."""

    size: int
    rows: int


def advice(output: FileSystem) -> str | None:
    """A line that names facemean compact, where that is worth its time."""
    files, size = output.usage(PHOTOS)
    if files <= MANY_FILES or size >= files * FEW_BYTES:
        return None
    return f"photos/ holds {files:,} files of {size / files / 1e6:.1f} MB: facemean compact {output.uri} makes them few"


def names_of(rows: DataFrame) -> list[str]:
    """The names of the table's files."""
    return [path_of(uri).rpartition("/")[2] for uri in rows.inputFiles()]


def files_of(rows: DataFrame) -> dict[str, File]:
    """The files that have rows, by name: no row is read."""
    counted = rows.groupBy(F.col(FILE).alias("file"), F.col(BYTES).alias("size")).agg(F.count("*").alias("rows"))
    return {row.file: File(row["size"], row.rows) for row in counted.collect()}


def merge(
    output: FileSystem,
    rows: DataFrame,
    files: Mapping[str, File],
    stale: DataFrame | None = None,
    dropped: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Put new files in the place of the small ones, and of those that have stale rows.

    rows: the table, and files, which files_of gives of it; stale: file, and row, the place in it, of each row that is
    to go; dropped: how many those are of a file. Raises OutputError, and then nothing has changed.
    """
    merged = {name: file for name, file in files.items() if file.size < SMALL_BYTES or name in dropped}
    old = [name for name in names_of(rows) if name in merged or name not in files]
    kept = {name: file.rows - dropped.get(name, 0) for name, file in merged.items()}
    size = sum(file.size * kept[name] / file.rows for name, file in merged.items())
    count = max(1, round(size / TARGET_BYTES))
    if len(old) <= count and not dropped:
        return
    large = [name for name, file in merged.items() if file.size >= SMALL_BYTES]
    chosen = rows.where((F.col(BYTES) < SMALL_BYTES) | F.col(FILE).isin(large))
    if stale is not None and dropped:
        placed = chosen.select("*", F.col(FILE).alias("file"), F.col(ROW).alias("row"))
        chosen = placed.join(stale, ["file", "row"], "left_anti").drop("file", "row")
    new = _written(output, chosen, count, sum(kept.values()))
    output.replace_file(MANIFEST, json.dumps({"new": new, "old": old}).encode())
    settle(output)


def settle(output: FileSystem) -> None:
    """Finish what a compaction had begun when it was broken off, or undo it."""
    if not output.exists(WORK):
        return
    if output.exists(MANIFEST):
        _swap(output, **json.loads(output.read(MANIFEST)))
    output.remove(WORK)


def _swap(output: FileSystem, new: Collection[str], old: Collection[str]) -> None:
    """Put the new files in the place of the old ones, whatever of it has been done already."""
    for name in new:
        if not output.exists(PHOTOS, name):
            output.move(f"{WORK}/{name}", f"{PHOTOS}/{name}")
    if output.is_local:
        os.sync()  # or a power cut may leave a disk that knows that the old ones are gone, and has no new ones
    output.remove_files(PHOTOS, old)


def _written(output: FileSystem, rows: DataFrame, count: int, expected: int) -> list[str]:
    """The names of the new files with these rows, which were read once more."""
    spark, folder, seen = rows.sparkSession, f"{output.uri}/{WORK}", Observation()
    compile_for(spark, expected)
    # By default, small files are read together as if each were of 4 MiB.
    spark.conf.set("spark.sql.files.openCostInBytes", "0")
    spark.conf.set(LEAST_TASKS, str(count))
    with step(spark, f"write {expected:,} rows into {count:,} files"):
        rows.coalesce(count).observe(seen, *_sums(rows.columns)).write.options(**BY_TASK, **ROW_GROUPS).parquet(folder)
    names = [name for name in FileSystem(spark, folder).names() if name.endswith(".parquet")]
    with step(spark, f"read {expected:,} rows again"):
        found = read_photos(spark, folder).agg(*_sums(rows.columns)).collect()[0].asDict()
    if found != seen.get or found["rows"] != expected:
        raise OutputError(
            f"{folder} holds {found['rows']:,} rows, and not the {expected:,} that were to be written, or others: "
            f"{PHOTOS}/ is as it was, so try again"
        )
    return names


def _sums(columns: Collection[str]) -> list[Column]:
    """rows and digest, which are the same for the same rows in any order."""
    return [F.count("*").alias("rows"), F.sum(F.xxhash64(*columns).bitwiseAND(F.lit(2**32 - 1))).alias("digest")]
