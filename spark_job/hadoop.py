"""Hadoop's file systems from the driver: any URI that Spark reads or writes."""

import re
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_job.errors import OutputError

# An option of Spark's readers: a [ in the path is a [, and no pattern.
AS_IT_IS = {"__globPaths__": False}


class FileSystem:
    """The folder or file at one URI, in whatever file system it is of."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        context: Any = spark.sparkContext
        self._gateway = context._gateway
        self._hadoop = context._jvm.org.apache.hadoop
        self._conf = context._jsc.hadoopConfiguration()
        self.uri = self._absolute(uri).rstrip("/") or "/"
        self._fs = self._path().getFileSystem(self._conf)
        self.is_local = self._fs.getScheme() == "file"
        if self.is_local:
            self._fs.setWriteChecksum(False)  # no .crc file beside each result
            self._fs.setVerifyChecksum(False)  # nor is one looked for: where a name has a colon, that fails

    def _absolute(self, uri: str) -> str:
        """A bare path as Spark takes it, made absolute: Hadoop takes the part before a colon for a scheme."""
        has_scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", uri)
        if has_scheme or not self._conf.get("fs.defaultFS", "file:").startswith("file:"):
            return uri
        return f"file:{Path(uri).absolute()}"

    def _path(self, *names: str) -> Any:
        """A Hadoop Path, which reads no percent signs: names stay as they are."""
        return self._hadoop.fs.Path("/".join((self.uri, *names)))

    def glob(self) -> list[Any]:
        """The FileStatus of the URI itself where it exists, else of all that it matches as a glob."""
        if self.exists():
            return [self._fs.getFileStatus(self._path())]
        return list(self._fs.globStatus(self._path()) or [])

    def children(self) -> list[Any]:
        """The FileStatus of each entry of a folder."""
        return list(self._fs.listStatus(self._path()))

    @property
    def local_path(self) -> str:
        """The path without its scheme, where is_local."""
        return str(self._path().toUri().getPath())

    def status(self, *names: str) -> Any:
        """Hadoop's FileStatus of the file: its path, length and time of change."""
        return self._fs.getFileStatus(self._path(*names))

    def modified_ms(self, *names: str) -> int:
        """When the file was last changed, ms since 1970."""
        return int(self.status(*names).getModificationTime())

    def make(self) -> None:
        """Make the folder, and see that something can be written there."""
        self._fs.mkdirs(self._path())
        probe = self._path(".facemean")
        self._fs.create(probe, True).close()
        self._fs.delete(probe, False)

    def exists(self, *names: str) -> bool:
        return bool(self._fs.exists(self._path(*names)))

    def read(self, name: str) -> bytes:
        stream = self._fs.open(self._path(name))
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def create(self, name: str, content: bytes) -> bool:
        """Write a file where there is none of this name yet; returns whether it did."""
        try:
            stream = self._fs.create(self._path(name), False)
        except Py4JJavaError:
            if self.exists(name):
                return False
            raise
        try:
            stream.write(content)
        finally:
            stream.close()
        return True

    def move(self, name: str, to: str) -> None:
        """Rename a file or folder to what is not there yet."""
        if not self._fs.rename(self._path(name), self._path(to)):
            raise OutputError(f"{self.uri}/{name} cannot be renamed to {to}: is that there already?")

    def replace_file(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old one or the new one."""
        new, path = self._path(f".{name}.new"), self._path(name)
        stream = self._fs.create(new, True)
        try:
            stream.write(content)
        finally:
            stream.close()
        if self.is_local:  # what Hive registers for such does not replace, and says so by a False only
            Path(new.toUri().getPath()).replace(path.toUri().getPath())
            return
        rename = self._hadoop.fs.Options.Rename
        overwrite = self._gateway.new_array(rename, 1)
        overwrite[0] = rename.OVERWRITE
        self._hadoop.fs.FileContext.getFileContext(new.toUri(), self._conf).rename(new, path, overwrite)

    def replace_folder(self, name: str, new: str) -> None:
        """Put a finished folder in the place of another: a reader sees the old one, none, or the new one."""
        old = f".{name}.old"
        self.remove(old)
        if self.exists(name):
            self.move(name, old)
        self.move(new, name)
        self.remove(old)

    def remove(self, name: str) -> None:
        self._fs.delete(self._path(name), True)


def reason(error: Py4JJavaError | PySparkException) -> str:
    """What an exception of Spark's says, in one line.

    That is the exception of the Python worker, where there was one; else the file that was read, and the first cause.
    """
    raised = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    if raised and "Traceback (most recent call last)" in str(error):
        return str(raised[-1])
    if isinstance(error, PySparkException):
        return str(error).strip().split("\n")[0]
    exception: Any = error.java_exception
    says = []
    while exception is not None:
        says.append(str(exception.getMessage() or exception.toString()).split("\n")[0])
        exception = exception.getCause()
    reading = [line for line in says[:-1] if "reading file" in line]
    return " ".join([*reading[:1], says[-1]])
