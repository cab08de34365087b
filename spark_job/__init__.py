"""The mean face embedding of any collection of photos, exact and checkable: from spark_job import Settings, run."""

import os
from typing import TYPE_CHECKING, Any

from spark_job.errors import FacemeanError
from spark_job.settings import Settings

if TYPE_CHECKING:
    from spark_job.pipeline import run
    from spark_job.results.result import Result

# ONNX Runtime would keep an identifier of the machine in the user's folder, and send events of its use. Nothing of
# what people do with faces leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["FacemeanError", "Result", "Settings", "run"]


def __getattr__(name: str) -> Any:
    """run and Result, when asked for: a worker imports this package too, and needs nothing that they import."""
    if name == "run":
        from spark_job.pipeline import run

        return run
    if name == "Result":
        from spark_job.results.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
