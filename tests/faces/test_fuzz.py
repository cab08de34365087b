"""Real photos, mutated: decode gives an image or one of its own errors, within its memory and its time.

FACEMEAN_FUZZ=100000 sets how many photos are tried, each time others; without it they are few and always the same.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from spark_job.errors import PhotoError
from spark_job.faces.decode import decode
from spark_job.table.isolate import isolated

EXAMPLES = int(os.environ.get("FACEMEAN_FUZZ", "0"))
MAX_PIXELS = 2 * 10**6
MEMORY_BYTES = 160 * 2**20  # a photo of 2 Mpx in memory three times, and what libraries map for themselves
STATUSES = ("empty", "truncated", "unreadable", "unsupported", "too_large")
EDGES = (0, 1, 2, 255, 32767, 65535)
TIFF_COMPRESSIONS = (None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group3", "group4", "tiff_adobe_deflate")


def decoder():
    """What a child process does: bytes -> ok, or the status and the message of decode's own error."""

    def outcome(content):
        try:
            pixels = decode(content, MAX_PIXELS, enough_px=100).pixels
        except PhotoError as error:
            return error.status, error.message
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.flags.c_contiguous
        return "ok", None

    return outcome


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def corpus(face_photos: Path) -> list[bytes]:
    """A real photo in every format, and each in the forms it comes in."""
    with Image.open(face_photos / "biden" / "biden.jpg") as file:
        photo = file.convert("RGB")
    photo.thumbnail((160, 160))
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "camera", 0x8298: "x" * 200})
    clear = photo.convert("RGBA")
    clear.putalpha(photo.convert("L"))
    wide = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) << 8)
    palette = photo.convert("P")
    frames = [photo.rotate(90), photo.rotate(180)]
    contents = [
        saved(photo, "JPEG", exif=exif), saved(photo, "JPEG", progressive=True, icc_profile=b"profile" * 50),
        saved(photo.convert("L"), "JPEG"), saved(photo.convert("CMYK"), "JPEG"), saved(photo, "JPEG", subsampling=0),
        saved(photo, "PNG", exif=exif), saved(wide, "PNG"), saved(palette, "PNG", transparency=3), saved(clear, "PNG"),
        saved(photo.convert("1"), "PNG"), saved(photo.convert("LA"), "PNG"),
        saved(photo, "PNG", save_all=True, append_images=frames),
        saved(photo, "WEBP", exif=exif), saved(clear, "WEBP", lossless=True), saved(clear, "WEBP"),
        saved(photo, "WEBP", save_all=True, append_images=frames),
        saved(photo, "BMP"), saved(palette, "BMP"), saved(photo.convert("1"), "BMP"),
        saved(photo, "GIF"), saved(photo, "GIF", interlace=1), saved(photo, "GIF", save_all=True, append_images=frames),
        saved(wide, "TIFF"), saved(clear, "TIFF"), saved(photo.convert("CMYK"), "TIFF"), saved(palette, "TIFF"),
        saved(photo, "MPO"),
    ]  # fmt: skip
    for compression in TIFF_COMPRESSIONS:
        mode = "1" if compression in ("group3", "group4") else "RGB"
        contents.append(saved(photo.convert(mode), "TIFF", compression=compression))
    return [*contents, adam7(photo)]


def adam7(photo: Image.Image) -> bytes:
    """A PNG that says that it is interlaced, and is not."""
    content = bytearray(saved(photo, "PNG"))
    content[28] = 1
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, int, bytes]]:
    """What is done to a photo, one after the other: the kind, where (of 2^16), and with which bytes."""
    edges = st.sampled_from(EDGES).flatmap(
        lambda n: st.sampled_from([struct.pack(code, n) for code in ("<H", ">H", "<I", ">I")])
    )
    step = st.tuples(
        st.sampled_from(("flip", "put", "drop", "cut", "header", "header", "repeat", "splice")),
        st.integers(0, 2**16 - 1),
        st.one_of(st.binary(min_size=1, max_size=16), edges),
    )
    return draw(st.lists(step, min_size=1, max_size=6))


def mutated(content: bytes, other: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    for kind, where, with_ in steps:
        size = len(content)
        at = where * size >> 16
        if kind == "header":
            at = min(where % 256, size)
        if kind in ("flip", "header"):
            content = content[:at] + with_ + content[at + len(with_) :]
        elif kind == "put":
            content = content[:at] + with_ * (1 + where % 9) + content[at:]
        elif kind == "drop":
            content = content[:at] + content[at + len(with_) :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "repeat":
            content = content[:at] + content[at // 2 : at] + content[at:]
        else:
            content = content[:at] + other[where * len(other) >> 16 :]
    return content


@pytest.mark.slow
def test_decode_gives_an_image_or_its_own_errors_for_any_photo_damaged_in_any_way(corpus):
    pending: list[bytes] = []

    def contents() -> Iterator[bytes]:
        while True:
            yield pending.pop()

    outcomes = isolated(decoder, contents(), timeout_s=20, memory_bytes=MEMORY_BYTES)
    seen: dict[str, int] = {}

    @settings(
        max_examples=EXAMPLES or 1500, derandomize=not EXAMPLES, deadline=None, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, len(corpus) - 1), st.integers(0, len(corpus) - 1), mutations())
    def check(which, other, steps):
        pending.append(mutated(corpus[which], corpus[other], steps))
        _, outcome = next(outcomes)
        assert not isinstance(outcome, PhotoError), f"{outcome.status}: {outcome.message}"
        status, message = outcome
        seen[status] = seen.get(status, 0) + 1
        assert status == "ok" or (status in STATUSES and message and "memory" not in message)

    for content in corpus[:-1]:
        pending.append(content)
        assert next(outcomes)[1] == ("ok", None), content[:20]
    try:
        check()
    finally:
        outcomes.close()
        print(seen)
    assert {"ok", "truncated", "unreadable", "unsupported", "too_large"} <= set(seen)
