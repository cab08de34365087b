"""Tally: the account of the photos: how many have each status, and the first that failed."""

from collections import Counter
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.errors import InvariantError, NoFaceError
from spark_job.results.moments import Moments
from spark_job.row import FAILURES, KEY, STATUSES

SHOWN = 5


class Tally(NamedTuple):
    """The account of the photos of a listing, by their rows.

    counts: how many have each status, None where they have no row; first: status, path and message of the first of each
    status, by path; processors: the kinds that their rows were made on; rows: how many the table holds; unsettled: how
    many photos have none that says what is in them, and are tried again by the next run; regrouped: how many have a row
    that says another group.
    """

    counts: Counter[str | None]
    first: list[tuple[str | None, str, str | None]]
    processors: list[str]
    rows: int
    unsettled: int
    regrouped: int

    @property
    def unread(self) -> int:
        """How many photos have no row."""
        return self.counts[None]

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        """path, status and message of the first photos that failed, by path."""
        failed = ((path, status, message or "") for status, path, message in self.first if status in FAILURES)
        return sorted(failed)[:SHOWN]


def tally(outcomes: DataFrame) -> Tally:
    """The account of the photos, by what table/store.py says of outcomes."""
    first = F.min_by(F.struct("path", "message"), "path", SHOWN)
    found = (
        outcomes.groupBy("listed", "status", "processor")
        .agg(
            F.count("*").alias("photos"),
            F.sum("rows").alias("rows"),
            F.count_if(F.col("decode_ms").isNull()).alias("unsettled"),
            F.count_if("regrouped").alias("regrouped"),
            first.alias("first"),
        )
        .collect()
    )
    counts: Counter[str | None] = Counter()
    for row in (listed := [row for row in found if row.listed]):
        counts[row.status] += row.photos
    return Tally(
        counts,
        [(row.status, photo.path, photo.message) for row in listed for photo in row.first],
        sorted({row.processor for row in listed if row.processor}),
        sum(row.rows or 0 for row in found),
        sum(row.unsettled for row in listed),
        sum(row.regrouped for row in listed),
    )


def checked(account: Tally, outcomes: DataFrame, listed: int) -> dict[str, int]:
    """photos of mean.json: listed, and how many have each status.

    Raises InvariantError where a photo has no row, or the statuses do not add up to the photos listed.
    """
    if account.unread:
        paths = ", ".join(repr(path) for status, path, _ in account.first if status is None)
        raise InvariantError(
            f"{account.unread:,} of {listed:,} listed photos have no row: they were changed or removed during the "
            f"run, or their archive cannot be read to its end ({paths}, ...): run it again"
        )
    if account.counts.total() != listed:
        several = outcomes.where("listed").groupBy(*KEY).count().where("count > 1").limit(SHOWN).collect()
        named = ", ".join(repr(row.path) for row in several)
        raise InvariantError(
            f"{listed:,} photos were listed and {account.counts.total():,} rows count ({dict(account.counts)})"
            + (f": more than one of {named}, ..." if named else "")
        )
    return {"listed": listed, **{status: account.counts[status] for status in STATUSES}}


def check_has_faces(moments: Moments, photos: dict[str, int]) -> None:
    """Raise NoFaceError where there is nothing to take a mean of."""
    if moments.count:
        return
    statuses = ", ".join(f"{count:,} {status}" for status, count in photos.items() if count and status != "listed")
    raise NoFaceError(
        f"no face counts in any of {photos['listed']:,} photos ({statuses}): there is no mean of nothing. "
        "Look at the rows of OUTPUT/photos, or try --upsample 1, --detector auto or --face largest"
    )
