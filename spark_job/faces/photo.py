"""Photo: the bytes of a photo -> its row, whatever is in it. Knows no Spark."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import PhotoError
from spark_job.faces.decode import decode
from spark_job.faces.detect import Detection, select
from spark_job.faces.engine import Engine, model_names
from spark_job.faces.models import digests
from spark_job.faces.processor import BFLOAT16, WIDEST, kind
from spark_job.settings import Settings, settings_id

Row = dict[str, Any]
Limit = Callable[[float], AbstractContextManager[Any]]
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


def encode_photos(
    photos: Sequence[Row],
    settings: Settings,
    engine: Engine,
    limit: Limit = nullcontext,
) -> list[Row]:
    """One row per photo, whatever is in it; the faces of all are embedded together.

    photos: path, length, modified_us, group and content (bytes, None where too large to read).
    limit: a context in which so many seconds may pass.
    """

    def locate_in_time(photo: Row) -> Located:
        with limit(settings.photo_timeout):
            return locate(photo, settings, engine)

    located = [locate_in_time(photo) for photo in photos]
    chips = [chip for photo in located for chip in photo.chips]
    started = time.perf_counter()
    with limit(settings.photo_timeout * max(len(chips), 1)):
        embeddings = iter(engine.embed(np.stack(chips)).tolist() if chips else ())
    embed_ms = _ms_since(started) / max(len(chips), 1)
    rows = []
    for photo in located:
        faces = [{**face, "embedding": next(embeddings)} for face in photo.faces]
        rows.append({**photo.row, "faces": faces, "embed_ms": embed_ms * len(faces), **_made(settings)})
    return rows


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
        selected = select(found, settings.face, *image.pixels.shape[:2])
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


def failed(photo: Row, error: PhotoError, settings: Settings) -> Row:
    """The row of a photo that has no more to say than why it failed."""
    row = {name: value for name, value in photo.items() if name != "content"} | UNKNOWN
    return row | {"status": error.status, "message": error.message, "faces": [], "embed_ms": 0.0, **_made(settings)}


def _made(settings: Settings) -> Row:
    """What a row says of how it was made."""
    processor = kind(BFLOAT16 if settings.engine == "openvino" else WIDEST)
    return {"settings_id": settings_id(settings, digests(model_names(settings))), "processor": processor}
