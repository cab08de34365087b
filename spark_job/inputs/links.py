"""Links: each real file of local inputs once, by the first in rank of the paths that lead to it.

Spark's listing follows links too, in circles until the kernel will not, and says nothing of what it cannot list. So
it is given folders of which it lists what it should and no more, and where a folder is none, its files.
"""

import contextlib
import os
import posixpath
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from spark_job.inputs.kinds import NAMELESS, SPECIAL
from spark_job.inputs.roots import Root
from spark_job.inputs.walk import files_in, is_archive, is_listed, is_sayable, rank, real_path, walk

Unlisted = tuple[str, str, int, int]


class Links:
    """Where inputs lead that are local folders, photos and archives."""

    def __init__(self, roots: Iterable[Root]) -> None:
        roots = list(roots)
        self._folders = walk(root for root in roots if root.is_folder)
        self._tops = [(root.local_path, real_path(root.local_path)) for root in roots if root.is_folder]
        self._files = [root.local_path for root in roots if os.path.isfile(root.local_path)]  # noqa: PTH113
        self._paths = [sorted(paths, key=rank) for paths in self._leads().values()]
        self._others = {path for _, *others in self._paths for path in others}
        self._others_in = Counter(map(posixpath.dirname, self._others))

    def _leads(self) -> dict[tuple[str, bool], set[str]]:
        """The paths of each file that is an input, that a link leads to, or that Java cannot say.

        The key is the real path, and whether these paths are of an archive: by its name, a link to one may be a photo.
        """
        leads = defaultdict[tuple[str, bool], set[str]](set)
        for path in self._files:
            leads[real_path(path), is_archive(path)].add(path)
        for folder in self._folders.values():
            for path, real in folder.links:
                leads[real, is_archive(path)].add(path)
        for (real, of_archive), paths in leads.items():
            home, name = self._folders.get(posixpath.dirname(real)), posixpath.basename(real)
            if home and is_listed(name) and is_archive(name) == of_archive:
                paths.add(posixpath.join(home.path, name))
        return leads

    def to_list(self) -> Iterator[str]:
        """The paths of folders, of which Spark is to list all, and of files."""
        yield from (f"file:{path}" for path in self._listed())

    def _listed(self) -> Iterator[str]:
        whole, inside = self._whole(), set[str]()
        for real, folder in self._folders.items():
            if real not in whole:
                yield from (path for path in files_in(folder) if path not in self._others)
                continue
            if real not in inside and is_sayable(folder.path):
                yield folder.path
            inside.update(inner for path, inner in folder.folders if self._folders[inner].path == path)
        shown = {folder.path for folder in self._folders.values()}
        yield from (path for path in self._files if path not in self._others and posixpath.dirname(path) not in shown)

    def _whole(self) -> set[str]:
        """The real paths of the folders of which Spark lists what it should, and of all that lies in them."""
        whole = set[str]()
        for real, folder in reversed(self._folders.items()):  # what lies in a folder comes after it
            inner_whole = all(
                self._folders[inner].path == path and inner in whole
                for path, inner in folder.folders
                if is_sayable(path)
            )
            is_special = any(kind == SPECIAL for _, kind in folder.odd)
            if inner_whole and not is_special and not self._others_in[folder.path]:
                whole.add(real)
        return whole

    def unlisted(self) -> dict[str, list[Unlisted]]:
        """URI, path, length and time (ms), by kind, of the photos and archives that Spark cannot list, or not read."""
        rows = defaultdict[str, list[Unlisted]](list)
        for folder in self._folders.values():
            unsaid = [path for path, _ in folder.links if not is_sayable(path) and path not in self._others]
            for path, kind in [*folder.odd, *((path, NAMELESS) for path in unsaid)]:
                with contextlib.suppress(FileNotFoundError):  # gone since
                    rows[kind].append(_row(folder.root, path))
        return rows

    def twice(self) -> int:
        """How many photos and archives have several paths."""
        edges = [*self._tops, *(edge for folder in self._folders.values() for edge in folder.folders)]
        again = self._reached(real for path, real in edges if path != self._folders[real].path)
        counts = {self._folders[real].path: self._folders[real].files for real in again}
        alone = [first for first, *others in self._paths if others and posixpath.dirname(first) not in counts]
        return sum(files - self._others_in[path] for path, files in counts.items()) + len(alone)

    def leads_elsewhere(self, root: Root) -> bool:
        """Whether an input leads to a file that is listed by a path outside of it."""
        if not root.is_folder:
            return root.local_path in self._others
        inside = posixpath.join(root.local_path, "")
        reached = [self._folders[real] for real in self._reached([real_path(root.local_path)])]
        return any(
            self._others_in[folder.path] or (folder.files and not posixpath.join(folder.path, "").startswith(inside))
            for folder in reached
        )

    def _reached(self, reals: Iterable[str]) -> set[str]:
        """The real paths of folders, and of all that can be reached from them."""
        waiting, reached = list(reals), set[str]()
        while waiting:
            if (real := waiting.pop()) not in reached:
                reached.add(real)
                waiting += [inner for _, inner in self._folders[real].folders]
        return reached


def read_as(roots: Iterable[Root]) -> dict[str, Root]:
    """The path of each root -> the first in rank of those that lead to the same folder or file."""
    first: dict[str, Root] = {}
    ranked = sorted(roots, key=lambda root: rank(root.path))
    leads = {root.path: real_path(root.local_path) if root.is_local else root.path for root in ranked}
    for root in ranked:
        first.setdefault(leads[root.path], root)
    return {path: first[lead] for path, lead in leads.items()}


def _row(root: Root, path: str) -> Unlisted:
    """What the listing says of a file: its URI begins as that of the input through which it was found."""
    told = os.stat(path, follow_symlinks=False)  # noqa: PTH116
    length = told.st_size if stat.S_ISREG(told.st_mode) else 0
    text = os.fsencode(path).decode(errors="backslashreplace")
    uri = root.uri + quote(os.fsencode(path.removeprefix(root.local_path)))
    return uri, f"file:{text}", length, told.st_mtime_ns // 10**6
