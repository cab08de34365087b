"""Preflight: facemean check, which says what a run would stumble over."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib.metadata import version

import pyspark

from spark_job.checks.api_server import PREFIX
from spark_job.checks.cluster import Cluster
from spark_job.errors import FacemeanError, PreflightError
from spark_job.faces.engine import load, why_slow
from spark_job.faces.models import MODEL_FILES, model_digest, model_path
from spark_job.faces.processor import flags
from spark_job.settings import Settings
from spark_job.spark.session import open_session

MIN_JAVA, MIN_PYTHON = 17, (3, 11)
MIN_MEMORY_A_CORE = 1.0  # GiB: a worker's models and a photo of some 12 megapixels
GIB = 2**30


def preflight(settings: Settings) -> bool:
    """Print a line for each check, ok or the remedy; returns whether all are ok."""
    checks: dict[str, Callable[[], str]] = {"python": _python, "java": _java, "pyspark": lambda: pyspark.__version__}
    if (settings.master or "").startswith(PREFIX):
        with closing(Cluster(settings, str(settings.master))) as cluster:
            return _all_ok(checks | cluster.checks())
    checks |= {
        "dlib": _dlib,
        "models": _models,
        "processor": _processor,
        "memory": lambda: _memory(settings),
        "executors": lambda: _executors(settings),
    }
    return _all_ok(checks)


def _all_ok(checks: dict[str, Callable[[], str]]) -> bool:
    all_ok = True
    for name, check in checks.items():
        try:
            word, text = "ok", check()
        except (FacemeanError, ImportError, OSError) as error:
            word, text, all_ok = "FAILED", str(error), False
        print(f"{word:<7}{name:<10} {text}", flush=True)
    return all_ok


def _python() -> str:
    if sys.version_info < MIN_PYTHON:
        raise PreflightError(f"Python {platform.python_version()} is too old: use 3.11 or newer")
    return f"{platform.python_version()} ({sys.executable})"


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    remedy = "install Java 17 or newer (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
    if java is None:
        raise PreflightError(f"java is not on PATH: {remedy}")
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        raise PreflightError(f"{java} does not run: {remedy}") from None
    found = re.search(r'version "(?:1\.)?(\d+)[^"]*"', told)
    if found is None or int(found[1]) < MIN_JAVA:
        raise PreflightError(f"{java} is {told.splitlines()[0]}: {remedy}")
    return f"{found[0].removeprefix('version ')} ({java})"


def _dlib() -> str:
    import dlib

    return f"{dlib.__version__}, CUDA {'on' if dlib.DLIB_USE_CUDA else 'off'}"


def _models() -> str:
    return "; ".join(f"{name} {model_path(name).name} sha256 {model_digest(name)}" for name in MODEL_FILES)


def _processor() -> str:
    told = [name for name in ("avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if name in flags()]
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {' '.join(told)}"


def _memory(settings: Settings) -> str:
    chosen = re.fullmatch(r"local(?:\[(\d+)(?:,\d+)?\])?", settings.master or "")
    cores = int(chosen[1] or 1) if chosen else len(os.sched_getaffinity(0))
    a_core = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB / cores
    if a_core < MIN_MEMORY_A_CORE:
        raise PreflightError(f"{a_core:.1f} GiB a core: give fewer cores, as --master 'local[1]'")
    return f"{a_core:.1f} GiB a core"


def _executors(settings: Settings) -> str:
    """One task: that Spark starts, and that a worker there can load the models."""

    def task(_: Iterable[int]) -> Iterator[str]:
        load(settings)
        versions = f"{platform.node()}, Python {platform.python_version()}, dlib {version('dlib-bin')}"
        yield "; ".join(filter(None, (versions, why_slow(settings))))

    try:
        with open_session(settings) as session:
            told = session.sparkContext.parallelize([0], 1).mapPartitions(task).collect()[0]
            return f"{session.sparkContext.master}: a task ran on {told}"
    except Exception as error:  # of Spark's start, Java's or the worker's: any of them is the finding
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        raise PreflightError((cause or lines or [type(error).__name__])[-1]) from None
