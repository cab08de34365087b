"""Review: what a person takes from outliers/: a table of the suspects, and the list of the photos to keep."""

import json
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame

from spark_job.errors import OutputError
from spark_job.spark.hadoop import FileSystem

# As Python's csv reads it, and spreadsheets: names stay whole, with their blanks, quotes and line ends.
CSV: dict[str, Any] = {
    "header": True,
    "escape": '"',
    "ignoreLeadingWhiteSpace": False,
    "ignoreTrailingWhiteSpace": False,
}
NEW = ".outliers.csv.new"


def write_csv(output: FileSystem, rows: DataFrame, *order: str) -> None:
    """Replace outliers.csv by these rows: one file, which one task of Spark sorts and writes."""
    rows.repartition(1).sortWithinPartitions(*order).write.mode("overwrite").options(**CSV).csv(f"{output.uri}/{NEW}")
    names = [status.getPath().getName() for status in FileSystem(rows.sparkSession, f"{output.uri}/{NEW}").children()]
    [part] = [name for name in names if name.startswith("part-")]
    output.remove("outliers.csv")
    output.move(f"{NEW}/{part}", "outliers.csv")
    output.remove(NEW)


def write_clean_list(file: Path, paths: DataFrame) -> int:
    """Replace a file of this machine by the paths, sorted, one a line; returns how many.

    A path with a line end in it is a JSON string, in quotes, with which no other begins. Raises OutputError.
    """
    new, count = file.with_name(f".{file.name}.new"), 0
    try:
        with new.open("w", encoding="utf-8", newline="\n") as lines:
            for row in paths.orderBy("path").toLocalIterator():
                lines.write(line_of(row.path) + "\n")
                count += 1
        new.replace(file)
    except OSError as error:
        raise OutputError(f"--clean-list {str(file)!r} cannot be written: {error.strerror}") from None
    return count


def line_of(path: str) -> str:
    """A path as one line."""
    return path if path == "".join(path.splitlines()) and not path.startswith('"') else json.dumps(path)
