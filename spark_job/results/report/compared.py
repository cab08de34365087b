"""Compared: what compare found, as a page in the dress of the report."""

from pathlib import Path

import numpy as np

from spark_job.errors import OutputError
from spark_job.results.compare import Comparison
from spark_job.results.report.charts import histogram
from spark_job.results.report.figures import GROUPS_LISTED
from spark_job.results.report.page import BINS, render

VERDICTS = {"same": "The same", "within noise": "Within noise", "different": "Different"}


def write_comparison(found: Comparison, file: str) -> None:
    """Replace a file of this machine by the page, whole. Raises OutputError."""
    new = Path(f"{file}.new")
    try:
        new.write_text(comparison_page(found), encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise OutputError(f"--html {file!r} cannot be written: {error.strerror}") from None


def comparison_page(found: Comparison) -> str:
    """The page; it shows no picture."""
    chart = None
    if found.moves:
        counts, edges = np.histogram([move.distance for move in found.moves], BINS)
        chart = histogram(edges.tolist(), {"groups": counts.tolist()}, "distance of a group's two means")
    return render(
        "compare.html.j2",
        found=found,
        verdict=VERDICTS[found.verdict],
        chart=chart,
        moves=found.moves[:GROUPS_LISTED],
    )
