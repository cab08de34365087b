"""Cache: the folders in which downloads, converted models and compiled code are kept."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs


def folders() -> Iterator[Path]:
    """Where to look, and where to write: the first of these that will do.

    FACEMEAN_CACHE, or else the user's cache folder; then one below the folder for temporary files, for users without
    a home or with one that is read-only, as in containers.
    """
    chosen = os.environ.get("FACEMEAN_CACHE")
    yield Path(chosen) if chosen else platformdirs.user_cache_path("facemean")
    # Others can guess this name, and make it first: only a folder of this user's own will do.
    fallback = Path(tempfile.gettempdir()) / f"facemean-{os.getuid()}"
    if not fallback.exists() or (fallback.lstat().st_uid == os.getuid() and is_ours(fallback)):
        yield fallback


def writable_folder(ours: bool = False) -> Path:
    """The first folder that can be made and written to, and by nobody else where it is to be ours. Raises OSError."""
    *others, last = folders()
    for folder in others:
        try:
            if is_ours(_made(folder)) or not ours:
                return folder
        except OSError:
            continue
    return _made(last)


def kept(stem: str, suffix: str) -> Iterator[Path]:
    """The sound files of a name that ends in their own digest, as keep gives it."""
    for folder in folders():
        for path in folder.glob(f"{stem}*{suffix}"):
            if _is_sound(path, stem):
                yield path


def keep(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    """A file named after its content, whole or not at all, whoever else writes it. Raises OSError."""
    name = f"{stem}{hashlib.sha256(content).hexdigest()}{suffix}"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        return Path(temporary).replace(folder / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_ours(path: Path) -> bool:
    """Whether nobody but this user and root can have written a file, or into a folder."""
    status = path.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    return not is_link and status.st_uid in (0, os.getuid()) and not status.st_mode & 0o022


def sha256(path: Path) -> str:
    """The digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sound(path: Path, stem: str) -> bool:
    try:
        return path.stem == stem + sha256(path)
    except OSError:
        return False


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder
