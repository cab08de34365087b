"""Chaos: runs that are killed, stopped and disturbed; a table of what came of it. See scripts/chaos."""

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
from faults import (
    ENDS_S,
    LIMIT_S,
    ROOT,
    Run,
    Strike,
    ctrl_c,
    damage_the_checkpoint,
    die_committing,
    driver,
    ending,
    executors,
    fill_the_disk,
    java,
    kill,
    leave_rows_twice,
    parts,
    second_run,
    started_by,
    terminate,
    terminate_all,
    workers,
)
from many import crops_of_faces

KEY = ["path", "length", "modificationTime"]
PHOTOS, PHOTO_PX = 200, 250
LOCAL, CLUSTER = "local[2]", "local-cluster[2,1,1024]"
PAUSE_S = 1.5  # at most, before each strike
STOPPED, STOPPED_SAYS = 130, "facemean: stopped: the same command goes on from here"
ACCIDENTS = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGKILL", "hang", "memory")


class Fault(NamedTuple):
    """Strikes, one after the other, over one output: in a run as many as it lives to see.

    masters: of the first run, the second, and so on; the last one's is that of all after it. more: arguments of the
    runs beside the photos.
    """

    name: str
    strikes: Sequence[Strike] = ()
    masters: Sequence[str] = (LOCAL,)
    more: Callable[[Path], list[str]] = lambda scratch: []
    times: int | None = None  # where it is not a strike that disturbs


class Seen(NamedTuple):
    """What came of a fault; wrong: what a run said that helps nobody, or left behind."""

    name: str
    times: int
    runs: int
    listed: int
    rows: int
    twice: int
    mean: str | None
    ok: int
    wrong: list[str]

    def well(self, expected: "Seen") -> bool:
        """Whether each photo counts once, the mean is the undisturbed one, and nothing else was wrong."""
        counted = self.rows - self.twice == self.listed and self.ok == expected.ok
        return counted and self.mean is not None and self.mean == expected.mean and not self.wrong


def accidents(scratch: Path) -> list[str]:
    """Photos that crash or hang what opens them, several of each, and the workers' PYTHONPATH on which they do."""
    folder = scratch / "accidents"
    folder.mkdir()
    for i, (accident, photo) in enumerate(zip(ACCIDENTS, crops_of_faces(), strict=False)):
        (folder / f"{i}-{accident}.jpg").write_bytes(photo + b"accident:" + accident.encode())
    paths = os.pathsep.join((str(ROOT / "tests" / "table" / "hostile"), str(ROOT)))
    return [str(folder), f"--conf=spark.executorEnv.PYTHONPATH={paths}", "--photo-timeout=5"]


def faults() -> Iterator[Fault]:
    """All of them, 20 times kill -9 among them."""
    yield Fault("dies while committing", [die_committing, die_committing, leave_rows_twice], [CLUSTER])
    yield Fault("full disk, damaged file", [fill_the_disk, damage_the_checkpoint])
    yield Fault("photos that crash, hang", more=accidents, times=len(ACCIDENTS))
    yield Fault("stops, two runs at once", [terminate, terminate_all, ctrl_c, second_run])
    yield Fault("kill -9, 20 times", twenty_kills(), [CLUSTER])


def twenty_kills() -> list[Strike]:
    """Four lives of a run: in each, workers and executors are killed, and then the driver, in Python or in Java."""
    life: list[Strike] = [kill(workers), kill(executors)] * 2
    return [*chain(*([*life, ending(kill(end))] for end in (driver, java) * 2))]


def short() -> Fault:
    """One of each, over one output: two stops, then what a cluster of processes knows."""
    kills = [kill(workers), kill(executors), ending(kill(driver)), leave_rows_twice]
    return Fault("all, over one output", [terminate_all, ctrl_c, *kills], [LOCAL, LOCAL, CLUSTER])


def disturb(fault: Fault, photos: Path, scratch: Path, deadline: float) -> Seen:
    """Run until it is done and all strikes were made; scratch is a folder of the fault's own."""
    scratch.mkdir()
    output, strikes, wrong, runs = scratch / "out", list(fault.strikes), list[str](), 0
    arguments = ["run", str(photos), *fault.more(scratch), f"--output={output}"]
    settings = ["--detector=hog", "--upsample=1", "--max-failed=1", "--quiet", "--conf=spark.ui.enabled=false"]
    # As conf/ has it for executors on clusters: most of what these do is to start.
    settings += ["--conf=spark.executor.extraJavaOptions=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"]
    command = [sys.executable, "-m", "spark_job", *arguments, *settings]
    repair = False
    while time.monotonic() < deadline:
        master, runs = fault.masters[min(runs, len(fault.masters) - 1)], runs + 1
        stderr = scratch / f"stderr{runs}"
        with stderr.open("wb") as file:
            now = [*command, f"--master={master}", *["--repair"] * repair]
            process = psutil.Popen(now, cwd=ROOT, stderr=file, start_new_session=True)
        run = Run(process, now, output)
        struck, left = _strike(run, strikes, deadline)
        code = process.wait()
        wrong += _unhelpful(code, stderr.read_text(), struck) + [f"{name} was left behind" for name in left]
        repair = "--repair" in stderr.read_text()
        if code == 0 and not strikes:
            break
        if code == 0:  # before all was done to it: once more
            shutil.rmtree(output)
    else:
        wrong.append("out of time")
    made = len(fault.strikes) - len(strikes) if fault.times is None else fault.times
    return _seen(fault.name, made, runs, output, wrong)


def _strike(run: Run, strikes: list[Strike], deadline: float) -> tuple[int, list[str]]:
    """Do to a run what is left to do, from when it has written more rows, until it ends.

    Returns how much was done, and the names of processes that outlive it.
    """
    before, struck, seen = parts(run.output), 0, dict[int, psutil.Process]()
    while run.process.poll() is None:
        with suppress(psutil.Error):
            seen |= {process.pid: process for process in started_by(run)}
            if strikes and parts(run.output) - before:
                time.sleep(random.uniform(0, PAUSE_S))  # noqa: S311
                if run.process.poll() is None and strikes[0](run):
                    struck += 1
                    strikes.pop(0)
        if time.monotonic() > deadline:
            run.process.kill()
        time.sleep(0.05)
    _, left = psutil.wait_procs(list(seen.values()), timeout=ENDS_S)
    names = [process.name() for process in left]
    for process in left:
        process.kill()
    return struck, names


def _unhelpful(code: int, stderr: str, struck: int) -> list[str]:
    """What a run said that is no line of facemean's own, that it ended without one, or for no cause."""
    lines = [line for line in stderr.splitlines() if line.startswith(("facemean: ", "Traceback", "  File "))]
    strange = [line for line in lines if not line.startswith("facemean: ")]
    if code == STOPPED and struck == 1:  # else Spark says what else it lost
        strange += [f"stopped, and said {stderr!r}"] if stderr.splitlines() != [STOPPED_SAYS] else []
    if code not in (0, -signal.SIGKILL) and not lines:
        strange.append(f"ended with exit code {code}, and said nothing")
    if code and not struck and "--repair" not in stderr:
        strange += lines
    return strange


def _seen(name: str, times: int, runs: int, output: Path, wrong: list[str]) -> Seen:
    files = sorted((output / "photos").glob("part-*.parquet"))
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in files)
    once = pq.read_table(files, columns=KEY).group_by(KEY).aggregate([]).num_rows if files else 0
    document = json.loads((output / "mean.json").read_text()) if (output / "mean.json").exists() else {}
    counts = document.get("photos", {})
    mean = document.get("mean_sha256")
    return Seen(name, times, runs, counts.get("listed", 0), rows, rows - once, mean, counts.get("ok", 0), wrong)


def archive_of_photos(path: Path, count: int = PHOTOS) -> Path:
    """A tar of so many crops of the sample's faces."""
    with tarfile.open(path, "w") as file:
        for i, (_, photo) in enumerate(
            zip(range(count), crops_of_faces(large_px=PHOTO_PX, one_whole_in=1), strict=False)
        ):
            entry = tarfile.TarInfo(f"{i:04}.jpg")
            entry.size = len(photo)
            file.addfile(entry, io.BytesIO(photo))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="an archive or folder; without it, crops of the sample's faces")
    parser.add_argument("--short", action="store_true", help="one of each, over one output")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults with this in their name")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help=f"seconds in all (default {LIMIT_S})")
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    deadline, all_well = time.monotonic() + chosen.limit, True
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        photos = chosen.photos or archive_of_photos(scratch / "photos.tar", PHOTOS // 2 if chosen.short else PHOTOS)
        print(f"{'fault':<24}{'times':>6}{'runs':>6}{'listed':>8}{'rows':>7}{'twice':>7}{'s':>6}  mean", flush=True)
        expected = None
        wanted = [short()] if chosen.short else [fault for fault in faults() if chosen.only in fault.name]
        for i, fault in enumerate([Fault("nothing"), *wanted]):
            started = time.monotonic()
            seen = disturb(fault, photos, scratch / str(i), deadline)
            expected = expected or seen
            well = seen.well(expected) and seen.times >= len(fault.strikes)
            all_well = all_well and well
            counts = f"{seen.times:>6}{seen.runs:>6}{seen.listed:>8}{seen.rows:>7}{seen.twice:>7}"
            told = "equal" if seen.mean == expected.mean else "DIFFERENT"
            print(f"{seen.name:<24}{counts}{time.monotonic() - started:>6.0f}  {told}", *seen.wrong, flush=True)
    print("all well" if all_well else "NOT WELL")
    return 0 if all_well else 1


if __name__ == "__main__":
    shutil.which("java") or sys.exit("chaos: java is missing: scripts/setup")
    sys.exit(main())
