"""Show: what an output holds: of a run that has finished, of one that goes on, or of one that was interrupted."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.errors import OutputError
from spark_job.results.output import Output, reading
from spark_job.row import FAILURES, STATUSES

SHOWN = 5
VECTORS = ("mean", "std", "standard_error")


def show(uri: str, master: str | None = None, conf: tuple[str, ...] = ()) -> dict[str, Any]:
    """mean.json without its vectors, and output, state (finished, running, interrupted) and failures (first few).

    Of a run that has not finished: what run.json says, photos by status so far, done, photos_per_second and
    seconds_left (None while that is not known).
    master, conf: Spark's, for an output that lies on no disk. Raises OutputError.
    """
    with reading(uri, master, conf) as output:
        run, mean = output.document("run.json"), output.document("mean.json")
        if run is None:
            raise OutputError(f"{uri} has no run.json: it is no output of facemean run, or of an earlier version's")
        rows = output.current("status", "message")
        shown = {"output": uri.rstrip("/"), "failures": _first_failures(rows)}
        if mean and (mean["started"], mean["settings_id"]) == (run["started"], run["settings_id"]):
            return {**mean, **shown, "state": "finished"}
        return {**run, **shown, **_progress(run, rows, output)}


def _progress(run: dict[str, Any], rows: pa.Table, output: Output) -> dict[str, Any]:
    """How far a run is, by the rows that there are. Those of earlier runs do not count for its speed."""
    counts = Counter(rows["status"].drop_null().to_pylist())
    passed_s = (datetime.now(UTC) - datetime.fromisoformat(run["encoding_since"])).total_seconds()
    is_running = output.is_held()
    encoded = max(counts.total() - (run["listed"] - run["missing"]), 0)
    per_second = encoded / passed_s if is_running else 0.0
    left = run["listed"] - counts.total()
    return {
        "state": "running" if is_running else "interrupted",
        "photos": {"listed": run["listed"], **{status: counts[status] for status in STATUSES}},
        "done": counts.total(),
        "photos_per_second": round(per_second, 2),
        "seconds_left": round(left / per_second) if per_second else None,
    }


def _first_failures(rows: pa.Table) -> list[list[str]]:
    failed = rows.filter(pc.is_in(rows["status"], pa.array(FAILURES)))[:SHOWN].select(["path", "status", "message"])
    return [list(row.values()) for row in failed.to_pylist()]
