"""Session: where Spark's properties come from, and the private session that a run reads with."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import SparkConf
from pyspark.sql import SparkSession

from spark_job.settings import Settings

PACKAGE = Path(__file__).resolve().parent
# What the figures depend on: set for every run, whatever the caller's session says.
REQUIRED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.files.archive.reader.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # Small batches: the embeddings of one are computed together, and its photos are in memory together.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "64",
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 * 2**20),
    # With the default of one task a folder, listing thousands of folders takes most of a small run.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "8",
    # The number of tasks is set by the number of photos (spark.sql.files.minPartitionNum), not by their bytes.
    "spark.sql.files.maxPartitionBytes": str(2**40),
}


def spark_session(settings: Settings) -> SparkSession:
    """A Spark session from conf/local.conf, spark-submit's own properties, and --master and --conf over both.

    Under spark-submit the JVM already runs: its properties win over the file's.
    """
    conf = SparkConf()
    for name, value in read_properties(conf_file("local.conf")).items():
        conf.setIfMissing(name, value)
    for pair in settings.conf:
        conf.set(*pair.split("=", 1))
    master = with_retries(settings.master or conf.get("spark.master") or "local[*]")
    conf.setMaster(master)
    if os.environ.get("LC_ALL") in ("C", "POSIX"):
        os.environ["LC_ALL"] = "C.UTF-8"  # in the other, Java lists no file whose name is not ASCII, without a word
    if master.startswith("local"):
        # Workers are this machine's: they run this interpreter and find this package.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        conf.setIfMissing("spark.executorEnv.PYTHONPATH", str(PACKAGE.parent))
        # The UI shows names of photos: it listens for this machine only.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        conf.setIfMissing("spark.driver.host", "localhost")
        conf.setIfMissing("spark.driver.bindAddress", "127.0.0.1")
    logging = f"-Dlog4j2.configurationFile={conf_file('log4j2.properties').as_uri()}"
    conf.set("spark.driver.extraJavaOptions", f"{conf.get('spark.driver.extraJavaOptions', '')} {logging}")
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


@contextmanager
def open_session(settings: Settings, spark: SparkSession | None = None) -> Iterator[SparkSession]:
    """A session with the properties that a run needs.

    spark: the caller's; without it, the process's active one, and only without that a new one. The new one is stopped
    at the end, another goes on running and keeps its properties.
    """
    theirs = spark or SparkSession.getActiveSession()
    started = theirs or spark_session(settings)
    try:
        session = started.newSession()
        for name, value in REQUIRED.items():
            session.conf.set(name, value)
        yield session
    finally:
        if theirs is None:
            with suppress(OSError, Py4JError):  # of a Java process that has gone: what ended it is told, not this
                started.stop()


@contextmanager
def step(spark: SparkSession, what: str) -> Iterator[None]:
    """Name the jobs and stages of a step in the Spark UI."""
    context = spark.sparkContext
    context.setJobDescription(what)
    context.setLocalProperty("callSite.short", what)
    try:
        yield
    finally:
        context.setLocalProperty("spark.job.description", None)  # type: ignore[arg-type]
        context.setLocalProperty("callSite.short", None)  # type: ignore[arg-type]


def with_retries(master: str) -> str:
    """local[N] -> local[N,4]: without the second number, one crash of a worker ends a local run."""
    if master == "local":
        return "local[1,4]"
    return re.sub(r"^local\[([0-9]+|\*)\]$", r"local[\1,4]", master)


def conf_file(name: str) -> Path:
    """A file of conf/, which lies beside the package in a checkout and inside it in an installed wheel."""
    inside = PACKAGE / "conf" / name
    return inside if inside.exists() else PACKAGE.parent / "conf" / name


def read_properties(path: Path) -> dict[str, str]:
    """The properties of a Spark properties file: name, blanks, value; # begins a comment line."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)
