"""Bytes become upright RGB or one of the statuses; nothing else comes out of decode."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from spark_job.decode import decode
from spark_job.errors import PhotoError

MAX_PIXELS = 10**6
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def smooth(width: int = 96, height: int = 64) -> Image.Image:
    """A picture that compression hardly changes: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def status_of(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content, max_pixels)
    assert caught.value.message
    return caught.value.status


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_contiguous_rgb(format_):
    pixels = decode(encoded(smooth(), format_), MAX_PIXELS)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (64, 96, 3)
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - np.asarray(smooth())).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    turns = Image.Transpose
    stored_as = {
        1: [], 2: [turns.FLIP_LEFT_RIGHT], 3: [turns.ROTATE_180], 4: [turns.FLIP_TOP_BOTTOM], 5: [turns.TRANSPOSE],
        6: [turns.ROTATE_90], 7: [turns.TRANSVERSE], 8: [turns.ROTATE_270],
    }  # fmt: skip
    stored, exif = smooth(), Image.Exif()
    for turn in stored_as[orientation]:
        stored = stored.transpose(turn)
    exif[0x0112] = orientation
    assert (decode(encoded(stored, "PNG", exif=exif), MAX_PIXELS) == np.asarray(smooth())).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_colour_mode_gives_its_colours(mode):
    image = smooth().convert(mode)
    format_ = "TIFF" if mode == "CMYK" else "PNG"
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(decode(encoded(image, format_), MAX_PIXELS).astype(int) - expected).max() <= 2


def test_transparency_is_over_white():
    clear = smooth().convert("RGBA")
    clear.putalpha(0)
    assert (decode(encoded(clear, "PNG"), MAX_PIXELS) == 255).all()
    palette = smooth().convert("P")
    corner = palette.getpixel((0, 0))
    pixels = decode(encoded(palette, "PNG", transparency=corner), MAX_PIXELS)
    assert (pixels[0, 0] == 255).all()
    gray = Image.new("LA", (9, 9), (40, 0))
    assert (decode(encoded(gray, "PNG"), MAX_PIXELS) == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    for format_ in ("PNG", "TIFF"):
        pixels = decode(encoded(Image.fromarray(ramp), format_), MAX_PIXELS)
        assert (pixels[..., 0] == ramp >> 8).all()


def test_progressive_icc_and_animated_files_are_photos():
    assert decode(encoded(smooth(), "JPEG", progressive=True), MAX_PIXELS).shape == (64, 96, 3)
    assert decode(encoded(smooth(), "JPEG", icc_profile=b"not a profile"), MAX_PIXELS).shape == (64, 96, 3)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), MAX_PIXELS)
    assert (pixels[0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_file_cut_short_is_truncated(format_, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    content = encoded(noise, format_)
    assert status_of(content[: int(len(content) * kept)]) == "truncated"


def test_truncation_is_found_where_face_recognition_switched_the_check_off(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = encoded(smooth(), "JPEG", quality=95)
    assert status_of(content[: len(content) // 2]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES, "what the caller set stays set"


def test_statuses_say_why_there_is_no_image():
    assert status_of(b"") == "empty"
    assert status_of(b"<html>not found</html>") == "unsupported"
    assert status_of(b"\x89PNG\r\n\x1a\n" + b"\0" * 50) == "unreadable"
    assert status_of(encoded(smooth(), "JPEG")[:12]) == "truncated"
    assert status_of(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")) == "unsupported"
    assert status_of(encoded(smooth(), "PNG"), max_pixels=96 * 64 - 1) == "too_large"


def test_a_bomb_is_refused_by_its_header():
    content = bytearray(encoded(smooth(), "BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    assert status_of(bytes(content), max_pixels=10**8) == "too_large"


def test_a_photo_beyond_pillows_own_limit_is_the_operators_choice(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(encoded(smooth(), "PNG"), MAX_PIXELS).shape == (64, 96, 3)


@given(st.sampled_from(FORMATS), st.data())
def test_decode_raises_nothing_but_its_own_errors(format_, data):
    content = bytearray(encoded(smooth(24, 16), format_))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        outcome: object = decode(bytes(content), MAX_PIXELS).shape[2]
    except PhotoError as error:
        outcome = error.status
    assert outcome in (3, "empty", "truncated", "unreadable", "unsupported", "too_large")
