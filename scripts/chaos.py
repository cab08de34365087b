"""Chaos: runs that are killed, stopped and disturbed; a table of what came of it. See scripts/chaos."""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
KEY = ["path", "length", "modificationTime"]
COPIES, KILLS, LIMIT_S = 24, 20, 600
RUNS = 12  # of one command, until it is done


class Fault(NamedTuple):
    """Who is disturbed, by which signal, and how often; the driver's own process tells how it takes it."""

    name: str
    signal: signal.Signals
    times: int
    whom: Callable[[psutil.Process], list[psutil.Process]]


def workers(driver: psutil.Process) -> list[psutil.Process]:
    """The Python workers: the children of a daemon."""
    return [p for p in driver.children(recursive=True) if p.parent() and _is(p, "daemon") and _is(p.parent(), "daemon")]


def executors(driver: psutil.Process) -> list[psutil.Process]:
    return [p for p in driver.children(recursive=True) if _is(p, "CoarseGrainedExecutorBackend")]


def itself(driver: psutil.Process) -> list[psutil.Process]:
    return [driver]


def _is(process: psutil.Process, name: str) -> bool:
    try:
        return any(name in word for word in process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def faults(kills: int) -> Iterator[tuple[Fault, str]]:
    """Each with the master that it needs."""
    local, cluster = "local[2]", "local-cluster[2,1,1024]"
    yield Fault("nothing", signal.SIGKILL, 0, itself), local
    yield Fault("kill -9 a worker", signal.SIGKILL, max(1, kills // 3), workers), local
    yield Fault("kill -9 the driver", signal.SIGKILL, max(1, kills // 3), itself), local
    yield Fault("kill -9 an executor", signal.SIGKILL, max(1, kills // 4), executors), cluster
    yield Fault("SIGTERM the driver", signal.SIGTERM, 1, itself), local
    yield Fault("Ctrl-C the driver", signal.SIGINT, 1, itself), local


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="an archive or folder; without it, copies of the sample")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this in their name, and nothing")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    deadline, all_well, expected = time.monotonic() + LIMIT_S, True, None
    with tempfile.TemporaryDirectory() as scratch:
        photos = chosen.photos or _sample(Path(scratch), 10 if chosen.short else COPIES)
        print(f"{'fault':<22}{'times':>6}{'runs':>6}{'listed':>8}{'rows':>7}{'twice':>7}  mean", flush=True)
        for i, (fault, master) in enumerate(faults(3 if chosen.short else KILLS)):
            if fault.times and chosen.only not in fault.name:
                continue
            output = Path(scratch) / f"out{i}"
            times, runs = _disturb(fault, photos, output, master, deadline)
            listed, rows, twice, mean = _seen(output)
            expected = expected or mean
            well = mean == expected and listed is not None and rows - twice == listed
            all_well = all_well and well and (times > 0 or fault.times == 0)
            told = "equal" if well else "DIFFERENT"
            print(f"{fault.name:<22}{times:>6}{runs:>6}{listed or 0:>8}{rows:>7}{twice:>7}  {told}", flush=True)
    print("all well" if all_well else "NOT WELL")
    return 0 if all_well else 1


def _disturb(fault: Fault, photos: Path, output: Path, master: str, deadline: float) -> tuple[int, int]:
    """Run until it is done, disturbing it on the way; returns how often it was disturbed, and run."""
    times = 0
    command = [sys.executable, "-m", "spark_job", "run", photos, "--output", output, "--detector", "hog", "--quiet"]
    for runs in range(1, max(RUNS, fault.times + 4)):
        process = subprocess.Popen([*command, "--max-failed", "1", "--master", master], cwd=ROOT)
        driver = psutil.Process(process.pid)
        while process.poll() is None and time.monotonic() < deadline:
            if times < fault.times and list((output / "photos").glob("part-*")):
                time.sleep(random.uniform(0, 2))  # noqa: S311
                times += _hit(fault, driver)
            time.sleep(0.2)
        if process.poll() is None:
            process.kill()
        if process.wait() == 0 or time.monotonic() > deadline:
            return times, runs
    return times, runs


def _hit(fault: Fault, driver: psutil.Process) -> int:
    try:
        whom = fault.whom(driver)
        if whom:
            random.choice(whom).send_signal(fault.signal)  # noqa: S311
        return len(whom[:1])
    except psutil.Error:
        return 0


def _seen(output: Path) -> tuple[int | None, int, int, str | None]:
    """Photos listed, rows, rows that are there twice, and the mean's digest."""
    table = pq.read_table(output / "photos", columns=KEY)
    rows = table.num_rows
    once = table.group_by(KEY).aggregate([]).num_rows
    if not (output / "mean.json").exists():
        return None, rows, rows - once, None
    document = json.loads((output / "mean.json").read_text())
    return document["photos"]["listed"], rows, rows - once, document["mean_sha256"]


def _sample(scratch: Path, copies: int) -> Path:
    """An archive of so many copies of each photo of the sample; the variants are some of them damaged."""
    folder = ROOT / "sample"
    subprocess.run([sys.executable, ROOT / "scripts" / "sample.py", folder], check=True)
    archive = scratch / "photos.tar"
    with tarfile.open(archive, "w") as file:
        for i in range(copies):
            for path in sorted(folder.rglob("*.*")):
                file.add(path, f"{i}/{path.name}")
    return archive


if __name__ == "__main__":
    shutil.which("java") or sys.exit("chaos: java is missing: scripts/setup")
    sys.exit(main())
