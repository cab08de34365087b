"""Watch: a run of facemean, measured from outside: what its processes take, and how long each of its steps does."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[3]
SAMPLED_EVERY_S = 0.5
BETWEEN = "the driver, between its queries"
JOB, QUERY = "SparkListenerJob", "org.apache.spark.sql.execution.ui.SparkListenerSQLExecution"


class Sample(NamedTuple):
    """At a time, s: rows encoded so far; resident bytes of the Java process, the driver's Python, the largest worker;
    CPU seconds of all processes so far, and bytes that they have read, from files, pipes and some sockets."""

    at: float
    rows: int
    java: int
    python: int
    worker: int
    cpu_s: float
    read: int

    @property
    def driver(self) -> int:
        return self.java + self.python


class Taken(NamedTuple):
    """What a step takes."""

    seconds: float
    cpu_s: float
    read: float


class Watched(NamedTuple):
    """A run that is over: its samples; what each step took; its mean.json."""

    samples: list[Sample]
    steps: dict[str, Taken]
    result: dict[str, Any]

    def peak(self, of: str) -> int:
        return max(getattr(sample, of) for sample in self.samples)


def watched(photos: Path, output: Path, options: list[str]) -> Watched:
    """Run facemean over an input. Ends this process where it fails."""
    events = output.with_name(f"{output.name}.events")
    events.mkdir()
    conf = ("spark.ui.port=0", "spark.eventLog.enabled=true", "spark.eventLog.compress=false",
            f"spark.eventLog.dir={events.as_uri()}")  # fmt: skip
    command = [sys.executable, "-m", "spark_job", "run", photos, "--output", output, "--detector", "hog"]
    samples, rows, counted = list[Sample](), [0], dict[tuple[int, float], tuple[float, int]]()
    with subprocess.Popen(
        [*command, *options, *(f"--conf={pair}" for pair in conf)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as run:
        reader = threading.Thread(target=_follow, args=(run, rows), daemon=True)
        reader.start()
        process = psutil.Process(run.pid)
        while run.poll() is None:
            samples += _sampled(process, rows[0], counted)
            time.sleep(SAMPLED_EVERY_S)
        reader.join()
    if run.returncode:
        sys.exit(f"many: facemean ended with exit code {run.returncode}")
    return Watched(samples, _by_step(samples, list(_steps(events))), json.loads((output / "mean.json").read_text()))


def _follow(run: subprocess.Popen[str], rows: list[int]) -> None:
    """Pass on what the run says, and keep the count of rows that it tells."""
    assert run.stderr  # noqa: S101
    for line in run.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        if progress := re.match(r"photos: ([0-9,]+) of", line):
            rows[0] = int(progress[1].replace(",", ""))


def _sampled(
    driver: psutil.Process, rows: int, counted: dict[tuple[int, float], tuple[float, int]]
) -> Iterator[Sample]:
    """A sample, unless the run has just ended. counted: of each process that was seen, CPU seconds and bytes read."""
    resident = {"java": 0, "python": 0, "worker": 0}
    try:
        processes = [driver, *driver.children(recursive=True)]
    except psutil.Error:
        return
    for process in processes:
        try:
            with process.oneshot():
                is_worker = bool({"pyspark.daemon", "unseen"}.intersection(process.cmdline()))
                kind = "python" if process is driver else "java" if process.name() == "java" else "worker"
                if kind != "worker" or is_worker:
                    resident[kind] = max(resident[kind], process.memory_info().rss)
                times = process.cpu_times()
                key = process.pid, process.create_time()
                counted[key] = times.user + times.system, process.io_counters().read_chars
        except (psutil.Error, OSError):  # it has just ended
            continue
    cpu_s, read = (sum(values) for values in zip(*counted.values(), strict=True))
    yield Sample(time.time(), rows, **resident, cpu_s=cpu_s, read=read)


def _steps(events: Path) -> Iterator[tuple[float, float, str]]:
    """Start and end, s, and the name of each query and job, by Spark's log of events; numbers in names are left out."""
    started: dict[tuple[str, int], tuple[float, str]] = {}
    for path in sorted(events.rglob("events_*")):
        for line in path.open():
            event = json.loads(line)
            kind = event["Event"]
            if kind.startswith(JOB):
                key, at = (JOB, event["Job ID"]), event.get("Submission Time") or event.get("Completion Time")
                name = (event.get("Properties") or {}).get("spark.job.description") or "?"
            elif kind.startswith(QUERY) and "time" in event:
                key, at, name = (QUERY, event["executionId"]), event["time"], event.get("description", "?")
            else:
                continue
            if kind.endswith("Start"):
                started[key] = at / 1e3, re.sub(r"\b([0-9a-f]{16}|[0-9][0-9,]*)\b", "N", name.split("<br/>")[0])
            elif key in started:
                start, told = started.pop(key)
                yield start, at / 1e3, told


def _by_step(samples: list[Sample], steps: list[tuple[float, float, str]]) -> dict[str, Taken]:
    """What each step takes, in the order in which they began; of steps in others, the innermost."""
    sampled_at = [sample.at for sample in samples]
    whole = sampled_at[0], sampled_at[-1], BETWEEN
    ends = np.array(sorted({at for start, end, _ in [*steps, whole] for at in (start, end)}))
    so_far = [[sample.at, sample.cpu_s, sample.read] for sample in samples]
    taken = np.diff([np.interp(ends, sampled_at, column) for column in zip(*so_far, strict=True)])
    names = [name for _, _, name in sorted(steps)]
    totals = {name: np.zeros(len(taken)) for name in [*names, BETWEEN]}
    for i in range(len(ends) - 1):
        *_, name = max(step for step in [*steps, whole] if step[0] <= ends[i] and step[1] >= ends[i + 1])
        totals[name] += taken[:, i]
    return {name: Taken(*total.tolist()) for name, total in totals.items()}
