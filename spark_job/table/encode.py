"""Encode: photos -> rows, in the Python workers of Spark. The pandas UDF of the job is made here."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark import Accumulator, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.errors import ModelError, PhotoError
from spark_job.faces.decode import decode
from spark_job.faces.detect import Detection, select
from spark_job.faces.engine import Engine, load, model_names
from spark_job.faces.models import digests
from spark_job.row import SCHEMA
from spark_job.settings import Settings, settings_id
from spark_job.table.isolate import isolated, time_limit

Row = dict[str, Any]
# A chip of 150 px holds a face of 100. A photo is decoded at so many times the size at which faces are looked for
# first, that the smallest found there, of 80 px, has more; a smaller one is cut from the whole photo.
SHARP_PX = 100
ENOUGH = 1.5625
# What a photo's row says where its decoding or detection did not come about.
UNKNOWN = dict.fromkeys(("message", "width", "height", "faces_found", "decode_ms", "detect_ms"))


class Located(NamedTuple):
    """A photo decoded, its faces found and cut out: what its row says but for the embeddings."""

    row: Row
    faces: list[Row]
    chips: list[NDArray[np.uint8]]


def encode(
    photos: DataFrame, settings: Settings, models: Mapping[str, str], done: Accumulator[Counter[str]]
) -> DataFrame:
    """Rows of the photos table for photos (path, length, modificationTime, group, content).

    models: name -> sha256 as the driver has them; done counts photos by status, for live progress only.
    """
    # Microseconds go to pandas and back as integers: timestamps would lose the hour that clocks repeat.
    rows = photos.select(
        "path",
        "length",
        F.unix_micros("modificationTime").alias("modified_us"),
        "group",
        "content",
    )
    encoder = partition_encoder(settings, models, done)
    encoded = rows.mapInPandas(encoder, SCHEMA.replace("modificationTime timestamp", "modified_us long"))
    modified = F.timestamp_micros("modified_us").alias("modificationTime")
    return encoded.select([modified if name == "modified_us" else F.col(name) for name in encoded.columns])


def partition_encoder(
    settings: Settings, models: Mapping[str, str], done: Accumulator[Counter[str]]
) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """The pandas UDF: it encodes the photos of a partition, an Arrow batch at a time.

    Where an attempt at the partition died, perhaps of a photo, the next one encodes its photos in a child process.
    The worker raises ModelError where its models are not those of the driver: its embeddings would not be either.
    """

    def encode_partition(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        if digests(model_names(settings)) != models:
            raise ModelError("an executor has other model files than the driver: install the same image on both")
        context = TaskContext.get()
        encode_batch = _one_by_one if context and context.attemptNumber() else _together
        for rows in encode_batch((batch.to_dict("records") for batch in batches), settings):
            yield pd.DataFrame(rows, dtype=object)
            done.add(Counter(row["status"] for row in rows))

    return encode_partition


def _together(batches: Iterator[list[Any]], settings: Settings) -> Iterator[list[Row]]:
    """The rows of each batch, made in this process."""
    engine = load(settings, _gpu())
    return (encode_photos(photos, settings, engine) for photos in batches)


def _one_by_one(batches: Iterator[list[Any]], settings: Settings) -> Iterator[list[Row]]:
    """The row of each photo, made in a child process: crashed or timed_out where that one died of it."""
    photos = (photo for batch in batches for photo in batch)
    for photo, row in isolated(functools.partial(_photo_encoder, settings, _gpu()), photos, settings.photo_timeout):
        yield [_failed(photo, row, settings) if isinstance(row, PhotoError) else row]


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
            return encode_photos([photo], settings, engine)[0]
        except MemoryError:
            return _failed(photo, PhotoError("crashed", "not enough memory to encode it"), settings)
        except Exception as error:  # of native code: dlib and ONNX Runtime raise any type
            return _failed(
                photo, PhotoError("crashed", f"{type(error).__name__}: {' '.join(str(error).split())}"), settings
            )

    return encode_photo


def _failed(photo: Row, error: PhotoError, settings: Settings) -> Row:
    """The row of a photo that has no more to say than why it failed."""
    row = {name: value for name, value in photo.items() if name != "content"} | UNKNOWN
    identity = settings_id(settings, digests(model_names(settings)))
    failed = {"status": error.status, "message": error.message, "faces": [], "embed_ms": 0.0, "settings_id": identity}
    return row | failed


def encode_photos(photos: Sequence[Row], settings: Settings, engine: Engine) -> list[Row]:
    """One row per photo, whatever is in it; the faces of all are embedded together.

    photos: path, length, modified_us, group and content (bytes, None where too large to read).
    """
    located = [_locate_in_time(photo, settings, engine) for photo in photos]
    chips = [chip for photo in located for chip in photo.chips]
    started = time.perf_counter()
    with time_limit(settings.photo_timeout * max(len(chips), 1)):
        embeddings = iter(engine.embed(np.stack(chips)).tolist() if chips else ())
    embed_ms = _ms_since(started) / max(len(chips), 1)
    identity = settings_id(settings, digests(model_names(settings)))
    rows = []
    for photo in located:
        faces = [{**face, "embedding": next(embeddings)} for face in photo.faces]
        rows.append({**photo.row, "faces": faces, "embed_ms": embed_ms * len(faces), "settings_id": identity})
    return rows


def _locate_in_time(photo: Row, settings: Settings, engine: Engine) -> Located:
    with time_limit(settings.photo_timeout):
        return locate(photo, settings, engine)


def locate(photo: Row, settings: Settings, engine: Engine) -> Located:
    """Decode one photo, find its faces and cut out those that --face selects; or say why not."""
    row = {name: value for name, value in photo.items() if name != "content"} | UNKNOWN
    started = time.perf_counter()
    try:
        content = _content(photo, settings)
        image = decode(content, settings.max_pixels, settings.bounded_px and round(settings.bounded_px * ENOUGH))
        row |= {"height": image.height, "width": image.width, "decode_ms": _ms_since(started)}
        started = time.perf_counter()
        found = engine.detect(image.pixels)
        selected = select(found, settings.face)
        if image.scale > 1 and any(min(detection.box.sides) < SHARP_PX for detection in selected):
            selected = [detection._replace(box=detection.box.scaled(image.scale)) for detection in selected]
            image = decode(content, settings.max_pixels)
    except PhotoError as error:
        row |= {"status": error.status, "message": error.message, "decode_ms": _ms_since(started)}
        return Located(row, [], [])
    aligned = [engine.align(image.pixels, detection.box) for detection in selected]
    row["status"] = "ok" if selected else "several_faces" if found else "no_face"
    row |= {"faces_found": len(found), "detect_ms": _ms_since(started)}
    boxes_and_landmarks = zip(selected, (landmarks for landmarks, _ in aligned), strict=True)
    faces = [_face(detection, landmarks, image.scale) for detection, landmarks in boxes_and_landmarks]
    return Located(row, faces, [chip for _, chip in aligned])


def _content(photo: Row, settings: Settings) -> bytes:
    content: bytes | None = photo["content"]
    if content is None:
        limit = f"{settings.max_bytes:,} that --max-bytes allows"
        raise PhotoError("too_large", f"{photo['length']:,} bytes are more than the {limit}")
    if len(content) != photo["length"]:
        raise PhotoError("unreadable", f"it was {photo['length']:,} bytes when listed and {len(content):,} when read")
    return content


def _face(detection: Detection, landmarks: NDArray[np.int64], scale: float) -> Row:
    """A face of a row, in px of the photo."""
    points = [{"x": round(x * scale), "y": round(y * scale)} for x, y in landmarks.tolist()]
    box = detection.box.scaled(scale)._asdict()
    return {**box, "detector": detection.detector, "score": detection.score, "landmarks": points}


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
