"""Session: where Spark's properties come from, and the private session that a run reads with."""

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext, StorageLevel
from pyspark.java_gateway import ensure_callback_server_started
from pyspark.sql import DataFrame, SparkSession
from pyspark.traceback_utils import SCCallSiteSync

from spark_job.settings import Settings
from spark_job.spark.java import keep_classes, let_go, start_java
from spark_job.stops import stops_wait

PACKAGE = Path(__file__).resolve().parents[1]
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
    # A task's rows are durable when it ends. The committers that clusters set for S3 make them so when the job does.
    "spark.sql.sources.commitProtocolClass": (
        "org.apache.spark.sql.execution.datasources.SQLHadoopMapReduceCommitProtocol"
    ),
    "spark.sql.parquet.output.committer.class": "org.apache.parquet.hadoop.ParquetOutputCommitter",
    # The number of tasks is set by the number of photos (spark.sql.files.minPartitionNum), not by their bytes.
    "spark.sql.files.maxPartitionBytes": str(2**40),
}
# For few rows, Spark makes Java code, and Java compiles it, for longer than doing without it takes.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
FEW_ROWS = 100_000


def spark_session(settings: Settings, records: bool = False) -> SparkSession:
    """A Spark session from conf/defaults.conf, conf/s3.conf, spark-submit's own properties, and --master and --conf.

    The later win. Under spark-submit the JVM already runs with its properties. records: whether Java may leave its
    classes to later starts.
    """
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit: without this, SparkConf() does not ask its JVM
        SparkContext._ensure_initialized()
    conf = SparkConf()
    _set_missing(conf, "defaults.conf", "s3.conf")
    # As properties, they reach executors that have no such file.
    for name, value in read_properties(conf_file("metrics.properties")).items():
        conf.setIfMissing(f"spark.metrics.conf.{name}", value)
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
        # Java's threads share the places from which they take memory: each by itself would keep what it once had.
        os.environ.setdefault("MALLOC_ARENA_MAX", "2")
        # The UI shows names of photos: it listens for this machine only.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        _set_missing(conf, "local.conf")
    conf.set("spark.driver.extraJavaOptions", f"{conf.get('spark.driver.extraJavaOptions', '')} {logging_option()}")
    with stops_wait():  # a Java process of which Python lets go while it starts is left behind
        if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
            SparkContext._ensure_initialized(gateway=start_java(conf, records))
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _tell_no_end_of_java(spark.sparkContext)
    return spark


def _set_missing(conf: SparkConf, *files: str) -> None:
    """Set what files of conf/ say, where nothing else does."""
    for file in files:
        for name, value in read_properties(conf_file(file)).items():
            conf.setIfMissing(name, value)


def _tell_no_end_of_java(context: SparkContext) -> None:
    """Where Java's process goes first, main says so in a line: the thread that reads accumulators prints no stack."""
    server: Any = context._accumulatorServer
    tell = server.handle_error

    def handle_error(request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], EOFError | ConnectionError):
            tell(request, client_address)

    server.handle_error = handle_error


class _Terminated:
    """Java's SignalHandler: hands a SIGTERM on to this process."""

    class Java:
        implements: ClassVar = ["sun.misc.SignalHandler"]

    def handle(self, signum: Any) -> None:
        """Called by Java."""
        os.kill(os.getpid(), signal.SIGTERM)


def take_sigterm_from_java() -> None:
    """Under spark-submit the process that a cluster stops is Java's, and this one its child: a SIGTERM comes here.

    Java then ends when this process has, with its exit code.
    """
    SparkContext._ensure_initialized()
    gateway: Any = SparkContext._gateway
    ensure_callback_server_started(gateway)  # type: ignore[no-untyped-call]
    java: Any = gateway.jvm.sun.misc
    java.Signal.handle(java.Signal("TERM"), _Terminated())


@contextmanager
def open_session(
    settings: Settings, spark: SparkSession | None = None, records: bool = False
) -> Iterator[SparkSession]:
    """A session with the properties that a run needs.

    spark: the caller's; without it, the one that this process has, and only without that a new one. The new one is
    stopped at the end, another goes on running and keeps its properties. records: as of spark_session.
    """
    theirs = spark or SparkSession.getActiveSession()
    if theirs is None and SparkContext._active_spark_context is not None:  # it is active in the thread that made it
        theirs = SparkSession.builder.getOrCreate()
    started = theirs or spark_session(settings, records)
    try:
        session = started.newSession()
        for name, value in REQUIRED.items():
            session.conf.set(name, value)
        yield session
        if theirs is None:
            keep_classes(SparkContext._gateway)
    finally:
        if theirs is None:
            # Of a Java process that has gone: what ended it is told, not this.
            with suppress(OSError, Py4JError), warnings.catch_warnings(action="ignore"):
                started.stop()
                let_go(SparkContext._gateway)


def on_disk(rows: DataFrame, held: ExitStack) -> DataFrame:
    """Rows that Spark keeps until held ends: later, it would take them for others of the same paths."""

    def forget() -> None:
        with suppress(OSError, Py4JError):  # of a Java process that has gone
            rows.unpersist()

    held.callback(forget)
    return rows.persist(StorageLevel.DISK_ONLY)


def compile_for(session: SparkSession, rows: int) -> None:
    """Have Spark compile its queries where they are over more than a few rows."""
    for name, value in INTERPRETED.items():
        if rows > FEW_ROWS:
            session.conf.unset(name)
        else:
            session.conf.set(name, value)


@contextmanager
def step(spark: SparkSession, what: str) -> Iterator[None]:
    """Name the jobs, stages and SQL executions of a step in the Spark UI. A step within another has its own name."""
    context = spark.sparkContext
    before = {name: context.getLocalProperty(name) for name in ("spark.job.description", "callSite.short")}
    # While it is held, PySpark does not put lines of code in the place of the name.
    with SCCallSiteSync(context):  # type: ignore[no-untyped-call]
        for name in before:
            context.setLocalProperty(name, what)
        try:
            yield
        finally:
            for name, value in before.items():
                context.setLocalProperty(name, value)  # type: ignore[arg-type]


def with_retries(master: str) -> str:
    """local[N] -> local[N,4]: without the second number, one crash of a worker ends a local run."""
    if master == "local":
        return "local[1,4]"
    return re.sub(r"^local\[([0-9]+|\*)\]$", r"local[\1,4]", master)


def logging_option() -> str:
    """Java's option for a log of errors only."""
    return f"-Dlog4j2.configurationFile={conf_file('log4j2.properties').as_uri()}"


def conf_file(name: str) -> Path:
    """A file of conf/, which lies beside the package in a checkout and inside it in an installed wheel."""
    inside = PACKAGE / "conf" / name
    return inside if inside.exists() else PACKAGE.parent / "conf" / name


def read_properties(path: Path) -> dict[str, str]:
    """The properties of a Spark properties file: name, blanks, value; # begins a comment line."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)
