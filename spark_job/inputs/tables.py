"""Tables: Parquet tables that hold photos in a binary column content, or say where they are."""

import re
from collections.abc import Container

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType

from spark_job.errors import InputError
from spark_job.inputs.addresses import address_in, open_addresses
from spark_job.inputs.kinds import ADDRESS, IS_TABLE
from spark_job.inputs.roots import Root
from spark_job.settings import Settings
from spark_job.spark.hadoop import AS_IT_IS, FileSystem


def is_table(spark: SparkSession, root: str, is_folder: bool) -> bool:
    """Whether a URI is a Parquet file, or a folder of such, or of partitions (name=value) of such."""
    if re.search(IS_TABLE, root):
        return True
    if not is_folder:
        return False
    folder = FileSystem(spark, root)
    for name in folder.names():
        if re.search(IS_TABLE, name) and not folder.status(name).isDirectory():
            return True
        if "=" in name and folder.status(name).isDirectory():
            return is_table(spark, f"{folder.uri}/{name}", True)
    return False


def open_table(spark: SparkSession, root: Root, settings: Settings) -> tuple[str, DataFrame]:
    """The kind (table, address) and the photos of a Parquet table that holds them, or says where they are."""
    table = spark.read.options(**AS_IT_IS).parquet(root.path)
    types = dict(zip(table.columns, (field.dataType for field in table.schema), strict=True))
    if isinstance(types.get("content"), BinaryType):
        return "table", _photos_in(table, types)
    address = address_in(table, settings.uri_column)
    if address is None:
        raise InputError(
            f"table {root.path!r} has no binary column 'content' to read photos from, and no column "
            f"{settings.uri_column!r} (--uri-column), nor 'bucket' and 'key', that says where they are: its columns "
            f"are {', '.join(types)}"
        )
    return ADDRESS, open_addresses(table.select("*", "_metadata"), address, root, settings)


def _photos_in(table: DataFrame, types: Container[str]) -> DataFrame:
    """The photos in a binary column content; path, length and modificationTime where the table has them."""
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
