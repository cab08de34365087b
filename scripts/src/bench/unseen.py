"""Unseen: Python workers of Spark's that look at no photo, and take its bytes for a face.

What a run takes with them is the job around the faces. Spark starts them where spark.python.daemon.module names this
module. Rows are as large as real ones, and embeddings, too, do not compress.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyspark import daemon

from spark_job.faces.engine import model_names
from spark_job.faces.models import digests
from spark_job.faces.processor import kind
from spark_job.settings import Settings, settings_id
from spark_job.table import encode

Row = dict[str, Any]
FACE = {
    "top": 70, "right": 180, "bottom": 180, "left": 70, "detector": "hog", "score": 1.0,
    "landmarks": [{"x": 90 + i, "y": 110 + i} for i in range(5)],
}  # fmt: skip
SEEN = {
    "status": "ok", "message": None, "width": 250, "height": 250, "faces_found": 1, "decode_ms": 0.0, "detect_ms": 0.0,
    "embed_ms": 0.0,
}  # fmt: skip


def encode_photos(photos: Sequence[Row], settings: Settings, *_: object) -> list[Row]:
    """A row for each photo, as faces/photo.py makes them, with an embedding of length 1 that its bytes give."""
    noise = np.stack([np.frombuffer(photo["content"], np.int8, 128, 8) for photo in photos]).astype(np.float32)
    embeddings = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).tolist()
    made = {"settings_id": settings_id(settings, digests(model_names(settings))), "processor": kind()}
    return [
        {**{name: value for name, value in photo.items() if name != "content"}, **SEEN, **made,
         "faces": [{**FACE, "embedding": embedding}]}
        for photo, embedding in zip(photos, embeddings, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    encode.encode_photos = encode_photos  # type: ignore[assignment]
    encode.load = lambda *_: None  # type: ignore[assignment, return-value]
    daemon.manager()  # type: ignore[no-untyped-call]
