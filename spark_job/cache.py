"""Cache: the folders in which downloads and converted models are kept."""

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
    if not fallback.exists() or _is_ours(fallback):
        yield fallback


def writable_folder() -> Path:
    """The first folder that can be made and written to. Raises OSError where there is none."""
    *others, last = folders()
    for folder in others:
        try:
            return _made(folder)
        except OSError:
            continue
    return _made(last)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def _is_ours(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
