"""Classes: those that Java loads for Spark, kept from one start to the next as it has them in memory.

Java reads and verifies some 15,000 classes at each start, a third of a short run's work. It can map an archive of
them instead (class data sharing). A run where there is none yet has Java write one as it ends, behind the run's back,
and the next start takes it. One that is damaged, or of another Java or Spark, Java leaves alone without a word.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from spark_job.cache import folders, writable_folder

KEPT_S = 7 * 24 * 3600  # since it was last used
UNFINISHED_S = 600.0
# Of what it does not take, Java would say so on standard output.
SILENT = "-Xlog:cds*=off"


def sharing_options(java: Path, jars: Path, records: bool) -> list[str]:
    """Java's options to take the archive for this Java and these jars; to write it, where records and there is none."""
    with suppress(OSError):
        name = f"java-{_key(java, jars)}"
        for folder in folders():
            if archive := _archive(folder, name):
                return [f"-XX:SharedArchiveFile={archive}", SILENT]
        if records:
            return [f"-XX:ArchiveClassesAtExit={writable_folder() / f'{name}.{os.getpid()}.jsa'}", SILENT]
    return []


def _key(java: Path, jars: Path) -> str:
    """What an archive holds for: the program Java, and each jar by its name, size and time."""
    files = [java.resolve(), *sorted(jars.iterdir())]
    told = [(str(path), status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _archive(folder: Path, name: str) -> Path | None:
    """The archive of this name; where there is none, one that has been written since the last start takes it."""
    archive = folder / f"{name}.jsa"
    if not archive.exists():
        written = next(filter(_is_whole, folder.glob(f"{name}.*.jsa")), None)
        if written is None:
            return None
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(archive)
        _tidy(folder, archive)
    with suppress(OSError):  # of a folder for reading only
        os.utime(archive)
    return archive


def _is_whole(archive: Path) -> bool:
    """Java writes the head of an archive last."""
    with archive.open("rb") as file:
        return any(file.read(4))


def _tidy(folder: Path, archive: Path) -> None:
    """Remove what nobody has used for long, and what no Java came to finish."""
    now = time.time()
    for other in folder.glob("java-*.jsa"):
        kept_s = KEPT_S if _is_whole(other) and other.name.count(".") == 1 else UNFINISHED_S
        if other != archive and now - other.stat().st_mtime > kept_s:
            other.unlink(missing_ok=True)
