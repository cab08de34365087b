"""Bombs: what an archive must not be, which would take Java's memory, or time without end.

Spark's reader takes an entry whole into Java's memory, whatever its header says of its size, and headers too.
"""

from typing import NamedTuple

# Photos hardly compress. Where an archive holds more than this for each byte of its own, it is a bomb.
MAX_RATIO, MAX_TOTAL = 100, 2**30
REFUSED = "the archive is not opened, and none of its photos is read"


class BombError(Exception):
    """Why an archive is not to be opened: a status and a message."""

    def __init__(self, message: str, status: str = "too_large") -> None:
        super().__init__(message)
        self.told = status, f"{REFUSED}: {message}"


class Entry(NamedTuple):
    """What stands in an archive: its name, the bytes that it has unpacked, whether it is a link, a device or a pipe."""

    name: str
    length: int
    is_link: bool = False


# Stands among the entries of an archive that Spark's reader may take otherwise than a look through it does.
ODD = Entry("", -1)


def most_inflated(length: int) -> int:
    """How many bytes an archive of so many may hold."""
    return max(MAX_TOTAL, MAX_RATIO * length)


def leads_out(name: str) -> bool:
    """Whether an entry's name leads out of its archive."""
    return ".." in name.split("/")
