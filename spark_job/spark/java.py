"""Java: its process, started as Spark's own launcher says, and PySpark's connection to it."""

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from pyspark import SparkConf
from pyspark.find_spark_home import _find_spark_home
from pyspark.java_gateway import launch_gateway

from spark_job.spark.classes import keep, sharing

# In the environment that Spark's own scripts set up, spark-env.sh included. Ctrl-C is for Python, which ends Java.
BY_SPARK = ("bash", "-c", 'trap "" INT; . "$SPARK_HOME/bin/load-spark-env.sh" && exec "$@"', "bash")
LAUNCHER = ("org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit")
# For MLlib, which is not used here; Java warns of it at each start.
INCUBATOR = "--add-modules=jdk.incubator.vector"
POLL_S = 0.02


def start_java(conf: SparkConf, records: bool) -> Any:
    """PySpark's gateway to a new Java process with these properties.

    records: whether Java may leave its classes to later starts. Where this fails, PySpark tries, and says why it fails.
    """
    home, java = Path(_find_spark_home()), java_program()
    if java is None:
        return launch_gateway(conf)  # type: ignore[no-untyped-call]
    options, new = sharing(java, home / "jars", records)
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_SUBMIT_OPTS": f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} {shlex.join(options)}",
        "SPARK_CONNECT_MODE": "0",
    }
    command = _command(java, home, conf, environment)
    gateway = _connected(command, environment) if command else None
    if gateway is None:
        return launch_gateway(conf)  # type: ignore[no-untyped-call]
    gateway.new_classes = new
    return gateway


def keep_classes(gateway: Any) -> None:
    """Leave the classes that this Java may write to later starts: a run has gone well."""
    if new := vars(gateway).get("new_classes"):
        keep(new)


def let_go(gateway: Any) -> None:
    """Have Java hold this process's outputs no longer, where it will write its classes: nobody is to wait for that."""
    if vars(gateway).get("new_classes"):
        java: Any = gateway.jvm.java.io
        for output in (java.FileDescriptor.out, java.FileDescriptor.err):
            java.FileOutputStream(output).close()  # which puts /dev/null in its place


def java_program() -> Path | None:
    """The java of JAVA_HOME, or else that on PATH."""
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    return Path(java) if java and os.access(java, os.X_OK) else None


def _command(java: Path, home: Path, conf: SparkConf, environment: dict[str, str]) -> list[str]:
    """The words of the command by which Spark's launcher would start Java; none where it fails."""
    properties = [word for pair in conf.getAll() for word in ("--conf", "=".join(pair))]
    arguments = shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell"))
    launcher = [*BY_SPARK, str(java), "-Xmx128m", "-cp", f"{home}/jars/*", *LAUNCHER]
    told = subprocess.run([*launcher, *properties, *arguments], env=environment, capture_output=True, check=False)
    if told.returncode:
        return []
    words = os.fsdecode(told.stdout).rpartition("\0\n")[2].split("\0")  # each ends in a null; lines before are messages
    return [word for word in words[:-1] if word != INCUBATOR]


def _connected(command: list[str], environment: dict[str, str]) -> Any:
    """The gateway to a process of this command, which ends when this one does; None where it does not start."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "connection"
        environment = environment | {"_PYSPARK_DRIVER_CONN_INFO_PATH": str(told)}
        process = subprocess.Popen([*BY_SPARK, *command], stdin=subprocess.PIPE, env=environment)
        while not told.exists():
            if process.poll() is not None:
                return None
            time.sleep(POLL_S)
        port, secret = told.read_bytes()[:4], told.read_bytes()[8:]  # between them, the length of the secret
    where = {"PYSPARK_GATEWAY_PORT": str(int.from_bytes(port)), "PYSPARK_GATEWAY_SECRET": secret.decode()}
    os.environ.update(where)  # which PySpark takes for a Java that runs already
    try:
        gateway: Any = launch_gateway()  # type: ignore[no-untyped-call]
    finally:
        for name in where:
            del os.environ[name]
    gateway.proc = process
    return gateway
