"""Output: the results of a run, as what comes after it reads them: without the inputs, without Spark where it can."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from spark_job.errors import OutputError
from spark_job.row import KEY
from spark_job.table.lock import is_leased, is_locked

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_job.spark.hadoop import FileSystem

SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:/"
# As Spark writes it, which stamps no zone on what is UTC; and no page is read whose checksum is wrong.
PARQUET = ds.ParquetFileFormat(coerce_int96_timestamp_unit="us", page_checksum_verification=True)
# Columns that files of earlier versions lack.
ADDED = {"photos": [pa.field("processor", pa.string())]}


class Output(NamedTuple):
    """One output, as its storage gives it.

    exists: whether a file or folder is there; file: its bytes; table: (name, columns[, settings_id[, paths]]) -> those
    columns of a Parquet table, of all rows or of those of one settings_id and of these paths; is_held: whether a run
    holds it; write: replace a file, whole or not at all.
    """

    uri: str
    exists: Callable[[str], bool]
    file: Callable[[str], bytes]
    table: Callable[..., pa.Table]
    is_held: Callable[[], bool]
    write: Callable[[str, bytes], None]

    def document(self, name: str) -> dict[str, Any] | None:
        """mean.json, run.json or statistics.json; None where there is none yet. Raises OutputError."""
        if not self.exists(name):
            return None
        try:
            document: dict[str, Any] = json.loads(self.file(name))
        except ValueError as error:
            raise OutputError(f"{self.uri}/{name} is damaged ({error}): run again, which writes it anew") from None
        return document

    def current(self, *columns: str, paths: Sequence[str] | None = None) -> pa.Table:
        """KEY, group and these columns of the one row of each photo of the latest run, sorted by path.

        paths: of these photos alone, all rows being read and few kept. Columns are null where a photo has no row. Of
        several rows of one photo, one that says what is in it counts, as in table/store.py.
        """
        run = self.document("run.json")
        if run is None:
            raise OutputError(f"{self.uri} has no run.json: it is no output of this version's; run again into it")
        listing = self.table("listing", [*KEY, "group"], None, paths)
        if not self.exists("photos"):  # of a run that has just begun
            for name in columns:
                listing = listing.append_column(name, pa.nulls(len(listing)))
            return listing
        wanted = dict.fromkeys([*KEY, *columns, "decode_ms"])
        rows = self.table("photos", list(wanted), run["settings_id"], paths)
        place = pa.array(np.arange(len(rows)))
        rank = pc.add(pc.multiply(pc.is_valid(rows["decode_ms"]).cast(pa.int64()), len(rows)), place)
        best = rows.select(KEY).append_column("rank", rank).group_by(KEY).aggregate([("rank", "max")])
        joined = listing.join(best, KEY, join_type="left outer").sort_by([(name, "ascending") for name in KEY])
        best_rank = joined["rank_max"]
        chosen = pc.if_else(pc.less(best_rank, len(rows)), best_rank, pc.subtract(best_rank, len(rows)))
        taken = rows.select(list(columns)).take(chosen)
        for name in columns:
            joined = joined.append_column(rows.schema.field(name), taken[name])
        return joined.drop_columns("rank_max")


@contextmanager
def reading(uri: str, master: str | None = None, conf: tuple[str, ...] = ()) -> Iterator[Output]:
    """The output at a URI: read from the disk where it lies on one, else by Spark. Raises OutputError.

    master, conf: Spark's, where it is needed.
    """
    if (folder := local_folder(uri)) is not None:
        if not folder.is_dir():
            raise OutputError(f"there is no output {uri}: give the folder that facemean run had as --output")
        yield Output(
            uri,
            lambda name: (folder / name).exists(),
            lambda name: (folder / name).read_bytes(),
            lambda *table: _local_table(folder, *table),
            lambda: is_locked(folder),
            lambda name, content: _replace(folder / name, content),
        )
        return
    from spark_job.results.documents import write_file
    from spark_job.settings import Settings
    from spark_job.spark.session import open_session
    from spark_job.table.store import open_output

    with open_session(Settings(inputs=("none",), output=uri, master=master, conf=conf)) as spark:
        output = open_output(spark, uri)
        yield Output(
            uri,
            output.exists,
            output.read,
            lambda *table: _spark_table(spark, output, *table),
            lambda: is_leased(output),
            functools.partial(write_file, output),
        )


def local_folder(uri: str) -> Path | None:
    """The path of an output that lies on a disk or is mounted; None where it does not."""
    if uri.startswith("file:"):
        return Path(re.sub("^file:/+", "/", uri))
    return None if re.match(SCHEME, uri) else Path(uri)


def current_rows(spark: "SparkSession", output: "FileSystem", *columns: str) -> "DataFrame":
    """What Output.current gives, as a DataFrame."""
    from spark_job.table.store import PhotosTable, current, read_table

    if not output.exists("run.json"):
        raise OutputError(f"{output.uri} has no run.json: it is no output of this version's; run again into it")
    identity = json.loads(output.read("run.json"))["settings_id"]
    listing = read_table(spark, f"{output.uri}/listing")
    return current(listing, PhotosTable(spark, output, identity).rows(), *columns)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from None


def _local_table(
    folder: Path,
    name: str,
    columns: Sequence[str],
    settings_id: str | None = None,
    paths: Sequence[str] | None = None,
) -> pa.Table:
    files = [str(path) for path in sorted((folder / name).glob("*.parquet"))]
    if not files:
        raise OutputError(f"{folder}/{name} is not there: run again into this output")
    schema = ds.dataset(files[:1], format=PARQUET).schema
    for field in ADDED.get(name, []):
        schema = schema if field.name in schema.names else schema.append(field)
    wanted = ds.scalar(True)
    if settings_id is not None:
        wanted &= ds.field("settings_id") == settings_id
    if paths is not None:
        wanted &= ds.field("path").isin(pa.array(paths, pa.string()))
    try:
        return _utc(ds.dataset(files, schema=schema, format=PARQUET).to_table(columns=list(columns), filter=wanted))
    except FileNotFoundError:
        raise OutputError(f"{folder}/{name} was changed while it was read: try again") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise OutputError(f"{folder}/{name} cannot be read ({error}): run again with --repair") from None


def _spark_table(
    spark: "SparkSession",
    output: "FileSystem",
    name: str,
    columns: Sequence[str],
    settings_id: str | None = None,
    paths: Sequence[str] | None = None,
) -> pa.Table:
    from spark_job.table.store import PhotosTable, read_table

    rows = PhotosTable(spark, output, settings_id).rows() if settings_id else read_table(spark, f"{output.uri}/{name}")
    if paths is not None:
        rows = rows.join(spark.createDataFrame([(path,) for path in paths], "path string"), "path", "left_semi")
    return _utc(rows.select(*columns).toArrow())


def _utc(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.timestamp("us", "UTC")))
    return table
