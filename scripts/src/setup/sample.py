"""Make the sample: the real photos inside face_recognition's source distribution, and variants of them.

Usage: sample.py FOLDER. The distribution is fetched once with pip; a sample that is there stays as it is.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from PIL import Image

DISTRIBUTION = "face_recognition==1.3.0"
IN_DISTRIBUTION = "tests/test_images/"
EXIF_ORIENTATION = 0x0112


def main(folder: Path) -> None:
    if (folder / ".complete").exists():
        return
    print(f"sample: fetching the photos of {DISTRIBUTION} into {folder}", file=sys.stderr)
    (folder / "variants").mkdir(parents=True, exist_ok=True)
    for name, content in _photos():
        (folder / name).write_bytes(content)
    _variants(folder)
    (folder / ".complete").touch()


def _photos() -> list[tuple[str, bytes]]:
    """Name and bytes of each photo in the source distribution."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
        subprocess.run([*command, "--no-binary", ":all:", "--dest", scratch, DISTRIBUTION], check=True)
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            members = [member for member in archive if member.isfile() and IN_DISTRIBUTION in member.name]
            return [(PurePosixPath(m.name).name, archive.extractfile(m).read()) for m in members]  # type: ignore[union-attr]


def _variants(folder: Path) -> None:
    """The forms in which photos reach an archive: turned, in other colours and formats, cut short, without a face."""
    variants = folder / "variants"
    whole = (folder / "obama.jpg").read_bytes()
    with Image.open(folder / "biden.jpg") as photo:
        turned, exif = photo.transpose(Image.Transpose.ROTATE_90), Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        turned.save(variants / "_turned_by_exif.JPG", exif=exif, quality=95)
        photo.convert("CMYK").save(variants / "cmyk.jpeg", quality=95)
        photo.convert("L").save(variants / "gray.png")
        photo.save(variants / "two words.webp", quality=95)
        photo.crop((0, 0, photo.width, photo.height // 8)).save(variants / "no_face.png")
        pair = Image.new("RGB", (2 * photo.width, photo.height))
        pair.paste(photo, (0, 0))
        pair.paste(photo, (photo.width, 0))
        pair.save(variants / "two_faces.jpg", quality=95)
    (variants / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (variants / "empty.jpg").write_bytes(b"")
    (variants / "not_a_photo.jpg").write_bytes(b"<html>not found</html>")
    (variants / "damaged.png").write_bytes(_flipped(variants / "gray.png"))


def _flipped(path: Path) -> bytes:
    """A file with its middle bytes inverted."""
    content = io.BytesIO(path.read_bytes())
    middle = len(content.getvalue()) // 2
    content.seek(middle)
    content.write(bytes(255 - byte for byte in content.getvalue()[middle : middle + 64]))
    return content.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
