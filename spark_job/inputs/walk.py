"""Walk: through local folders and those that links in them lead to, each real folder once."""

import heapq
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from spark_job.inputs.kinds import IGNORED, IS_ARCHIVE, IS_PHOTO, NOWHERE, SPECIAL
from spark_job.inputs.roots import Root

FILE, FOLDER = "file", "folder"


@dataclass(slots=True)
class Folder:
    """A folder by the first in rank of the paths that lead to it; root: the input through which it was found.

    folders: path and real path of each folder in it. Of the photos and archives in it, by their names, files: how
    many there are; links: path and real path of each that is a link, or that Java cannot say; odd: path and kind
    (NOWHERE, SPECIAL) of each that is no file.
    """

    root: Root
    path: str
    folders: list[tuple[str, str]] = field(default_factory=list)
    files: int = 0
    links: list[tuple[str, str]] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)


def walk(roots: Iterable[Root]) -> dict[str, Folder]:
    """All folders that these lead to, themselves included, by their real paths, in the order of their ranks.

    A folder's path is longer than that of the one that it lies in: the first path that comes to a folder is its first.
    """
    waiting = [(rank(root.local_path), real_path(root.local_path), root) for root in roots]
    heapq.heapify(waiting)
    folders: dict[str, Folder] = {}
    while waiting:
        (*_, path), real, root = heapq.heappop(waiting)
        if real not in folders:
            folders[real] = folder = Folder(root, path)
            _look_into(folder, real)
            for inner, inner_real in folder.folders:
                heapq.heappush(waiting, (rank(inner), inner_real, root))
    return folders


def _look_into(folder: Folder, real: str) -> None:
    """Fill in what a folder holds; nothing where it cannot be read, of which Spark tells."""
    for entry in _entries(folder):
        kind = _kind(entry)
        own = posixpath.join(real, entry.name)
        if entry.is_symlink() and kind in (FILE, FOLDER):
            own = real_path(own)
        if kind == FOLDER:
            folder.folders.append((entry.path, own))
        elif is_listed(entry.name):
            if kind != FILE:
                folder.odd.append((entry.path, kind))
                continue
            folder.files += 1
            if entry.is_symlink() or not is_sayable(entry.path):
                folder.links.append((entry.path, own))


def files_in(folder: Folder) -> Iterator[str]:
    """The paths of all files in a folder, by links too, that Java can say."""
    return (entry.path for entry in _entries(folder) if _kind(entry) == FILE and is_sayable(entry.path))


def _entries(folder: Folder) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path) as entries:
            yield from (entry for entry in entries if not re.search(IGNORED, entry.name))
    except OSError:
        return


def _kind(entry: os.DirEntry[str]) -> str:
    """FILE, FOLDER, NOWHERE or SPECIAL; of a link, what it leads to."""
    try:
        if entry.is_file():
            return FILE
        if entry.is_dir():
            return FOLDER
        entry.stat()
    except OSError:
        return NOWHERE
    return SPECIAL


def is_listed(name: str) -> bool:
    """Whether a file of this name is a photo or an archive."""
    return bool(re.search(IS_PHOTO, name) or is_archive(name)) and not re.search(IGNORED, name)


def is_archive(name: str) -> bool:
    return bool(re.search(IS_ARCHIVE, name))


def rank(path: str) -> tuple[bool, int, str]:
    """Of several paths of a file, the first is one that Java can say, then the shortest, then the first by name."""
    return not is_sayable(path), len(path), path


def is_sayable(path: str) -> bool:
    """Whether Java can say a path: it is UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def real_path(path: str) -> str:
    """The path without links."""
    return os.path.realpath(path)
