"""Faults: what scripts/chaos does to a run that is under way, and whom of its processes it strikes."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 600
# What a run is given to end in after a signal, and its processes after it.
ENDS_S = 30


class Run(NamedTuple):
    """A run of facemean that is under way, its command, and the folder that it writes to."""

    process: psutil.Popen
    command: list[str]
    output: Path


# What is done to a run once it has written rows; whether it could be done.
Strike = Callable[[Run], bool]


def workers(run: Run) -> list[psutil.Process]:
    """The Python workers: the children of a daemon."""
    return [p for p in started_by(run) if runs(p, "daemon") and runs(p.parent(), "daemon")]


def executors(run: Run) -> list[psutil.Process]:
    return [p for p in started_by(run) if runs(p, "CoarseGrainedExecutorBackend")]


def java(run: Run) -> list[psutil.Process]:
    return [p for p in started_by(run) if runs(p, "SparkSubmit")]


def driver(run: Run) -> list[psutil.Process]:
    return [run.process]


def started_by(run: Run) -> list[psutil.Process]:
    """All processes of a run but its own."""
    return run.process.children(recursive=True)


def runs(process: psutil.Process | None, name: str) -> bool:
    """Whether a process has not ended, and has this in its command line."""
    try:
        return process is not None and any(name in word for word in process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def kill(whom: Callable[[Run], list[psutil.Process]]) -> Strike:
    """kill -9 one of them."""

    def strike(run: Run) -> bool:
        found = whom(run)
        if found:
            random.choice(found).kill()  # noqa: S311
        return bool(found)

    return strike


def ending(strike: Strike) -> Strike:
    """A strike of which a run ends: it is waited for, so that the next is of another run."""

    def and_wait(run: Run) -> bool:
        if not strike(run):
            return False
        with suppress(subprocess.TimeoutExpired, psutil.TimeoutExpired):
            run.process.wait(ENDS_S)
        return run.process.poll() is not None

    return and_wait


@ending
def terminate(run: Run) -> bool:
    """SIGTERM to the driver, as a scheduler sends it."""
    run.process.terminate()
    return True


@ending
def terminate_all(run: Run) -> bool:
    """SIGTERM to the whole process group, as a service manager sends it."""
    os.killpg(run.process.pid, signal.SIGTERM)
    return True


@ending
def ctrl_c(run: Run) -> bool:
    """SIGINT to the whole process group, as a terminal sends it."""
    os.killpg(run.process.pid, signal.SIGINT)
    return True


def die_committing(run: Run) -> bool:
    """Kill all executors as the rows of a task have just come, and before the driver may know."""
    victims, before = executors(run), parts(run.output)
    while run.process.poll() is None and victims:
        if parts(run.output) != before:
            for victim in victims:
                with suppress(psutil.Error):
                    victim.kill()
            return True
        time.sleep(0.001)
    return False


def leave_rows_twice(run: Run) -> bool:
    """What an attempt leaves that died when its rows were in place: they come again from the next."""
    photos = run.output / "photos"
    # A task whose photos all have rows already writes a file of none.
    held = [part for part in sorted(parts(run.output)) if pq.ParquetFile(photos / part).metadata.num_rows]
    if held:
        shutil.copy(photos / held[0], photos / f"part-99999-died-{held[0][11:]}")
    return bool(held)


def second_run(run: Run) -> bool:
    """The same command while the first runs: refused, and told by whom. The first stands still meanwhile."""
    first = [run.process, *started_by(run)]
    for process in first:
        process.suspend()
    second = subprocess.run(run.command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    for process in first:
        process.resume()
    told = rf"another run is writing to .*: process {run.process.pid} on .*, since"
    return second.returncode == 1 and re.search(told, second.stderr) is not None


@ending
def fill_the_disk(run: Run) -> bool:
    """Let the Java process write no file of more than 4 KiB: for it, the disk is full."""
    for process in java(run):
        process.rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))
    return bool(java(run))


def damage_the_checkpoint(run: Run) -> bool:
    """Kill the run, and change a byte of an embedding that it has written."""
    run.process.kill()
    run.process.wait()
    sizes = {path: path.stat().st_size for path in (run.output / "photos").glob("part-*.parquet")}
    flip_an_embedding(max(sizes, key=lambda path: sizes[path]))
    return True


def flip_an_embedding(part: Path) -> None:
    """Change one byte in the middle of the embeddings of a Parquet file."""
    group = pq.ParquetFile(part).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    column = next(column for column in columns if "embedding" in column.path_in_schema)
    content = bytearray(part.read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2] ^= 0x10
    part.write_bytes(content)


def parts(output: Path) -> set[str]:
    """The names of the files of rows."""
    try:
        return {name for name in os.listdir(output / "photos") if name.startswith("part-")}  # noqa: PTH208
    except FileNotFoundError:
        return set()
