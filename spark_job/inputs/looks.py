"""Looks: through every archive, in Spark's workers, before Spark opens any of them.

A look reads the headers of a tar, the bytes of a tar.gz or the directory of a zip once. What it finds is the listing of
the archive, too: Spark itself lists only those that are damaged or odd.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.inputs.bombs import ODD, BombError, Entry, leads_out, most_inflated
from spark_job.inputs.kinds import IGNORED, IS_PHOTO
from spark_job.inputs.tars import Inflated, look_through_tar
from spark_job.inputs.zips import look_through_zip
from spark_job.spark.copies import with_copies
from spark_job.spark.hadoop import path_of
from spark_job.spark.session import step

MAX_TASKS_A_CORE = 8
EXAMPLES = 3
ROWS_A_BATCH = 4096
UNFINISHED = "._COPYING_"  # how names end that Spark leaves out
TAR_PADDING = 2**20  # bytes that may follow the end of a tar in a tar.gz; programs write 10 KiB
NO_7Z = ("unsupported", "7z archives are not read: pack the photos as tar, tar.gz or zip")
# An entry that is a photo, or the account of an archive, in JSON.
ROWS = "source string, path string, length long, modified_ms long, account string"
_ARROW = pa.schema(
    {
        "source": pa.string(),
        "path": pa.string(),
        "length": pa.int64(),
        "modified_ms": pa.int64(),
        "account": pa.string(),
    }
)
Row = tuple[str, str | None, int | None, int | None, str | None]
# As Java's regular expressions take letter case.
_PHOTO, _IGNORED = re.compile(IS_PHOTO, re.ASCII), re.compile(IGNORED, re.ASCII)


@dataclass
class Account:
    """What a look says of an archive as a whole.

    refused: status and message, where it is not to be opened; is_odd: Spark may list it otherwise; outside: how many
    entries have .. in their names, which Spark leaves out; others: how many are no photos; links: names of those that
    are no files.
    """

    refused: tuple[str, str] | None = None
    is_empty: bool = False
    is_odd: bool = False
    outside: int = 0
    others: int = 0
    examples: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def take(self, entry: Entry) -> str | None:
        """Count an entry; where it is a photo, its name as Spark lists it."""
        if entry == ODD:
            self.is_odd = True
            return None
        name = entry.name
        if "/." in f"/{name}" or "//" in f"/{name}":
            self.outside += leads_out(name)
            segments = [segment for segment in name.split("/") if segment not in ("", ".")]
            if any(map(_IGNORED.search, segments)):
                return None
            name = "/".join(segments)
        if not name.isprintable() or not name or UNFINISHED in name:
            self.is_odd = True
        if not entry.is_link and _PHOTO.search(name):
            return name
        self.others += 1
        if entry.is_link:
            self.links.append(name)
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)
        return None


class Looks(NamedTuple):
    """What looks through archives find: rows, which stay in Spark's cache until forget; and by URI, accounts."""

    rows: DataFrame | None
    accounts: dict[str, Account]

    @property
    def refused(self) -> dict[str, tuple[str, str]]:
        return {uri: account.refused for uri, account in self.accounts.items() if account.refused}

    @property
    def empty(self) -> list[str]:
        return [uri for uri, account in self.accounts.items() if account.is_empty]

    @property
    def odd(self) -> list[str]:
        """Those that Spark is to list."""
        return [uri for uri, account in self._opened() if account.is_odd and not account.is_empty]

    @property
    def outside(self) -> int:
        return sum(account.outside for _, account in self._opened())

    @property
    def others(self) -> int:
        """How many entries are no photos."""
        return sum(account.others for _, account in self._opened())

    @property
    def examples(self) -> list[str]:
        """Paths of some such entries."""
        return [f"{path_of(uri)}!/{name}" for uri, account in self._opened() for name in account.examples][:EXAMPLES]

    @property
    def links(self) -> list[str]:
        """Paths of rows of entries that are no files."""
        return [f"{path_of(uri)}!/{name}" for uri, account in self._opened() for name in account.links]

    def listing(self) -> DataFrame | None:
        """path, length, modificationTime and source of the photos in archives that Spark is not to list."""
        if self.rows is None:
            return None
        unlisted = [uri for uri, account in self.accounts.items() if account.refused or account.is_odd]
        rows = self.rows.where("path IS NOT NULL")
        return (rows.where(~F.col("source").isin(unlisted)) if unlisted else rows).select(
            "path", "length", F.timestamp_millis("modified_ms").alias("modificationTime"), "source"
        )

    def forget(self) -> None:
        """Let go of the rows, once they are in a listing, or where none is wanted."""
        if self.rows is not None:
            self.rows.unpersist()

    def _opened(self) -> list[tuple[str, Account]]:
        return [(uri, account) for uri, account in self.accounts.items() if not account.refused]


def look_through_all(spark: SparkSession, uris: list[str], max_bytes: int) -> Looks:
    """Look through archives, in Spark's workers; through those that are in no mounted file system, by copies."""
    accounts = {uri: Account(refused=NO_7Z) for uri in uris if uri.lower().endswith(".7z")}
    here = [uri for uri in uris if uri not in accounts and urlsplit(uri).scheme == "file"]
    away = {path_of(uri): uri for uri in uris if uri not in accounts and urlsplit(uri).scheme != "file"}
    parts = list[DataFrame]()
    if here:
        tasks = min(len(here), MAX_TASKS_A_CORE * spark.sparkContext.defaultParallelism)
        archives = spark.createDataFrame(spark.sparkContext.parallelize([(uri,) for uri in here], tasks), "uri string")
        parts.append(archives.mapInArrow(functools.partial(_look_here, max_bytes), ROWS))
    if away:
        parts.append(with_copies(spark, functools.partial(_look_at_copy, max_bytes, away), list(away), _ARROW))
    if not parts:
        return Looks(None, accounts)
    rows = functools.reduce(DataFrame.unionAll, parts).persist(StorageLevel.DISK_ONLY)
    with step(spark, "look through the archives"):
        told = rows.where("account IS NOT NULL").select("source", "account").collect()
    return Looks(rows, accounts | {row.source: Account(**json.loads(row.account)) for row in told})


def _look_here(max_bytes: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for uri in batch.column("uri").to_pylist():
            yield from _batches(_rows(uri, local_path(uri), None, max_bytes))


def _look_at_copy(
    max_bytes: int, uris: Mapping[str, str], path: str, copy: Path, modified_ms: int
) -> Iterator[pa.RecordBatch]:
    return _batches(_rows(uris[path], copy, modified_ms, max_bytes))


def _rows(uri: str, path: Path, modified_ms: int | None, max_bytes: int) -> Iterator[Row]:
    """A row for each photo in an archive, and the last one for its account. modified_ms: None for that of the path."""
    account = Account()
    try:
        told = path.stat()
        account.is_empty = not told.st_size
        modified_ms = told.st_mtime_ns // 10**6 if modified_ms is None else modified_ms
        for entry in look_through(path, max_bytes):
            if name := account.take(entry):
                yield uri, f"{path_of(uri)}!/{name}", entry.length, modified_ms, None
    except BombError as bomb:
        account.refused = bomb.told
    except OSError:  # Spark says what there is to say
        account.is_odd = True
    yield uri, None, None, None, json.dumps(asdict(account))


def _batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while some := list(itertools.islice(rows, ROWS_A_BATCH)):
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, part.type) for column, part in zip(zip(*some, strict=True), _ARROW, strict=True)],
            schema=_ARROW,
        )


def local_path(uri: str) -> Path:
    """The path of a file: URI, percent signs decoded."""
    return Path(path_of(uri).removeprefix("file:"))


def look_through(path: Path, max_bytes: int) -> Iterator[Entry]:
    """The entries of a local archive by their headers, and of a tar.gz by its bytes. Raises BombError; OSError.

    What is damaged is ODD, and left to Spark, which says so; a zip that Python cannot open is refused.
    """
    kind = path.suffix.lower()
    with path.open("rb", buffering=0 if kind == ".tar" else -1) as file:
        length = path.stat().st_size
        if kind == ".zip":
            yield from look_through_zip(file, length, max_bytes)
        elif kind == ".tar":
            yield from look_through_tar(file.read, lambda n: file.seek(n, 1))
        else:
            inflated = Inflated(file, most_inflated(length))
            yield from look_through_tar(inflated.read, inflated.skip)
            inflated.skip(TAR_PADDING)
            if not inflated.is_whole:
                yield ODD
