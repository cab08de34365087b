"""Every malformed file has its row, with a status and a message, and none takes a worker's memory."""

import functools
import io
import struct
import threading
import time
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spark_job import Settings, run
from spark_job.row import FAILURES, STATUSES

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF"}
GIB = 2**30
HUGE = 60_000  # px a side: 3.6 gigapixels
HONEST = ("jpg", "png", "tif")  # the others take long to make
HARD_NAMES = (
    "new\nline", "quo'te\"s", "<script>alert(1)<", "😀", "two words", "per%20cent", "co:lon", "st*ar?[1]{a,b}",
    "_camera", "-rf", "$(reboot)", "back\\slash", "n" * 250, "tab\tbell\a", "u\u202egpj.exe",
)  # fmt: skip


@pytest.fixture(scope="module")
def face(face_photos: Path) -> Image.Image:
    with Image.open(face_photos / "biden" / "biden.jpg") as photo:
        return photo.convert("RGB")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def damaged(content: bytes, random: np.random.Generator):
    """Name and bytes of a file cut short, overwritten, with bytes flipped, dropped and put in: 46 of each."""
    n = len(content)
    for i in range(12):
        yield f"cut{i}", content[: n * i // 12 + i]
    for i in range(12):
        at, run_ = int(random.integers(0, n)), int(random.integers(1, 200))
        yield f"zeros{i}", content[:at] + bytes(run_) + content[at + run_ :]
    for i in range(12):
        flipped = bytearray(content)
        for at in random.integers(0, n if i % 2 else min(n, 64), 8):
            flipped[at] ^= int(random.integers(1, 256))
        yield f"flipped{i}", bytes(flipped)
    for i in range(5):
        at = int(random.integers(0, n))
        yield f"dropped{i}", content[:at] + content[at + 40 :]
        yield f"put{i}", content[:at] + random.bytes(40) + content[at:]


def bombs(face: Image.Image):
    """Small files that declare huge images."""
    jpeg, png = bytearray(encoded(face, "JPEG")), bytearray(encoded(face, "PNG"))
    gif, bmp = bytearray(encoded(face, "GIF")), bytearray(encoded(face, "BMP"))
    tiff, webp = bytearray(encoded(face, "TIFF")), bytearray(encoded(face.convert("RGBA"), "WEBP"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", HUGE, HUGE)
    png[16:24] = struct.pack(">II", HUGE, HUGE)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    gif[6:10] = struct.pack("<HH", HUGE, HUGE)
    bmp[18:26] = struct.pack("<ii", HUGE, HUGE)
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<H", tag), struct.unpack("<I", tiff[4:8])[0])
        tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, HUGE)
    yield from (("bomb.jpg", jpeg), ("bomb.png", png), ("bomb.gif", gif), ("bomb.bmp", bmp), ("bomb.tif", tiff))
    canvas = (16383 - 1).to_bytes(3, "little") * 2
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas
    yield "bomb.webp", b"RIFF" + struct.pack("<I", len(webp) + 10) + b"WEBP" + vp8x + bytes(webp[12:])


def honest_bombs(face: Image.Image):
    """Small files that hold what they say: images of 144 megapixels, and metadata of 100 MB."""
    blank = Image.new("L", (12_000, 12_000))
    options = {"TIFF": {"compression": "tiff_deflate"}, "JPEG": {"quality": 10}}
    for suffix in HONEST:
        format_ = FORMATS[suffix]
        yield f"honest.{suffix}", encoded(blank, format_, **options.get(format_, {}))
    text = PngInfo()
    text.add_text("comment", "\0" * 10**8, zip=True)
    yield "text_bomb.png", encoded(face, "PNG", pnginfo=text)
    yield "profile_bomb.png", encoded(face, "PNG", icc_profile=bytes(10**8))
    frames = [Image.new("L", (9, 9), i % 256) for i in range(1000)]
    yield "frames_bomb.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "segments.jpg", encoded(face, "JPEG")[:2] + b"\xff\xe1\0\x02" * 500_000 + encoded(face, "JPEG")[2:]


def forms(face: Image.Image):
    """Suffix and bytes of the other forms in which photos come."""
    wide = Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) << 8)
    yield "progressive.jpg", encoded(face, "JPEG", progressive=True)
    yield "cmyk.jpg", encoded(face.convert("CMYK"), "JPEG")
    yield "palette.png", encoded(face.convert("P"), "PNG", transparency=3)
    yield "sixteen.png", encoded(wide, "PNG")
    yield "clear.png", encoded(face.convert("RGBA"), "PNG")
    yield "lossless.webp", encoded(face, "WEBP", lossless=True, method=0)
    yield "interlaced.gif", encoded(face, "GIF", interlace=1)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield f"{compression}.tif", encoded(face, "TIFF", compression=compression)


def write_corpus(folder: Path, face: Image.Image) -> int:
    random = np.random.default_rng(2)
    contents = {suffix: encoded(face, format_) for suffix, format_ in FORMATS.items()}
    files = [
        (f"{name}.{suffix}", content) for suffix, whole in contents.items() for name, content in damaged(whole, random)
    ]
    files += [(f"not_{a}.{b}", contents[a]) for a in contents for b in contents if a != b]
    files += [(f"{name}.jpg", contents["jpg"]) for name in HARD_NAMES]
    files += [(f"text.{suffix}", b"<html>not found</html>") for suffix in FORMATS]
    files += list(bombs(face)) + list(honest_bombs(face))
    small = face.resize((160, 160))
    files += [
        (f"{name}_{form}", content)
        for form, whole in forms(small)
        for name, content in islice(damaged(whole, random), 0, 46, 4)
    ]
    folder.mkdir()
    for name, content in files:
        (folder / name).write_bytes(content)
    return len(files)


def peak_of_workers(stop: threading.Event, peaks: list[int]) -> None:
    while not stop.wait(0.2):
        for process in psutil.Process().children(recursive=True):
            try:
                if process.name().startswith("python"):
                    peaks.append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


@pytest.mark.slow
def test_every_malformed_file_has_a_row_and_the_others_count(spark, face, tmp_path):
    count = write_corpus(tmp_path / "photos", face)
    assert count >= 300
    settings = Settings((str(tmp_path / "photos"),), str(tmp_path / "out"), detector="hog", max_failed=0.05)
    stop, peaks = threading.Event(), [0]
    watcher = threading.Thread(target=functools.partial(peak_of_workers, stop, peaks))
    watcher.start()
    started = time.monotonic()
    try:
        result = run(settings, spark)
    finally:
        stop.set()
        watcher.join()
    rows = {Path(row.path).name: row for row in spark.read.parquet(f"{result.output}/photos").collect()}
    print(f"{count} files, {time.monotonic() - started:.0f} s, {max(peaks) / 2**20:.0f} MiB, {result.photos}")
    assert set(rows) == {path.name for path in (tmp_path / "photos").iterdir()}
    assert len(rows) == result.photos["listed"] == count
    for row in rows.values():
        assert row.status in STATUSES
        assert bool(row.message) == (row.status in FAILURES)
        assert not row.message or not set(row.message) & set("\n\r\0")
    assert {rows[f"{name}.jpg"].status for name in HARD_NAMES} == {"ok"}
    assert {rows[f"text.{suffix}"].status for suffix in FORMATS} == {"unsupported"}
    # What a header says is not believed where the file is no such image: both refuse it.
    assert {rows[f"bomb.{suffix}"].status for suffix in FORMATS} <= {"too_large", "unreadable", "truncated"}
    assert {rows[f"honest.{suffix}"].status for suffix in HONEST} == {"too_large"}
    names = [f"not_{a}.{b}" for a in FORMATS for b in FORMATS if a != b]
    assert {name: rows[name].message for name in names if rows[name].status not in ("ok", "no_face")} == {}
    assert result.too_many_failed
    assert max(peaks) < GIB
