"""Lists: inputs of addresses that are no Parquet table: text, CSV, and the manifest of a store's inventory."""

import json
import posixpath
import re
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import InputError
from spark_job.inputs.addresses import address_in, known_columns, open_addresses
from spark_job.inputs.kinds import IS_LIST
from spark_job.inputs.roots import Root
from spark_job.settings import Settings
from spark_job.spark.hadoop import AS_IT_IS, FileSystem, reason

FORMATS = ("csv", "orc", "parquet")


def is_list(text: str) -> bool:
    """Whether an input is a list of addresses by its name."""
    return bool(re.search(IS_LIST, text))


def open_list(spark: SparkSession, root: Root, settings: Settings) -> DataFrame:
    """The photos that a list names, as open_addresses gives them. Raises InputError."""
    name = root.path.lower().removesuffix(".gz")
    try:
        if name.endswith("manifest.json"):
            table = _inventory(spark, root)
        elif name.endswith(".csv"):
            table = spark.read.options(**AS_IT_IS, header=True, escape='"').csv(root.path).select("*", "_metadata")
        else:
            rows = spark.read.options(**AS_IT_IS).text(root.path)
            table = rows.select(F.col("value").alias(settings.uri_column), "_metadata")
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"list {root.path!r} cannot be read: {reason(error)}") from None
    address = address_in(table, settings.uri_column)
    if address is None:
        raise InputError(
            f"list {root.path!r} has no column {settings.uri_column!r} (--uri-column), nor 'bucket' and 'key': its "
            f"columns are {', '.join(table.columns[:-1])}; those of an inventory in CSV stand in its manifest.json"
        )
    return open_addresses(table, address, root, settings)


def _inventory(spark: SparkSession, root: Root) -> DataFrame:
    """The files of an inventory by its manifest, which says what stands in them: S3's, or one of its like."""
    folder, name = posixpath.split(root.path)
    try:
        manifest: Any = json.loads(FileSystem(spark, folder).read(name))
        bucket = manifest["destinationBucket"].rpartition(":")[2]  # arn:aws:s3:::bucket
        format_ = manifest["fileFormat"].lower()
        files = [f"s3a://{bucket}/{file['key']}" for file in manifest["files"]]
        columns = [column.strip() for column in manifest["fileSchema"].split(",")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"input {root.path!r} is no manifest of an inventory, as S3 Inventory writes it") from None
    if format_ not in FORMATS or not files:
        raise InputError(f"the inventory {root.path!r} is of format {format_!r}, in {len(files)} files")
    place = F.struct(F.lit(root.uri).alias("file_path")).alias("_metadata")
    reader = spark.read.options(**AS_IT_IS)
    if format_ != "csv":
        return reader.format(format_).load(files).select("*", place)
    schema = ", ".join(f"`{column}` string" for column in columns)
    table = reader.options(escape='"').csv(files, schema=schema)
    key = known_columns(table)["key"]
    return table.withColumn(key, F.coalesce(F.try_url_decode(key), key)).select("*", place)  # in CSV, keys are encoded
