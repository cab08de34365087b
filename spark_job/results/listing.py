"""Listing: what the latest run set out to do: the photos of its inputs in listing/, and run.json.

photos/ is the checkpoint, and also holds rows of other settings and of photos that are gone. What reads an output knows
by these two which rows are current, with no need of the inputs.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from spark_job.errors import OutputError
from spark_job.results.documents import write_document
from spark_job.row import KEY
from spark_job.spark.hadoop import FileSystem, reason

PHOTOS_A_FILE = 2**20  # some 50 MB


def write_listing(output: FileSystem, photos: DataFrame, listed: int) -> None:
    """Replace listing/: path, length, modificationTime and group of each photo."""
    new = ".listing.new"
    try:
        rows = photos.select(*KEY, "group").coalesce(1 + listed // PHOTOS_A_FILE)
        rows.write.mode("overwrite").parquet(f"{output.uri}/{new}")
        output.replace_folder("listing", new)
    except (Py4JJavaError, PySparkException) as error:
        raise OutputError(f"{output.uri}/listing cannot be written: {reason(error)}") from None


def write_run(output: FileSystem, listed: int, missing: int, made: Mapping[str, Any]) -> None:
    """Replace run.json, once listing/ is there: made (see made_with), and since when photos are encoded.

    missing: how many of the photos have no row yet.
    """
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_document(output, "run.json", {**made, "listed": listed, "missing": missing, "encoding_since": since})
