"""The mean face embedding of any collection of photos, exact and checkable: from spark_job import Settings, run."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_job.errors import FacemeanError
    from spark_job.pipeline import run
    from spark_job.results.compact import compact
    from spark_job.results.compare import compare
    from spark_job.results.match import match
    from spark_job.results.outliers import outliers
    from spark_job.results.overlap import overlap
    from spark_job.results.result import Result
    from spark_job.results.show import show
    from spark_job.settings import Settings

# ONNX Runtime would keep an identifier of the machine in the user's folder, and send events of its use. Nothing of
# what people do with faces leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Imported when asked for: a worker imports this package too, and needs nothing that they import; and the program sees
# to what a stop does before it imports anything (stops).
LAZY = {
    "FacemeanError": "spark_job.errors",
    "Result": "spark_job.results.result",
    "Settings": "spark_job.settings",
    "compact": "spark_job.results.compact",
    "compare": "spark_job.results.compare",
    "match": "spark_job.results.match",
    "outliers": "spark_job.results.outliers",
    "overlap": "spark_job.results.overlap",
    "report": "spark_job.results.report.report",
    "run": "spark_job.pipeline",
    "show": "spark_job.results.show",
}

__all__ = [
    "FacemeanError",
    "Result",
    "Settings",
    "compact",
    "compare",
    "match",
    "outliers",
    "overlap",
    "report",
    "run",
    "show",
]


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(importlib.import_module(LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
