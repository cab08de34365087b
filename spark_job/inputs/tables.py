"""Tables: Parquet tables that hold photos in a binary column content."""

import re

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType

from spark_job.errors import InputError
from spark_job.inputs.kinds import IS_TABLE
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


def open_table(spark: SparkSession, root: str) -> DataFrame:
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
