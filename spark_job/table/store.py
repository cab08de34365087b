"""Store: OUTPUT/photos, one row per photo in Parquet: the result, and the checkpoint of a run.

The table is appended to by one lazy Spark job with Hadoop's file output committer, algorithm version 2: a task's
rows are durable when the task ends, and a rerun encodes only what has no row yet.
"""

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError, SettingsError
from spark_job.row import KEY, SCHEMA
from spark_job.spark.hadoop import AS_IT_IS, FileSystem, reason

# A page of Parquet has a checksum, which Spark writes and by default does not look at.
VERIFY = {"parquet.page.verify-checksum.enabled": "true"}
# An option of Spark's writers: what a task has written is there when the task ends, and not when the job does.
BY_TASK = {"mapreduce.fileoutputcommitter.algorithm.version": "2"}
# A task that reads the table has the embeddings of a whole group of rows in Java's memory: by default, 128 MB of them.
ROW_GROUPS = {"parquet.block.size": str(16 * 2**20)}
PHOTOS = "photos"


def open_output(spark: SparkSession, output: str) -> FileSystem:
    """The folder of the results, made where there is none. Raises SettingsError where that cannot be."""
    try:
        folder = FileSystem(spark, output)
        folder.contact()
        why = "" if folder.make() else "the folder that it is to lie in takes none (may this user write there?)"
    except Py4JJavaError as error:
        why = reason(error)
    if why:
        raise SettingsError(f"--output {output!r} cannot be written to: {why}")
    return folder


class PhotosTable:
    """OUTPUT/photos of one output and one settings_id."""

    def __init__(self, spark: SparkSession, output: FileSystem, settings_id: str) -> None:
        self._spark = spark
        self._folder = FileSystem(spark, f"{output.uri}/{PHOTOS}")
        self._settings_id = settings_id

    def rows(self) -> DataFrame:
        """The rows made with these settings. A photo may have more than one, by an attempt that died late."""
        if not self._folder.exists():
            return no_rows(self._spark)
        return read_photos(self._spark, self._folder.uri).where(F.col("settings_id") == self._settings_id)

    def wanted(self, photos: DataFrame, listed: int) -> tuple[DataFrame, int]:
        """Those of the listed photos that are to be encoded, and how many they are."""
        if not self._folder.exists():
            return photos, listed
        wanted = without_rows(photos, settled(self.rows()))
        return wanted, wanted.count()

    def append(self, rows: DataFrame) -> None:
        """Run the job that makes the rows, and keep those of each task as it ends."""
        try:
            rows.write.mode("append").options(**BY_TASK, **ROW_GROUPS).parquet(self._folder.uri)
        except (Py4JJavaError, PySparkException) as error:
            raise OutputError(f"the photos cannot be encoded into {self._folder.uri}: {reason(error)}") from None


def no_rows(spark: SparkSession) -> DataFrame:
    """No row of the table, made without a Python worker, as createDataFrame would."""
    return spark.range(0).select(F.lit(None).cast(f"struct<{SCHEMA}>").alias("row")).select("row.*")


def read_photos(spark: SparkSession, uri: str) -> DataFrame:
    """The rows of a photos table, of all settings."""
    # Spark skips names that begin with _, and so what attempts under way have not committed.
    return spark.read.options(**AS_IT_IS, **VERIFY).schema(SCHEMA).parquet(uri)


def read_table(spark: SparkSession, uri: str) -> DataFrame:
    """A Parquet table of the output, each page of it checked."""
    return spark.read.options(**AS_IT_IS, **VERIFY).parquet(uri)


def without_rows(listing: DataFrame, rows: DataFrame) -> DataFrame:
    """The photos of the listing that have no row yet."""
    return listing.join(rows.select(*KEY), KEY, "left_anti")


def settled(rows: DataFrame) -> DataFrame:
    """The rows that say what is in a photo: one that was not read, crashed or timed out is tried by each run."""
    return rows.where("decode_ms IS NOT NULL")


def current(listing: DataFrame, rows: DataFrame, *columns: str) -> DataFrame:
    """These columns of the one row of each photo of the listing, and its group; all are null where it has none.

    Rows of photos that are gone from the inputs, or were replaced, do not count. Of several for one photo, a settled
    one counts, and always the same: two entries of an archive may have one name, time and length.
    """
    listed = listing.select(*KEY, "group")
    return listed.join(_one_each(rows, *columns), KEY, "left").select(*KEY, "group", "row.*")


def outcomes(listing: DataFrame, rows: DataFrame) -> DataFrame:
    """status, message, processor and decode_ms of that row of each photo; rows, how many it has; regrouped, whether its
    group is another than the listing's; listed: null for photos that have rows and are not of the listing.
    """
    listed = listing.select(*KEY, F.col("group").alias("of"), F.lit(True).alias("listed"))
    told = ("status", "message", "processor", "decode_ms")
    joined = listed.join(_one_each(rows, *told, "group"), KEY, "full")
    regrouped = (~F.col("row.group").eqNullSafe(F.col("of"))).alias("regrouped")
    return joined.select(*KEY, "listed", "rows", regrouped, *(f"row.{name}" for name in told))


def _one_each(rows: DataFrame, *columns: str) -> DataFrame:
    """KEY; row, these columns of the one row that counts; rows, of how many."""
    # The order is taken before the rows are shuffled, so that only what is asked for is.
    ordered = rows.select(*KEY, *columns, order())
    one = F.max_by(F.struct(*columns), "order").alias("row")
    return ordered.groupBy(*KEY).agg(one, F.count("*").alias("rows"))


def order() -> Column:
    """order: of several rows of one photo, the one that counts has the greatest."""
    return F.struct(F.col("decode_ms").isNotNull(), F.xxhash64("status", "faces")).alias("order")
