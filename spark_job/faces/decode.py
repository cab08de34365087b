"""Decode: the bytes of a photo -> upright RGB pixels, or the reason why not."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile

from spark_job.errors import PhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*")
WHITE = (255, 255, 255, 255)
STRIP_PIXELS = 2**20
Pixels = NDArray[np.uint8]


class Image(NamedTuple):
    """A decoded photo: uint8 pixels (rows, columns, 3), RGB, upright, and the photo's own size, px.

    The pixels may be fewer than the photo's: scale is how many of its px one of them stands for.
    """

    pixels: Pixels
    width: int
    height: int

    @property
    def scale(self) -> float:
        return self.width / len(self.pixels[0])


def decode(content: bytes, max_pixels: int, enough_px: int | None = None, partly: bool = False) -> Image:
    """Upright RGB pixels of a photo.

    content: the file's bytes. enough_px: a JPEG of which the longer side is a multiple (2, 4, 8) of this or more is
    decoded at that part of its size, which libjpeg does in that part of the time. partly: of an image that ends
    early, what there is of it. The pixels are C-contiguous, turned by EXIF orientation, transparency over white, the
    first frame of several, 16 bits scaled to 8.
    Raises PhotoError (empty, too_large, truncated, unsupported, unreadable) and nothing else.
    """
    if not content:
        raise PhotoError("empty", "the file has no bytes")
    try:
        with _strict_pillow(partly), PIL.Image.open(io.BytesIO(content), formats=FORMATS) as file:
            width, height = file.size
            if width * height > max_pixels:
                raise PhotoError(
                    "too_large",
                    f"{width}x{height} pixels are more than the {max_pixels:,} that --max-pixels allows",
                )
            if enough_px and file.format == "JPEG":
                file.draft(None, _at_least(enough_px, width, height))
            pixels = _plain_jpeg(content, file)
            if pixels is None:
                file.load()
                pixels = _rgb_pixels(file)
            orientation = _orientation(file)
        pixels = np.ascontiguousarray(_upright(pixels, orientation))
    except PhotoError:
        raise
    except PIL.UnidentifiedImageError:
        raise _unidentified(content) from None
    except MemoryError:
        raise PhotoError("too_large", "not enough memory to decode it") from None
    except Exception as error:  # Pillow's plugins raise any type on hostile bytes; all mean the same here
        raise _damaged(content, error) from None
    is_turned = (height > width) != (pixels.shape[0] > pixels.shape[1]) and height != width
    return Image(pixels, *((height, width) if is_turned else (width, height)))


def _at_least(enough_px: int, width: int, height: int) -> tuple[int, int]:
    """The size that a photo has where its longer side is enough_px; its own, if that is less."""
    part = min(1.0, enough_px / max(width, height))
    return math.ceil(width * part), math.ceil(height * part)


@contextmanager
def _strict_pillow(partly: bool) -> Iterator[None]:
    """Pillow with its check of truncated files on, unless they will do, whatever another library in the process set.

    Importing face_recognition sets LOAD_TRUNCATED_IMAGES, and half a JPEG then decodes without an error.
    The check of size is ours, and the warnings of damaged metadata are of no use in a worker's log.
    """
    truncated, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, partly
    max_pixels, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS = truncated, max_pixels


def _orientation(image: PIL.Image.Image) -> int:
    """EXIF's number for how the image lies; 1, upright, where the EXIF block is damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata raise any type, and the pixels are good all the same
        return 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels turned by EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _plain_jpeg(content: bytes, file: PIL.ImageFile.ImageFile) -> Pixels | None:
    """The pixels of a sound JPEG in colour or grey, at the size of file; None of anything else, which is Pillow's.

    libjpeg-turbo fills the array itself, for the same pixels in half of Pillow's time. It stops at whatever libjpeg
    only warns of: that Pillow judges.
    """
    if file.format != "JPEG" or file.mode not in ("RGB", "L"):
        return None
    try:
        pixels = np.asarray(simplejpeg.decode_jpeg(content, "RGB", min_height=file.height, min_width=file.width))
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (file.height, file.width) else None


def _rgb_pixels(image: PIL.Image.Image) -> Pixels:
    """The pixels as RGB, made by strips: with the image, they are all that is in memory at once."""
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    rows = max(STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        strip = pixels[top : top + rows]
        strip[:] = np.asarray(_rgb(image.crop((0, top, image.width, top + len(strip)))))
    return pixels


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    if image.mode.startswith("I"):  # 16 bits, held in 16 or 32
        image = PIL.Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise PhotoError("unsupported", "floating-point pixels have no agreed brightness")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, WHITE), image)
    return image.convert("RGB")


def _unidentified(content: bytes) -> PhotoError:
    if content.startswith(SIGNATURES):
        return PhotoError("unreadable", "the file's header is damaged")
    return PhotoError("unsupported", "its bytes are not of a JPEG, PNG, WebP, BMP, GIF or TIFF image")


def _damaged(content: bytes, error: Exception) -> PhotoError:
    reason = str(error).strip() or type(error).__name__
    webp_ends_early = content[:4] == b"RIFF" and len(content) < 8 + int.from_bytes(content[4:8], "little")
    if webp_ends_early or "truncated" in reason.lower() or isinstance(error, EOFError):
        return PhotoError("truncated", f"the file ends before its image does: {reason}")
    return PhotoError("unreadable", f"the file is damaged: {reason}")
