"""Tally: the account of the photos: how many have each status, and the first that failed."""

from collections import Counter
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.errors import InvariantError, NoFaceError
from spark_job.results.moments import Moments
from spark_job.row import FAILURES, KEY, STATUSES
from spark_job.spark.session import step

SHOWN = 5


class Tally(NamedTuple):
    """photos: listed, and how many have each status; processors: the kinds that their rows were made on."""

    photos: dict[str, int]
    processors: list[str]


def tally(rows: DataFrame, listed: int) -> Tally:
    """The account of the photos.

    rows: KEY, status and processor, one for each listed photo, status null where it has no row.
    Raises InvariantError where a photo has no row, or the statuses do not add up to the photos listed.
    """
    found = rows.groupBy("status", "processor").count().collect()
    counts: Counter[str | None] = Counter()
    for row in found:
        counts[row.status] += row["count"]
    if None in counts:
        paths = [row.path for row in rows.where("status IS NULL").select("path").limit(SHOWN).collect()]
        raise InvariantError(
            f"{counts[None]:,} of {listed:,} listed photos have no row: they were changed or removed during the "
            f"run, or their archive cannot be read to its end ({', '.join(map(repr, paths))}, ...): run it again"
        )
    if counts.total() != listed:
        several = rows.groupBy(*KEY).count().where("count > 1").limit(SHOWN).collect()
        named = ", ".join(repr(row.path) for row in several)
        raise InvariantError(
            f"{listed:,} photos were listed and {counts.total():,} rows count ({dict(counts)})"
            + (f": more than one of {named}, ..." if named else "")
        )
    return Tally(
        {"listed": listed, **{status: counts[status] for status in STATUSES}},
        sorted({row.processor for row in found if row.processor}),
    )


def first_failures(rows: DataFrame, counts: dict[str, int]) -> list[tuple[str, str, str]]:
    """path, status and message of the first photos that failed, by path; counts: those of the tally."""
    if not any(counts[status] for status in FAILURES):
        return []
    failed = rows.where(F.col("status").isin(*FAILURES)).orderBy("path").limit(SHOWN)
    with step(rows.sparkSession, "find the first photos that failed"):
        return [(row.path, row.status, row.message) for row in failed.select("path", "status", "message").collect()]


def check_has_faces(moments: Moments, photos: dict[str, int]) -> None:
    """Raise NoFaceError where there is nothing to take a mean of."""
    if moments.count:
        return
    statuses = ", ".join(f"{count:,} {status}" for status, count in photos.items() if count and status != "listed")
    raise NoFaceError(
        f"no face counts in any of {photos['listed']:,} photos ({statuses}): there is no mean of nothing. "
        "Look at the rows of OUTPUT/photos, or try --upsample 1, --detector auto or --face largest"
    )
