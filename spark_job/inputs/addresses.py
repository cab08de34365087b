"""Addresses: tables and lists that say where photos are and do not hold them, as object stores write inventories.

A row's key is what Spark's listing of the same photo would say: its path (s3:// and s3n:// are s3a://), its size and
its time, by the table where it has both, else by its store, which a worker asks. Nothing is listed, and nothing that
grows with the photos is on the driver.
"""

import functools
import posixpath
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_job.errors import PhotoError
from spark_job.inputs.ahead import ahead
from spark_job.inputs.kinds import IS_PHOTO
from spark_job.inputs.roots import Root
from spark_job.inputs.stores import Properties, ask, opener, patiently, read, store_properties
from spark_job.settings import Settings

# Columns by their names without case and _: those of facemean, and of S3 Inventory in Parquet and CSV.
SIZES, TIMES = ("length", "size"), ("modificationtime", "lastmodifieddate")
ASKED_TOGETHER = 16  # batches of 64 photos: where those that are asked for together end, few are under way
UNKNOWN = -1, 0  # length and time (us) of a photo of which nobody says them
# Any bucket that the run's keys may read. Of other file systems, only what lies beside the table: who writes it would
# choose from all that a machine holds.
IN_BUCKET = r"^(s3a|gs)://[A-Za-z0-9][A-Za-z0-9._-]*/."
LEADS_OUT = r"(^|/)\.\.(/|$)"

Photo = dict[str, Any]


def known_columns(table: DataFrame) -> dict[str, str]:
    """The columns of a table by their names without case and _."""
    return {name.lower().replace("_", ""): name for name in table.columns}


def address_in(table: DataFrame, uri_column: str) -> Column | None:
    """What a table says of where photos are; None where it says nothing of it."""
    known = known_columns(table)
    if uri_column in table.columns:
        return _of(table, uri_column).cast("string")
    if "bucket" in known and "key" in known:
        return F.concat(F.lit("s3a://"), _of(table, known["bucket"]), F.lit("/"), _of(table, known["key"]))
    return None


def open_addresses(table: DataFrame, address: Column, root: Root, settings: Settings) -> DataFrame:
    """The photos that a table (with the column _metadata) names: path, length, modificationTime, source and is_photo.

    name: the address to read, null where it is none that is read.
    """
    known = known_columns(table)
    length, time = (_first(table, known, names, type_) for names, type_ in ((SIZES, "long"), (TIMES, "timestamp")))
    folder = posixpath.join(posixpath.dirname(root.path.rstrip("/")), "")
    path = _path(address, folder)
    is_beside = path.startswith(folder) & ~F.substring(path, len(folder) + 1, 2**31 - 1).rlike(LEADS_OUT)
    rows = table.where(_is_latest(table, known) & (F.trim(address) != "")).select(
        path.alias("path"),
        F.coalesce(length, F.lit(UNKNOWN[0])).cast("long").alias("length"),
        F.coalesce(time, F.timestamp_micros(F.lit(UNKNOWN[1]))).alias("modificationTime"),
        F.col("_metadata.file_path").alias("source"),
        path.rlike(IS_PHOTO).alias("is_photo"),
        F.when(path.rlike(IN_BUCKET) | is_beside, path).alias("name"),
    )
    has_both = any(name in known for name in SIZES) and any(name in known for name in TIMES)
    return rows if has_both else _asked(rows, settings.photo_timeout)


def _path(address: Column, folder: str) -> Column:
    """An address as Spark writes it; one without a scheme is a name beside the table, or a path of its machine."""
    path = F.regexp_replace(address, "^(?i:s3[an]?)://", "s3a://")
    path = F.regexp_replace(path, "^(?i:file):/+", "file:/")
    path = F.when(path.startswith("/"), F.concat(F.lit("file:"), path)).otherwise(path)
    beside = F.concat(F.lit(folder), F.regexp_replace(path, r"^(\./+)+", ""))
    return F.when(path.rlike("^[A-Za-z][A-Za-z0-9+.-]*:/"), path).otherwise(beside)


def _of(table: DataFrame, column: str) -> Column:
    """A column, whatever its name has in it."""
    return table[f"`{column.replace('`', '``')}`"]


def _first(table: DataFrame, known: dict[str, str], names: Iterable[str], type_: str) -> Column:
    found = [_of(table, known[name]).try_cast(type_) for name in names if name in known]
    return found[0] if found else F.lit(None)


def _is_latest(table: DataFrame, known: dict[str, str]) -> Column:
    """Whether a row is of what there is: an inventory may have all versions, and marks of what was deleted."""
    is_latest = F.lit(True)
    for name, wanted in (("islatest", True), ("isdeletemarker", False)):
        if name in known:
            is_latest &= F.coalesce(_of(table, known[name]).try_cast("boolean"), F.lit(wanted)) == F.lit(wanted)
    return is_latest


# ---- in the workers ----


def _asked(rows: DataFrame, timeout_s: float) -> DataFrame:
    """The rows, with length and modificationTime as the stores say them; UNKNOWN where they do not."""
    ask_all = functools.partial(_ask_all, store_properties(rows.sparkSession), timeout_s)
    cores = rows.sparkSession.sparkContext.defaultParallelism
    return rows.repartition(cores, "path").mapInArrow(ask_all, rows.schema)  # a list is a file or two


def _ask_all(properties: Properties, timeout_s: float, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    opened = opener(properties, timeout_s)

    def ask_one(item: tuple[int, str], deadline: float) -> tuple[int, int]:
        return patiently(lambda: ask(opened, item[1]), deadline, timeout_s)

    for batch in _larger(batches):
        wanted = zip(batch["name"].to_pylist(), batch["is_photo"].to_pylist(), strict=True)
        items = ((i, name) for i, (name, is_photo) in enumerate(wanted) if is_photo and name is not None)
        told = dict.fromkeys(range(len(batch)), UNKNOWN)
        for (i, _), answer in chain.from_iterable(ahead(ask_one, items, timeout_s)):
            if not isinstance(answer, PhotoError):
                told[i] = answer
        lengths, times = zip(*told.values(), strict=True)
        columns = {
            "length": pa.array(lengths, pa.int64()),
            "modificationTime": pa.array(times, pa.timestamp("us", "UTC")),
        }
        yield pa.RecordBatch.from_arrays(
            [columns.get(field.name, batch[field.name]) for field in batch.schema], schema=batch.schema
        )


def _larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches."""
    batches = iter(batches)
    while some := list(islice(batches, ASKED_TOGETHER)):
        yield from pa.Table.from_batches(some).combine_chunks().to_batches()


def with_contents(batches: Iterable[list[Photo]], properties: Properties, timeout_s: float) -> Iterator[list[Photo]]:
    """The photos of batches, and where they have an address, their content; or, as unread, a status and a message."""
    opened = opener(properties, timeout_s)

    def read_one(photo: Photo, deadline: float) -> bytes | None:
        if photo["address"] is None:
            return photo["content"]  # type: ignore[no-any-return]
        return patiently(lambda: read(opened, photo["address"], photo["length"]), deadline, timeout_s)

    batches = iter(batches)
    for batch in batches:
        if all(photo["address"] is None for photo in batch):
            yield [_with(photo, photo["content"]) for photo in batch]
            continue
        photos = chain(batch, chain.from_iterable(batches))
        for come in ahead(read_one, photos, timeout_s, lambda photo: max(photo["length"], 0)):
            yield [_with(photo, answer) for photo, answer in come]


def _with(photo: Photo, answer: bytes | PhotoError | None) -> Photo:
    """A photo with what was read of it, and no address."""
    come = {name: value for name, value in photo.items() if name != "address"}
    if isinstance(answer, PhotoError):
        return come | {"unread": (answer.status, answer.message)}
    return come | {"content": answer}
