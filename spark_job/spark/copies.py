"""Copies: files of any Hadoop file system on the disks of executors, where Python workers can read them.

A worker reaches no Hadoop file system; Java beside it does, with the keys and tokens of the run. So the copying is a
column of a query, made of the expressions by which Spark itself calls methods of Java.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pyspark.sql import Column, Row, SparkSession
from pyspark.sql import functions as F

T = TypeVar("T")
CONF, FILE_SYSTEM = "org.apache.hadoop.conf.Configuration", "org.apache.hadoop.fs.FileSystem"
FILE_UTIL, STRING = "org.apache.hadoop.fs.FileUtil", "java.lang.String"
MADE_OF = ("org.apache.hadoop.fs.Path", "path"), ("java.io.File", "copy")
PLAINLY = True, True, False  # of a call: null where an argument is, may be null, gives something else each time
BUFFER_BYTES = 2**20


def with_copies(spark: SparkSession, work: Callable[[str, Path], T], paths: list[str]) -> list[T]:
    """What work says of each file, by its path and that of its copy, in a task of its own; then the copy is removed.

    Copies lie in a folder of Spark's own (spark.local.dir), which goes when the executor does.
    """
    places = spark.sparkContext.parallelize(paths, len(paths)).map(_place)
    rows = spark.createDataFrame(places, "path string, copy string").withColumn("copied", _copied(spark))
    return rows.rdd.map(functools.partial(_work_on, work)).collect()


def _place(path: str) -> tuple[str, str]:
    """The path of a file, and that of a new one in this executor, with the same suffix."""
    folder = os.environ["SPARK_LOCAL_DIRS"].split(",")[0]
    handle, copy = tempfile.mkstemp(PurePosixPath(path).suffix, dir=folder)
    os.close(handle)
    return path, copy


def _work_on(work: Callable[[str, Path], T], row: Row) -> T:
    copy = Path(row.copy)
    try:
        return work(row.path, copy)
    finally:
        copy.unlink()


def _copied(spark: SparkSession) -> Column:
    """The column that copies: FileUtil.copy(path.getFileSystem(conf), path, new File(copy), false, conf)."""
    context: Any = spark.sparkContext
    java = _Java(context._jvm)
    hadoop = context._jvm.org.apache.hadoop.conf.Configuration(context._jsc.hadoopConfiguration())
    hadoop.set("io.file.buffer.size", str(BUFFER_BYTES))
    held = java.catalyst.Literal.fromObject(context._jvm.org.apache.spark.util.SerializableConfiguration(hadoop))
    conf = java.call(held, "value", CONF)
    path, copy = (java.new(name, java.call(java.of(F.col(column)), "toString", STRING)) for name, column in MADE_OF)
    file_system = java.call(path, "getFileSystem", FILE_SYSTEM, conf)
    return java.static(FILE_UTIL, "copy", file_system, path, copy, java.of(F.lit(False)), conf)


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
        boolean = self._jvm.org.apache.spark.sql.types.DataType.fromDDL("boolean")
        of = self._class(name), boolean, method, *self._seqs(arguments), *PLAINLY, self._jvm.scala.Option.empty()
        return Column(self._columns.column(self.catalyst.objects.StaticInvoke(*of)))

    def _type(self, name: str) -> Any:
        return self._jvm.org.apache.spark.sql.types.ObjectType(self._class(name))

    def _class(self, name: str) -> Any:
        return self._jvm.java.lang.Class.forName(name)

    def _seqs(self, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        """The arguments of a method, and no list of their types, which Catalyst does without."""
        return self._jvm.PythonUtils.toSeq(list(arguments)), self._jvm.PythonUtils.toSeq([])
