"""Classes: those that Java loads for Spark, kept from one start to the next as it has them in memory.

Java reads and verifies some 15,000 classes at each start, a third of a short run's work. It can map an archive of
them instead (class data sharing). Where there is none yet, Java writes one when a run has ended, behind its back, and
the next start takes it. One that is damaged, or of another Java or Spark, Java leaves alone without a word.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from spark_job.cache import folders, writable_folder

KEPT_S = 7 * 24 * 3600.0  # since it was last used
UNFINISHED_S = 600.0
# Of what it does not take, Java would say so on standard output.
SILENT = "-Xlog:cds*=off"


class Sharing(NamedTuple):
    """Java's options, and the archive that it will write when it ends, if any."""

    options: list[str]
    new: Path | None


def sharing(java: Path, jars: Path, records: bool) -> Sharing:
    """Whether Java takes an archive for this Java and these jars; where there is none, it writes one if it records."""
    with suppress(OSError):
        name = f"java-{_key(java, jars)}"
        for folder in folders():
            if archive := _archive(folder, name):
                return Sharing([f"-XX:SharedArchiveFile={archive}", SILENT], None)
        if records:
            new = writable_folder() / f"{name}.{os.getpid()}.jsa"
            return Sharing([f"-XX:ArchiveClassesAtExit={new}", SILENT], new)
    return Sharing([], None)


def keep(new: Path) -> None:
    """Say of an archive that is yet to be written that it is of a run that went well: of others it would lack much."""
    with suppress(OSError):
        _mark(new).touch()


def _mark(new: Path) -> Path:
    return new.with_suffix(".kept")


def _key(java: Path, jars: Path) -> str:
    """What an archive holds for: the program Java, and each jar by its name, size and time."""
    files = [java.resolve(), *sorted(jars.iterdir())]
    told = [(str(path), status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _archive(folder: Path, name: str) -> Path | None:
    """The archive of this name; where there is none, one that has been written since the last start takes it."""
    archive = folder / f"{name}.jsa"
    if not archive.exists():
        written = [new for new in folder.glob(f"{name}.*.jsa") if _mark(new).exists() and is_whole(new)]
        if not written:
            return None
        with written[0].open("rb") as file:
            os.fsync(file.fileno())
        written[0].replace(archive)
        _mark(written[0]).unlink()
        _tidy(folder)
    with suppress(OSError):  # of a folder for reading only
        os.utime(archive)
    return archive


def is_whole(archive: Path) -> bool:
    """Java writes the head of an archive last."""
    with archive.open("rb") as file:
        return any(file.read(4))


def _tidy(folder: Path) -> None:
    """Remove what nobody has used for long, and what came to nothing."""
    now = time.time()
    for path in (*folder.glob("java-*.jsa"), *folder.glob("java-*.kept")):
        kept_s = KEPT_S if path.name.count(".") == 1 else UNFINISHED_S
        if now - path.stat().st_mtime > kept_s:
            path.unlink(missing_ok=True)
