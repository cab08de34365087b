"""Names: the path and the group of each photo, as the results hold them: as they are, or hashed."""

import hashlib
import hmac
import os

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import SettingsError
from spark_job.settings import Settings
from spark_job.spark.hadoop import reason
from spark_job.spark.session import step

KEY_VARIABLE = "FACEMEAN_HASH_KEY"
IS_ZIP = r"(?i)\.zip$"
SHA256_BLOCK = 64  # bytes


def named(rows: DataFrame, settings: Settings) -> DataFrame:
    """Rows that have a path and a source, with the group of each; path and group are hashed where --hash-paths says so.

    name: the path as it is, of what is to be read one by one by it: entries of zips, and addresses.
    """
    rows = rows.withColumn("group", group_of(settings.group_by))
    if "name" not in rows.columns:
        rows = rows.withColumn("name", F.when(F.col("source").rlike(IS_ZIP), F.col("path")))
    if not settings.hash_paths:
        return rows
    return rows.withColumn("group", _hashed("group")).withColumn("path", _hashed("path"))


def group_of(group_by: str) -> Column:
    """A photo's group by its path, as --group-by says: a string, null where it has none."""
    if group_by == "none":
        return F.lit(None).cast("string")
    pattern = r"([^/]+?)!?/[^/]+$" if group_by == "parent" else group_by
    group = F.regexp_extract("path", pattern, 1)
    return F.when(group != "", group)


def check_group_by(spark: SparkSession, group_by: str) -> None:
    """Raise SettingsError where Java, which applies it, does not take an expression that Python takes."""
    if group_by in ("none", "parent"):
        return  # a query, even this small, takes a new JVM seconds
    try:
        with step(spark, "try the expression of --group-by"):
            spark.range(1).select(F.lit("").alias("path")).select(group_of(group_by)).collect()
    except (Py4JJavaError, PySparkException) as error:
        raise SettingsError(f"--group-by {group_by!r} is not a regular expression of Java's: {reason(error)}") from None


def hashed(name: str) -> str:
    """The HMAC-SHA256 of a name, in hex, by the key in FACEMEAN_HASH_KEY; without one, by the empty key."""
    return hmac.new(_key(), name.encode(errors="surrogateescape"), "sha256").hexdigest()


def _hashed(column: str) -> Column:
    """What hashed gives, of a column: RFC 2104 in Spark's own functions, so that no content goes through Python."""
    key = _key()
    block = (key if len(key) <= SHA256_BLOCK else hashlib.sha256(key).digest()).ljust(SHA256_BLOCK, b"\0")
    inner, outer = (F.lit(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return F.sha2(F.concat(outer, F.unhex(F.sha2(F.concat(inner, F.col(column).cast("binary")), 256))), 256)


def _key() -> bytes:
    return os.environ.get(KEY_VARIABLE, "").encode()
