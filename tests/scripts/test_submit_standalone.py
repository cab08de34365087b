"""scripts/submit-standalone: on a master and two workers, which are processes of their own on loopback."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, SLOWLY, options
from faults import runs
from helpers import SPARK, listens, wait_for

# What conf/kubernetes.conf asks of the wire and of the disk, and a secret that all of the cluster share.
SECURE = """
spark.authenticate                     true
spark.authenticate.secret              of-this-test-only
spark.network.crypto.enabled           true
spark.network.crypto.cipher            AES/GCM/NoPadding
spark.network.crypto.authEngineVersion 2
spark.io.encryption.enabled            true
"""


class Cluster:
    """A master and two workers of one core each."""

    def __init__(self, folder: Path) -> None:
        (folder / "conf").mkdir()
        (folder / "conf" / "spark-defaults.conf").write_text(SECURE)
        self._folder = folder
        self.environment = {**os.environ, "SPARK_CONF_DIR": str(folder / "conf"), "SPARK_LOCAL_IP": "127.0.0.1"}
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        self.master = f"spark://127.0.0.1:{port}"
        at = ("--host", "127.0.0.1", "--webui-port", "0")
        self.processes = [self._start("master.Master", *at, "--port", str(port))]
        wait_for(lambda: listens(port), "the master listens")
        for i in (1, 2):
            size = ("--cores", "1", "--memory", "512m", "--work-dir", str(folder / f"work{i}"))
            self.processes.append(self._start("worker.Worker", *at, *size, self.master))

    def _start(self, name: str, *arguments: str) -> psutil.Process:
        command = [SPARK / "bin" / "spark-class", f"org.apache.spark.deploy.{name}", *arguments]
        with (self._folder / f"{name}.log").open("a") as log:
            environment = {**self.environment, "SPARK_HOME": str(SPARK), "SPARK_DAEMON_MEMORY": "256m"}
            return psutil.Popen(command, env=environment, stdout=log, stderr=log)

    def submit(self, photos: Path, output: Path) -> psutil.Popen:
        command = [ROOT / "scripts" / "submit-standalone", self.master, "--executor-memory", "512m"]
        command += ["--conf", f"spark.pyspark.python={sys.executable}", "--conf", "spark.driver.host=127.0.0.1"]
        command += ["--conf", "spark.ui.port=0", "--", photos, "--output", output, *options(SLOWLY)]
        pipe = subprocess.PIPE
        submitted = psutil.Popen(list(map(str, command)), env=self.environment, stdout=pipe, stderr=pipe, text=True)
        self.processes.append(submitted)
        return submitted

    def stop(self) -> None:
        for process in self.processes:
            kill(process)


def executors(worker: psutil.Process) -> list[psutil.Process]:
    return [child for child in worker.children() if runs(child, "CoarseGrainedExecutorBackend")]


def kill(process: psutil.Process) -> None:
    """End a process and all that it started, at once."""
    if process.is_running():
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()


@pytest.mark.slow
def test_a_cluster_that_encrypts_and_loses_a_worker_in_mid_run_gives_local_modes_mean(
    cluster, many, mean_of_many, tmp_path
):
    output = tmp_path / "out"
    submitted = cluster.submit(many, output)
    wait_for(lambda: list((output / "photos").glob("part-*")) or submitted.poll() is not None, "a first task is done")
    kill(next(worker for worker in cluster.processes[1:3] if executors(worker)))
    assert submitted.poll() is None, "the run was over before the worker was killed"
    assert not (output / "mean.json").exists()
    out, err = submitted.communicate()
    assert submitted.returncode == 0, err
    assert "listed" in out
    document = json.loads((output / "mean.json").read_text())
    assert document["mean_sha256"] == mean_of_many["mean_sha256"]
    assert document["photos"] == mean_of_many["photos"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "spark://HOST:7077"),
        (["local[2]", "--", "photos", "--output", "out"], "spark://HOST:7077"),
        (["spark://127.0.0.1:9"], "-- INPUT"),
        (["spark://127.0.0.1:9", "--"], "-- INPUT"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(arguments, says):
    done = subprocess.run([ROOT / "scripts" / "submit-standalone", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
