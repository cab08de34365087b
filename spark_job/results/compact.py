"""Compact: the small files of an output merged, and, where asked for, nothing kept of photos that are gone."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError
from spark_job.inputs.addresses import UNKNOWN
from spark_job.inputs.stores import GONE
from spark_job.results.documents import finished_run
from spark_job.results.standing import NAME
from spark_job.row import KEY
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import compile_for, on_disk, open_session, step
from spark_job.table.checkpoint import ASIDE, damage_named
from spark_job.table.compact import files_of, merge, names_of, settle
from spark_job.table.lock import only_run
from spark_job.table.stale import REASONS, stale_rows
from spark_job.table.store import PHOTOS, read_photos, read_table

# What a command that was killed leaves of what it was to put in another's place, or of its scratch.
BEGUN = r"\.(listing|groups|outliers|mean|run|standing|statistics|report)\..+"


def compact(
    uri: str,
    drop_stale: bool = False,
    spark: SparkSession | None = None,
    master: str | None = None,
    conf: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Merge the small files of OUTPUT/photos into some of about 256 MB.

    drop_stale: of each photo of the latest run, keep the one row that counts; of others, nothing in the whole output.
    spark: a session to use; without it, one is made with master and conf. Gives output, files and bytes (before,
    after), rows (kept, and how many went for each of REASONS) and removed (what else went).
    Raises OutputError, also where the latest run has not finished, by which drop_stale knows what is stale.
    """
    with open_session(Settings(inputs=("none",), output=uri, master=master, conf=conf), spark) as session:
        output = FileSystem(session, uri)
        if not output.exists(PHOTOS):
            raise OutputError(f"there is no output {uri}: give the folder that facemean run had as --output")
        with only_run(output), damage_named(session, output):
            settle(output)
            run = finished_run(output, uri) if drop_stale else None
            before = _usage(session, output)
            rows = _compacted(session, output, run)
            removed = list(_remove_stale(output, run["settings"]["group_by"] != "none")) if run else []
            after = _usage(session, output)
            return {
                "output": output.uri,
                "files": {"before": before[0], "after": after[0]},
                "bytes": {"before": before[1], "after": after[1]},
                "rows": rows,
                "removed": removed,
            }


def shown(done: dict[str, Any]) -> Iterator[str]:
    """What compact gives, in lines."""
    files, size, rows = done["files"], done["bytes"], done["rows"]
    dropped = [f"{rows[why]:,} {told}" for why, told in REASONS.items() if rows[why]]
    if files["before"] == files["after"] and not dropped:
        yield f"nothing to merge: {_in_all(files['after'], size['after'])}"
    else:
        yield f"{_in_all(files['before'], size['before'])} -> {_in_all(files['after'], size['after'])}"
    yield f"{rows['kept']:,} rows kept" + (f"; dropped: {', '.join(dropped)}" if dropped else "")
    if done["removed"]:
        yield f"removed: {', '.join(done['removed'])}"
    yield f"{done['output']}/{PHOTOS}"


def _in_all(files: int, size: int) -> str:
    return f"{files:,} {'file' if files == 1 else 'files'} of {size / 1e6:,.1f} MB in all"


def _usage(spark: SparkSession, output: FileSystem) -> tuple[int, int]:
    """Files of the table, and their bytes."""
    return len(names_of(read_photos(spark, f"{output.uri}/{PHOTOS}"))), output.usage(PHOTOS)[1]


def _compacted(spark: SparkSession, output: FileSystem, run: dict[str, Any] | None) -> dict[str, int]:
    """Merge the files; gives rows. run: run.json, where rows are to go that are stale by it."""
    rows = read_photos(spark, f"{output.uri}/{PHOTOS}")
    compile_for(spark, rows=0)  # until they are counted
    with step(spark, "count the rows of each file"):
        files = files_of(rows)
    kept, dropped = sum(file.rows for file in files.values()), Counter[str]()
    compile_for(spark, kept)
    if run is None:
        merge(output, rows, files)
    else:
        listing = read_table(spark, f"{output.uri}/listing")
        _check_answered(output.uri, rows.where(F.col("settings_id") == run["settings_id"]), listing)
        with _stale(spark, rows, listing, run["settings_id"]) as (stale, by_file, dropped):
            kept -= dropped.total()
            if kept != run["listed"]:
                raise OutputError(
                    f"{kept:,} rows of {output.uri} count where the latest run listed {run['listed']:,} photos: "
                    "run it again first, which adds what is missing"
                )
            merge(output, rows, files, stale, by_file)
    return {"kept": kept, **{why: dropped[why] for why in REASONS}}


def _check_answered(uri: str, rows: DataFrame, listing: DataFrame) -> None:
    """Raise OutputError where the latest run could not learn which version of a photo is there, or whether one is."""
    unknown = rows.where(f"length = {UNKNOWN[0]} AND status = 'unreadable' AND message != '{GONE}'").select(*KEY)
    with step(rows.sparkSession, "look for photos whose store did not answer"):
        found = unknown.join(listing, KEY, "left_semi").limit(1).collect()
    if found:
        raise OutputError(
            f"of photos that the latest run into {uri} could not ask its store for ({found[0].path}, say), nobody "
            "knows which rows are stale: run it again when the store answers, or take them out of its table"
        )


@contextmanager
def _stale(
    spark: SparkSession, rows: DataFrame, listing: DataFrame, settings_id: str
) -> Iterator[tuple[DataFrame, Counter[str], Counter[str]]]:
    """The rows that do not count, as stale_rows gives them, and how many they are by file and by reason."""
    with ExitStack() as held:
        stale = on_disk(stale_rows(rows, listing, settings_id), held)
        by_file, by_reason = Counter[str](), Counter[str]()
        with step(spark, "find the rows that no longer count"):
            for file, why, count in stale.groupBy("file", "why").count().collect():
                by_file[file] += count
                by_reason[why] += count
        yield stale, by_file, by_reason


def _remove_stale(output: FileSystem, has_groups: bool) -> Iterator[str]:
    """Remove what may be of photos that are gone, but for photos/; gives the names of what was there."""
    begun = [name for name in output.names() if re.fullmatch(BEGUN, name)]
    # Of a run with groups, groups/ and what is said of them are its own.
    of_groups = [] if has_groups else ["groups", "outliers", "outliers.csv"]
    # What stands may name photos that an earlier run could not read, and is of rows that lie elsewhere by now.
    for name in (*begun, NAME, ASIDE, f"{PHOTOS}/_temporary", *of_groups):
        if output.exists(name):
            output.remove(name)
            yield name
