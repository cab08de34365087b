"""Encode: photos -> rows, in the Python workers of Spark. The UDF of the job is made here.

It takes and gives Arrow batches, as a pandas UDF does, without the data frames between: those cost 0.1 ms a photo.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pyarrow as pa
from pyspark import Accumulator, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from spark_job.errors import ModelError, PhotoError
from spark_job.faces.engine import Engine, load, model_names
from spark_job.faces.models import digests
from spark_job.faces.photo import Row, encode_photos, failed
from spark_job.inputs.addresses import with_contents
from spark_job.inputs.stores import Properties, store_properties
from spark_job.row import SCHEMA
from spark_job.settings import Settings
from spark_job.table.isolate import isolated, time_limit


def encode(
    photos: DataFrame, settings: Settings, models: Mapping[str, str], done: Accumulator[Counter[str]]
) -> DataFrame:
    """Rows of the photos table for photos (path, length, modificationTime, group, content; address, to be read here).

    models: name -> sha256 as the driver has them; done counts photos by status, for live progress only.
    """
    # Microseconds go to Python and back as integers.
    rows = photos.select(
        "path",
        "length",
        F.unix_micros("modificationTime").alias("modified_us"),
        "group",
        "content",
        F.col("address") if "address" in photos.columns else F.lit(None).cast("string").alias("address"),
    )
    schema = cast(StructType, StructType.fromDDL(SCHEMA.replace("modificationTime timestamp", "modified_us long")))
    properties = store_properties(photos.sparkSession)
    encoder = partition_encoder(settings, models, done, to_arrow_schema(schema, timezone="UTC"), properties)
    encoded = rows.mapInArrow(encoder, schema)
    modified = F.timestamp_micros("modified_us").alias("modificationTime")
    return encoded.select([modified if name == "modified_us" else F.col(name) for name in encoded.columns])


def partition_encoder(
    settings: Settings,
    models: Mapping[str, str],
    done: Accumulator[Counter[str]],
    schema: pa.Schema,
    properties: Properties,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The UDF: it encodes the photos of a partition, an Arrow batch at a time, into batches of this schema.

    Photos with an address are read here. properties: of the stores that they lie in.

    Where an attempt at the partition died, perhaps of a photo, the next one encodes its photos in a child process.
    The worker raises ModelError where its models are not those of the driver: its embeddings would not be either.
    """

    def encode_partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if digests(model_names(settings)) != models:
            raise ModelError("an executor has other model files than the driver: install the same image on both")
        context = TaskContext.get()
        encode_batch = _one_by_one if context and context.attemptNumber() else _together
        photos = with_contents((batch.to_pylist() for batch in batches), properties, settings.photo_timeout)
        for rows in encode_batch(photos, settings):
            yield pa.RecordBatch.from_pylist(rows, schema=schema)
            done.add(Counter(row["status"] for row in rows))

    return encode_partition


def _together(batches: Iterator[list[Any]], settings: Settings) -> Iterator[list[Row]]:
    """The rows of each batch, made in this process."""
    engine = load(settings, _gpu())
    return (_encode(photos, settings, engine) for photos in batches)


def _one_by_one(batches: Iterator[list[Any]], settings: Settings) -> Iterator[list[Row]]:
    """The row of each photo, made in a child process: crashed or timed_out where that one died of it."""
    photos = (photo for batch in batches for photo in batch)
    for photo, row in isolated(functools.partial(_photo_encoder, settings, _gpu()), photos, settings.photo_timeout):
        yield [failed(photo, row, settings) if isinstance(row, PhotoError) else row]


def _encode(photos: list[Row], settings: Settings, engine: Engine) -> list[Row]:
    """The rows of photos that were read, and of those that were not."""
    read = [photo for photo in photos if "unread" not in photo]
    unread = [(photo, photo.pop("unread")) for photo in photos if "unread" in photo]
    rows = [failed(photo, PhotoError(*why), settings) for photo, why in unread]
    return encode_photos(read, settings, engine, time_limit) + rows if read else rows


def _gpu() -> int:
    """The number of the GPU that Spark gives the task; that of the first where it gives none."""
    context = TaskContext.get()
    gpu: Any = context.resources().get("gpu") if context else None
    return int(gpu.addresses[0]) if gpu else 0


def _photo_encoder(settings: Settings, gpu: int) -> Callable[[Row], Row]:
    """What a child process does: a photo -> its row, whatever its encoding raises."""
    engine = load(settings, gpu)

    def encode_photo(photo: Row) -> Row:
        try:
            return _encode([photo], settings, engine)[0]
        except MemoryError:
            return failed(photo, PhotoError("crashed", "not enough memory to encode it"), settings)
        except Exception as error:  # of native code: dlib and ONNX Runtime raise any type
            return failed(
                photo, PhotoError("crashed", f"{type(error).__name__}: {' '.join(str(error).split())}"), settings
            )

    return encode_photo
