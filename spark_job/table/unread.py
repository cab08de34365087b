"""Unread: photos that were listed and could not be read are tried once more, and then have a row that says so."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_job.inputs.archives import leniently, one_by_one
from spark_job.inputs.kinds import DAMAGED, NOT_READ
from spark_job.inputs.photos import Listing, contents
from spark_job.inputs.sources import Sources
from spark_job.row import KEY
from spark_job.settings import Settings, settings_id
from spark_job.spark.metrics import status_counts
from spark_job.spark.session import step
from spark_job.table.encode import encode
from spark_job.table.store import PhotosTable, no_rows, without_rows

# The kind of the listing's row -> status, message.
UNREAD = {
    "address": ("unreadable", "it was not read"),
    "archive": ("truncated", "its archive is damaged, encrypted or cut short at this photo, or before it"),
    "file": ("unreadable", "it could not be read, or was changed or removed after it was listed"),
    "nameless": ("unreadable", "its name is not valid UTF-8, and Java cannot open such: rename it"),
    "nowhere": ("unreadable", "its name is a link that leads nowhere, or to where this user may not look"),
    "special": ("unsupported", "it is a pipe, a socket or a device, and no file"),
    "table": ("unreadable", "its table could not be read, or was changed after it was listed"),
}
NOTHING = ("unreadable", "the archive cannot be opened: it is damaged, or is no archive of the kind its name says")
PARTLY = ("truncated", "the archive is damaged or cut short: what stands before that place was read, the rest is lost")
EMPTY = ("empty", "the archive has no bytes")


def account_for_unread(
    sources: Sources, listing: Listing, table: PhotosTable, settings: Settings, models: Mapping[str, str]
) -> None:
    """Give a row to every listed photo that has none: what one more reading gives, or why there is nothing.

    A reading that breaks off for the network's sake looks like damage: hence the second. What a zip holds behind
    damage is then read one by one. Rows of what could not be
    read have no decode_ms, and the next run tries those photos again.
    """
    spark = listing.photos.sparkSession
    readable = without_rows(listing.photos, table.rows()).where(~F.col("kind").isin(*NOT_READ))
    with step(spark, "look for photos that were not read"):
        has_readable = not readable.isEmpty()
    if has_readable:
        with step(spark, "encode photos that were not read the first time"), leniently(spark):
            photos = contents(sources, readable, is_all=False, max_bytes=settings.max_bytes)
            table.append(encode(photos, settings, models, status_counts(spark.sparkContext)))
            rest = without_rows(readable, table.rows())
            table.append(
                encode(one_by_one(rest, settings.max_bytes), settings, models, status_counts(spark.sparkContext))
            )
    with step(spark, "write rows for photos that cannot be read"):  # by the rows that there are by now
        refused = spark.createDataFrame(
            [(uri, *told) for uri, told in sources.looks.refused.items()], "source string, refused string, why string"
        )
        unread = without_rows(listing.photos, table.rows()).join(F.broadcast(refused), "source", "left")
        table.append(_rows(unread, listing.photos, settings, models))


def _rows(unread: DataFrame, photos: DataFrame, settings: Settings, models: Mapping[str, str]) -> DataFrame:
    """Rows of the photos table for rows of the listing, with why they were refused where they were."""
    nothing = no_rows(unread.sparkSession)
    held = photos.where("kind = 'archive'").groupBy("source").agg(F.count("*").alias("held"))
    rows = unread.join(held, "source", "left").select(
        *KEY,
        "group",
        F.coalesce("refused", _says(0)).alias("status"),
        F.coalesce("why", _says(1)).alias("message"),
        F.array().cast(nothing.schema["faces"].dataType).alias("faces"),
        F.lit(settings_id(settings, models)).alias("settings_id"),
    )
    return nothing.unionByName(rows, allowMissingColumns=True)


def _says(part: int) -> Column:
    is_archive = F.col("kind") == DAMAGED
    says = F.when(is_archive & (F.col("length") == 0), EMPTY[part])
    says = says.when(is_archive & F.col("held").isNull(), NOTHING[part]).when(is_archive, PARTLY[part])
    for kind, told in UNREAD.items():
        says = says.when(F.col("kind") == kind, told[part])
    return says
