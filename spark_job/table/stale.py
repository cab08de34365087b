"""Stale: the rows of OUTPUT/photos that no longer count, and why."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from spark_job.row import KEY
from spark_job.table.store import order

REASONS = {
    "gone": "of photos that are gone",
    "replaced": "of photos that were replaced",
    "other_settings": "of other settings",
    "duplicate": "of photos that have another row",
}


def stale_rows(rows: DataFrame, listing: DataFrame, settings_id: str) -> DataFrame:
    """file, row (its place in that file) and why (the first of REASONS that holds) of each row that does not count.

    rows: the table, of all settings. No embedding is shuffled.
    """
    version = F.struct("length", "modificationTime")
    versions = listing.groupBy("path").agg(F.collect_set(version).alias("versions"))
    placed = rows.select(
        *KEY,
        "settings_id",
        order().alias("order"),
        F.col("_metadata.file_name").alias("file"),
        F.col("_metadata.row_index").alias("row"),
    )
    of_one_photo = Window.partitionBy(*KEY, "settings_id").orderBy(F.desc("order"), "file", "row")
    why = (
        F.when(F.col("versions").isNull(), "gone")
        .when(~F.array_contains("versions", version), "replaced")
        .when(F.col("settings_id") != settings_id, "other_settings")
        .when(F.row_number().over(of_one_photo) > 1, "duplicate")
    )
    judged = placed.join(versions, "path", "left").withColumn("why", why)
    return judged.where("why IS NOT NULL").select("file", "row", "why")
