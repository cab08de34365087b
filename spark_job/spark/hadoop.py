"""Hadoop's file systems from the driver: any URI that Spark reads or writes."""

import posixpath
import re
import textwrap
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_job.errors import OutputError

# An option of Spark's readers: a [ in the path is a [, and no pattern.
AS_IT_IS = {"__globPaths__": False}
# Hadoop's word for a stream whose file appears whole when it is closed, and not before: an object store's.
WHOLE_ON_CLOSE = "fs.capability.outputstream.abortable"
CREATE_ONCE = "fs.option.create.conditional.overwrite"
# For the first request only: a store that does not answer is told in half a minute. Later ones are tried for minutes.
IMPATIENT = {
    "fs.s3a.attempts.maximum": "0",
    "fs.s3a.retry.limit": "1",
    "fs.s3a.connection.establish.timeout": "15s",
    "fs.s3a.connection.timeout": "15s",
}
REASON_CHARS = 160  # of a store that lists all that it tried
# What the exceptions of a store say -> what to do about it.
REMEDIES = (
    (
        r"S3AFileSystem not found|No FileSystem for scheme \W?s3a",
        "the jars of s3a:// are missing: fetch them with scripts/jars conf/s3-jars.txt, or see docs/storage.md",
    ),
    (
        r"(?i)No AWS credentials|Unable to load credentials",
        "no key was found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or see docs/storage.md",
    ),
    (
        r"UnknownStoreException|NoSuchBucket|bucket does not exist",
        "there is no such bucket at this endpoint: check its name, and spark.hadoop.fs.s3a.endpoint",
    ),
    (
        r"S3, Status Code: 403",
        "the store refuses it: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role, and what they may do",
    ),
    (
        r"(?s)s3a.*(ConnectException|UnknownHostException|ConnectTimeout|Unable to execute HTTP request)",
        "no store answers there: check spark.hadoop.fs.s3a.endpoint, and the network",
    ),
)


class FileSystem:
    """The folder or file at one URI, in whatever file system it is of."""

    def __init__(self, spark: SparkSession, uri: str) -> None:
        context: Any = spark.sparkContext
        self._gateway = context._gateway
        self._jvm = context._jvm
        self._hadoop = self._jvm.org.apache.hadoop
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
        text = "/".join((self.uri, *names))
        is_bucket = re.fullmatch(r"[^/]+://[^/]+", text)  # without a / at its end, a relative path
        return self._hadoop.fs.Path(f"{text}/" if is_bucket else text)

    def contact(self) -> None:
        """Ask a store for this path with little patience: a wrong endpoint, bucket or key is told at once."""
        if self.is_local:
            return
        conf = self._hadoop.conf.Configuration(self._conf)
        for name, value in IMPATIENT.items():
            conf.set(name, value)
        store = self._hadoop.fs.FileSystem.newInstance(self._path().toUri(), conf)
        try:
            store.exists(self._path())
        finally:
            store.close()

    def glob(self) -> list[Any]:
        """The FileStatus of the URI itself where it exists, else of all that it matches as a glob."""
        if self.exists():
            return [self._fs.getFileStatus(self._path())]
        return list(self._fs.globStatus(self._path()) or [])

    def children(self) -> list[Any]:
        """The FileStatus of each entry of a folder."""
        return list(self._fs.listStatus(self._path()))

    def names(self) -> list[str]:
        """The names of all that is in a folder, however much, in one call to Java."""
        paths = self._hadoop.fs.FileUtil.stat2Paths(self._listed())
        return [posixpath.basename(path) for path in self._joined(paths) if path]

    def states(self, name: str) -> str:
        """A text that changes with the name, length or time of a file, or of any in a folder."""
        texts = self._joined(self._listed(name))
        return "\n".join(sorted(re.sub("access_time=[0-9]*", "", text) for text in texts))

    def _listed(self, *names: str) -> Any:
        # Asked of several folders, it gives an array of FileStatus, which stat2Paths takes; of one, S3A gives its own.
        folders = self._gateway.new_array(self._hadoop.fs.Path, 1)
        folders[0] = self._path(*names)
        return self._fs.listStatus(folders)

    def _joined(self, array: Any) -> list[str]:
        """The texts of the items of an array of Java's, in one call."""
        return str(self._jvm.scala.Predef.genericWrapArray(array).mkString("\0")).split("\0")

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

    def make(self) -> bool:
        """Make the folder, and see that it can be written to; False where none is made, and Java says no more."""
        if not self._fs.mkdirs(self._path()):
            return False
        probe = self._path(".facemean")
        self._fs.create(probe, True).close()
        self._fs.delete(probe, False)
        return True

    def exists(self, *names: str) -> bool:
        return bool(self._fs.exists(self._path(*names)))

    def read(self, name: str) -> bytes:
        stream = self._fs.open(self._path(name))
        try:
            return bytes(stream.readAllBytes())
        finally:
            stream.close()

    def create(self, name: str, content: bytes) -> bool:
        """Write a file where there is none of this name yet; returns whether it did: of several at once, one does."""
        try:
            # An object store sees only when the stream is closed whether another was first.
            builder = self._fs.createFile(self._path(name)).overwrite(False)
            self._write(builder.opt(CREATE_ONCE, "true").build(), content)
        except Py4JJavaError:
            if self.exists(name):
                return False
            raise
        return True

    def _write(self, stream: Any, content: bytes) -> None:
        try:
            stream.write(content)
        finally:
            stream.close()

    def move(self, name: str, to: str) -> None:
        """Rename a file or folder to what is not there yet."""
        if not self._fs.rename(self._path(name), self._path(to)):
            raise OutputError(f"{self.uri}/{name} cannot be renamed to {to}: is that there already?")

    def replace_file(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old one or the new one."""
        folder, base = posixpath.split(name)
        new, path = self._path(posixpath.join(folder, f".{base}.new")), self._path(name)
        if self._fs.hasPathCapability(path, WHOLE_ON_CLOSE):  # where a rename is a copy and a removal
            self._write(self._fs.create(path, True), content)
            return
        self._write(self._fs.create(new, True), content)
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

    def remove_files(self, folder: str, names: Iterable[str]) -> None:
        """Remove these files of a folder, as far as they are there: many in a request, where the storage takes that."""
        bulk, left = self._fs.createBulkDelete(self._path(folder)), iter(names)
        try:
            while some := list(islice(left, bulk.pageSize())):
                paths = self._jvm.java.util.ArrayList()
                for name in some:
                    paths.add(self._path(folder, name))
                for failed in bulk.bulkDelete(paths):
                    raise OutputError(f"{failed.getKey().toString()} cannot be removed: {failed.getValue()}")
        finally:
            bulk.close()

    def usage(self, name: str) -> tuple[int, int]:
        """How many files lie in a folder, and how many bytes they have."""
        summary = self._fs.getContentSummary(self._path(name))
        return int(summary.getFileCount()), int(summary.getLength())


def path_of(uri: str) -> str:
    """A URI of a file as a path of Hadoop's: percent signs decoded."""
    scheme, authority, path, *_ = urlsplit(uri)
    return f"{scheme}:{authority and f'//{authority}'}{unquote(path)}"


def reason(error: Py4JJavaError | PySparkException) -> str:
    """What an exception of Spark's says, in one line.

    That is the exception of the Python worker, where there was one; else the file that was read, and the first cause,
    and what to do about it where that is known.
    """
    raised = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception): .+)$", str(error), re.MULTILINE)
    if raised and "Traceback (most recent call last)" in str(error):
        return str(raised[-1])
    if isinstance(error, PySparkException):
        return str(error).strip().split("\n")[0]
    exception: Any = error.java_exception
    says, chain = [], ""
    while exception is not None:
        says.append(str(exception.getMessage() or exception.toString()).split("\n")[0])
        chain += f"{exception.toString()}\n"
        exception = exception.getCause()
    reading = [line for line in says[:-1] if "reading file" in line]
    remedies = [remedy for pattern, remedy in REMEDIES if re.search(pattern, chain)]
    told = " ".join([*reading[:1], says[-1]])
    return f"{textwrap.shorten(told, REASON_CHARS)}: {remedies[0]}" if remedies else told
