"""Copies: files of any Hadoop file system on the disks of executors, where Python workers can read them.

A worker reaches no Hadoop file system; Java beside it does, with the keys and tokens of the run. So the copying is a
column of a query, made of the expressions by which Spark itself calls methods of Java.
"""

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

CONF, FILE_SYSTEM = "org.apache.hadoop.conf.Configuration", "org.apache.hadoop.fs.FileSystem"
FILE_STATUS, FILE_UTIL = "org.apache.hadoop.fs.FileStatus", "org.apache.hadoop.fs.FileUtil"
STRING = "java.lang.String"
MADE_OF = ("org.apache.hadoop.fs.Path", "path"), ("java.io.File", "copy")
PLAINLY = True, True, False  # of a call: null where an argument is, may be null, gives something else each time
BUFFER_BYTES = 2**20


def with_copies(
    spark: SparkSession, work: Callable[[str, Path, int], Iterable[pa.RecordBatch]], paths: list[str], schema: pa.Schema
) -> DataFrame:
    """What work says of each file, by its path, that of its copy and its time (ms), in a task of its own.

    The copy is then removed. It lies in a folder of Spark's own (spark.local.dir), which goes when the executor does.
    """
    places = spark.sparkContext.parallelize(paths, len(paths)).map(_place)
    rows = spark.createDataFrame(places, "path string, copy string").withColumns(_copied(spark))
    return rows.mapInArrow(functools.partial(_work_on, work), from_arrow_schema(schema))


def _place(path: str) -> tuple[str, str]:
    """The path of a file, and that of a new one in this executor, with the same suffix."""
    folder = os.environ["SPARK_LOCAL_DIRS"].split(",")[0]
    handle, copy = tempfile.mkstemp(PurePosixPath(path).suffix, dir=folder)
    os.close(handle)
    return path, copy


def _work_on(
    work: Callable[[str, Path, int], Iterable[pa.RecordBatch]], batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for row in (row for batch in batches for row in batch.to_pylist()):
        copy = Path(row["copy"])
        try:
            yield from work(row["path"], copy, row["modified_ms"])
        finally:
            copy.unlink()


def _copied(spark: SparkSession) -> dict[str, Column]:
    """The column that copies, FileUtil.copy(path.getFileSystem(conf), path, new File(copy), false, conf), and the time.

    modified_ms: path.getFileSystem(conf).getFileStatus(path).getModificationTime().
    """
    context: Any = spark.sparkContext
    java = _Java(context._jvm)
    hadoop = context._jvm.org.apache.hadoop.conf.Configuration(context._jsc.hadoopConfiguration())
    hadoop.set("io.file.buffer.size", str(BUFFER_BYTES))
    held = java.catalyst.Literal.fromObject(context._jvm.org.apache.spark.util.SerializableConfiguration(hadoop))
    conf = java.call(held, "value", CONF)
    path, copy = (java.new(name, java.call(java.of(F.col(column)), "toString", STRING)) for name, column in MADE_OF)
    file_system = java.call(path, "getFileSystem", FILE_SYSTEM, conf)
    status = java.call(file_system, "getFileStatus", FILE_STATUS, path)
    return {
        "copied": java.static(FILE_UTIL, "copy", file_system, path, copy, java.of(F.lit(False)), conf),
        "modified_ms": java.column(java.call(status, "getModificationTime", "bigint")),
    }


class _Java:
    """Expressions of Catalyst's for pieces of Java, which are done where a row is computed."""

    def __init__(self, jvm: Any) -> None:
        self._jvm = jvm
        self.catalyst = jvm.org.apache.spark.sql.catalyst.expressions
        self._columns = jvm.org.apache.spark.sql.classic.ExpressionUtils

    def of(self, column: Column) -> Any:
        return self._columns.expression(column._jc)

    def new(self, name: str, *arguments: Any) -> Any:
        of = self._class(name), *self._seqs(arguments), True, self._type(name), self._jvm.scala.Option.empty()
        return self.catalyst.objects.NewInstance(*of)

    def call(self, target: Any, method: str, returns: str, *arguments: Any) -> Any:
        return self.catalyst.objects.Invoke(target, method, self._type(returns), *self._seqs(arguments), *PLAINLY)

    def static(self, name: str, method: str, *arguments: Any) -> Column:
        """The call of a static method that returns a boolean, as a column."""
        of = self._class(name), self._type("boolean"), method, *self._seqs(arguments), *PLAINLY
        return self.column(self.catalyst.objects.StaticInvoke(*of, self._jvm.scala.Option.empty()))

    def column(self, expression: Any) -> Column:
        return Column(self._columns.column(expression))

    def _type(self, name: str) -> Any:
        """The type of a class, or a primitive one by its name in SQL."""
        if "." not in name:
            return self._jvm.org.apache.spark.sql.types.DataType.fromDDL(name)
        return self._jvm.org.apache.spark.sql.types.ObjectType(self._class(name))

    def _class(self, name: str) -> Any:
        return self._jvm.java.lang.Class.forName(name)

    def _seqs(self, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        """The arguments of a method, and no list of their types, which Catalyst does without."""
        return self._jvm.PythonUtils.toSeq(list(arguments)), self._jvm.PythonUtils.toSeq([])
