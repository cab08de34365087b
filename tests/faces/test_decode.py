"""Bytes become upright RGB or one of the statuses; nothing else comes out of decode."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from spark_job.errors import PhotoError
from spark_job.faces import decode as decode_module
from spark_job.faces.decode import decode

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


def pixels_of(content: bytes) -> np.ndarray:
    return decode(content, MAX_PIXELS).pixels


def status_of(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content, max_pixels)
    assert caught.value.message
    return caught.value.status


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_contiguous_rgb(format_):
    pixels = pixels_of(encoded(smooth(), format_))
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
    assert (pixels_of(encoded(stored, "PNG", exif=exif)) == np.asarray(smooth())).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_colour_mode_gives_its_colours(mode):
    image = smooth().convert(mode)
    format_ = "TIFF" if mode == "CMYK" else "PNG"
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(pixels_of(encoded(image, format_)).astype(int) - expected).max() <= 2


def test_transparency_is_over_white():
    clear = smooth().convert("RGBA")
    clear.putalpha(0)
    assert (pixels_of(encoded(clear, "PNG")) == 255).all()
    palette = smooth().convert("P")
    corner = palette.getpixel((0, 0))
    pixels = pixels_of(encoded(palette, "PNG", transparency=corner))
    assert (pixels[0, 0] == 255).all()
    gray = Image.new("LA", (9, 9), (40, 0))
    assert (pixels_of(encoded(gray, "PNG")) == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    for format_ in ("PNG", "TIFF"):
        pixels = pixels_of(encoded(Image.fromarray(ramp), format_))
        assert (pixels[..., 0] == ramp >> 8).all()


def test_progressive_icc_and_animated_files_are_photos():
    assert pixels_of(encoded(smooth(), "JPEG", progressive=True)).shape == (64, 96, 3)
    assert pixels_of(encoded(smooth(), "JPEG", icc_profile=b"not a profile")).shape == (64, 96, 3)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = pixels_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
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
    assert pixels_of(encoded(smooth(), "PNG")).shape == (64, 96, 3)


@given(st.sampled_from(FORMATS), st.data())
def test_decode_raises_nothing_but_its_own_errors(format_, data):
    content = bytearray(encoded(smooth(24, 16), format_))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    try:
        outcome: object = pixels_of(bytes(content)).shape[2]
    except PhotoError as error:
        outcome = error.status
    assert outcome in (3, "empty", "truncated", "unreadable", "unsupported", "too_large")


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_at_a_part_of_its_size_and_keeps_its_own(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(smooth(960, 640), "JPEG", quality=95, exif=exif)
    sizes = {enough: decode(content, MAX_PIXELS, enough).pixels.shape[:2] for enough in (None, 961, 481, 480, 200, 1)}
    stored = {None: (640, 960), 961: (640, 960), 481: (640, 960), 480: (320, 480), 200: (160, 240), 1: (80, 120)}
    assert sizes == {k: size if orientation == 1 else size[::-1] for k, size in stored.items()}
    image = decode(content, MAX_PIXELS, 200)
    assert (image.width, image.height) == ((960, 640) if orientation == 1 else (640, 960))
    assert image.scale == 4


def test_only_jpegs_are_decoded_at_a_part_of_their_size():
    image = decode(encoded(smooth(960, 640), "PNG"), MAX_PIXELS, 100)
    assert image.scale == 1


@given(st.sampled_from(("RGB", "L", "CMYK")), st.booleans(), st.sampled_from((None, 40, 100)), st.data())
def test_a_jpeg_sound_or_damaged_comes_out_as_pillow_has_it(mode, progressive, enough_px, data):
    size = data.draw(st.tuples(st.integers(1, 130), st.integers(1, 130)))
    content = bytearray(
        encoded(smooth(*size).convert(mode), "JPEG", progressive=progressive, quality=data.draw(st.integers(20, 98)))
    )
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from((len(content), len(content), len(content) - 1, len(content) // 2)))]

    def outcome() -> tuple[object, ...]:
        try:
            image = decode(bytes(content), MAX_PIXELS, enough_px)
        except PhotoError as error:
            return error.status, error.message
        return image.pixels.tobytes(), image.pixels.shape, image.width, image.height

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_module, "_plain_jpeg", lambda content, file: None)
        assert outcome() == fast


def test_of_jpegs_only_those_that_libjpeg_takes_without_a_word_are_not_pillows():
    sound = encoded(smooth(), "JPEG")
    odd = {"cmyk": encoded(smooth().convert("CMYK"), "JPEG"), "no end": sound[:-2], "other": encoded(smooth(), "PNG")}

    def is_plain(content: bytes) -> bool:
        with Image.open(io.BytesIO(content)) as file:
            return decode_module._plain_jpeg(content, file) is not None

    assert is_plain(sound)
    assert is_plain(encoded(smooth().convert("L"), "JPEG"))
    assert not any(is_plain(content) for content in odd.values())
