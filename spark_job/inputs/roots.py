"""Roots: what an input stands for, a folder or a file, or the matches of a glob."""

import posixpath
import re
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import InputError
from spark_job.inputs.kinds import READABLE
from spark_job.spark.hadoop import FileSystem, reason


class Root(NamedTuple):
    """A folder or file that an input stands for: its path, its URI (percent-encoded), whether it is a folder."""

    path: str
    uri: str
    is_folder: bool

    @property
    def is_local(self) -> bool:
        return self.path.startswith("file:")

    @property
    def local_path(self) -> str:
        """The path in the operating system, where is_local."""
        return self.path.removeprefix("file:")


def resolve(spark: SparkSession, text: str) -> list[Root]:
    """What an input stands for: itself, or the matches of a glob."""
    try:
        files = FileSystem(spark, text)
        files.contact()
        paths = [(status.getPath(), status.isDirectory()) for status in files.glob()]
    except Py4JJavaError as error:
        raise InputError(f"input {text!r} cannot be read: {reason(error)}") from None
    if not paths:
        raise InputError(f"input {text!r} does not exist: check the path, or the pattern")
    # Java writes file:///a where Spark writes file:/a.
    roots = [
        Root(path.toString(), path.toUri().toString().replace(":///", ":/"), bool(is_folder))
        for path, is_folder in paths
    ]
    if not any(root.is_folder or re.search(READABLE, root.path) for root in roots):
        raise InputError(
            f"input {text!r} holds no photo: give a folder, a photo (jpg, png, webp, bmp, gif, tif), "
            "an archive (tar, tar.gz, tgz, zip) or a Parquet table"
        )
    return roots


def without_nested(roots: Iterable[Root]) -> Iterator[str]:
    """The paths less those that lie in another, whose photos would be read twice."""
    paths = {root.path: root.is_folder for root in roots}
    folders = {path.rstrip("/") for path, is_folder in paths.items() if is_folder}
    for path in paths:
        parent = posixpath.dirname(path.rstrip("/"))
        while parent and parent not in folders and parent != posixpath.dirname(parent):
            parent = posixpath.dirname(parent)
        if parent not in folders:
            yield path


def lies_in(roots: list[Root]) -> Column:
    """Whether a row of the listing is of one of these."""
    folders = [F.col("source").startswith(root.uri.rstrip("/") + "/") for root in roots if root.is_folder]
    files = F.col("source").isin([root.uri for root in roots if not root.is_folder])
    return reduce(Column.__or__, folders, files)
