"""The mean face embedding of any collection of photos, exact and checkable: from spark_job import Settings, run."""

from spark_job.errors import FacemeanError
from spark_job.pipeline import run
from spark_job.results import Result
from spark_job.settings import Settings

__all__ = ["FacemeanError", "Result", "Settings", "run"]
