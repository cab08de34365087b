"""Chaos: runs that are killed, stopped and disturbed; a table of what came of it. See scripts/chaos."""

import argparse
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
from many import crops_of_faces

ROOT = Path(__file__).resolve().parent.parent
KEY = ["path", "length", "modificationTime"]
PHOTOS, PHOTO_PX, LIMIT_S = 300, 250, 600
LOCAL, CLUSTER = "local[2]", "local-cluster[2,1,1024]"
# What a run is given to end in after a signal, and its processes after it.
ENDS_S = 30
PAUSE_S = 1.5  # at most, before each strike
STOPPED, STOPPED_SAYS = 130, "facemean: stopped: the same command goes on from here"
ACCIDENTS = ("SIGSEGV", "SIGABRT", "SIGILL", "SIGKILL", "hang", "memory")


class Run(NamedTuple):
    """A run of facemean that is under way, its command, and the file of what it says on standard error."""

    process: psutil.Popen
    command: list[str]
    output: Path
    stderr: Path


# What is done to a run once it has written rows; whether it could be done.
Strike = Callable[[Run], bool]


class Fault(NamedTuple):
    """Strikes, one after the other, over one output.

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


# ---- strikes ----


def workers(run: Run) -> list[psutil.Process]:
    """The Python workers: the children of a daemon."""
    return [p for p in _below(run) if _is(p, "daemon") and _is(p.parent(), "daemon")]


def executors(run: Run) -> list[psutil.Process]:
    return [p for p in _below(run) if _is(p, "CoarseGrainedExecutorBackend")]


def java(run: Run) -> list[psutil.Process]:
    return [p for p in _below(run) if _is(p, "SparkSubmit")]


def driver(run: Run) -> list[psutil.Process]:
    return [run.process]


def everyone(run: Run) -> list[psutil.Process]:
    return [run.process, *_below(run)]


def _below(run: Run) -> list[psutil.Process]:
    return run.process.children(recursive=True)


def _is(process: psutil.Process | None, name: str) -> bool:
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


def terminate(run: Run) -> bool:
    """SIGTERM to the driver, as a scheduler sends it."""
    run.process.terminate()
    return True


def terminate_all(run: Run) -> bool:
    """SIGTERM to the whole process group, as a service manager sends it."""
    os.killpg(run.process.pid, signal.SIGTERM)
    return True


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
    part = sorted(parts(run.output))[0]
    shutil.copy(run.output / "photos" / part, run.output / "photos" / f"part-99999-died-{part[11:]}")
    return True


def second_run(run: Run) -> bool:
    """The same command while the first runs: refused, and told by whom."""
    second = subprocess.run(run.command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    told = rf"another run is writing to .*: process {run.process.pid} on .*, since"
    return second.returncode == 1 and re.search(told, second.stderr) is not None


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


def accidents(scratch: Path) -> list[str]:
    """Photos that crash or hang what opens them, several of each, and the workers' PYTHONPATH on which they do."""
    folder = scratch / "accidents"
    folder.mkdir()
    for i, (accident, photo) in enumerate(zip(ACCIDENTS, crops_of_faces(), strict=False)):
        (folder / f"{i}-{accident}.jpg").write_bytes(photo + b"accident:" + accident.encode())
    paths = os.pathsep.join((str(ROOT / "tests" / "hostile"), str(ROOT)))
    return [str(folder), f"--conf=spark.executorEnv.PYTHONPATH={paths}", "--photo-timeout=5"]


# ---- the faults ----


def faults() -> Iterator[Fault]:
    """All of them, 20 times kill -9 among them."""
    yield Fault("dies while committing", [die_committing, die_committing, leave_rows_twice], [CLUSTER])
    yield Fault("two runs at once", [second_run])
    yield Fault("a full disk", [fill_the_disk])
    yield Fault("a damaged checkpoint", [damage_the_checkpoint])
    yield Fault("photos that crash, hang", more=accidents, times=len(ACCIDENTS))
    yield Fault("SIGTERM, Ctrl-C", [terminate, terminate_all, ctrl_c])
    yield Fault("kill -9 a worker", [kill(workers)] * 8)
    yield Fault("kill -9 an executor", [kill(executors)] * 5, [CLUSTER])
    yield Fault("kill -9 the driver", [kill(driver), kill(java)] * 3 + [kill(driver)])


def short() -> Fault:
    """One of each, over one output: two stops, and what a cluster of processes knows."""
    strikes = [terminate_all, ctrl_c, kill(workers), kill(executors), leave_rows_twice, kill(driver)]
    return Fault("all, over one output", strikes, [LOCAL, LOCAL, CLUSTER])


def disturb(fault: Fault, photos: Path, scratch: Path, deadline: float) -> Seen:
    """Run until it is done and all strikes were made; scratch is a folder of the fault's own."""
    scratch.mkdir()
    output, strikes, wrong, runs = scratch / "out", list(fault.strikes), list[str](), 0
    arguments = ["run", str(photos), *fault.more(scratch), f"--output={output}"]
    settings = ["--detector=hog", "--upsample=1", "--max-failed=1", "--quiet", "--conf=spark.ui.enabled=false"]
    command = [sys.executable, "-m", "spark_job", *arguments, *settings]
    repair = False
    while time.monotonic() < deadline:
        master, runs = fault.masters[min(runs, len(fault.masters) - 1)], runs + 1
        stderr = scratch / f"stderr{runs}"
        with stderr.open("wb") as file:
            now = [*command, f"--master={master}", *["--repair"] * repair]
            process = psutil.Popen(now, cwd=ROOT, stderr=file, start_new_session=True)
        run = Run(process, now, output, stderr)
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


def _strike(run: Run, strikes: list[Strike], deadline: float) -> tuple[bool, list[str]]:
    """Do to a run what is left to do, each once it has written more rows, until it ends.

    Returns whether anything was done, and the names of processes that outlive it.
    """
    before, struck, seen = parts(run.output), False, dict[int, psutil.Process]()
    while run.process.poll() is None:
        with suppress(psutil.Error):
            seen |= {process.pid: process for process in _below(run)}
            if strikes and parts(run.output) - before:
                time.sleep(random.uniform(0, PAUSE_S))  # noqa: S311
                if run.process.poll() is None and strikes[0](run):
                    struck, before = True, parts(run.output)
                    strikes.pop(0)
        if time.monotonic() > deadline:
            run.process.kill()
        time.sleep(0.05)
    _, left = psutil.wait_procs(list(seen.values()), timeout=ENDS_S)
    names = [process.name() for process in left]
    for process in left:
        process.kill()
    return struck, names


def _unhelpful(code: int, stderr: str, struck: bool) -> list[str]:
    """What a run said that is no line of facemean's own, that it ended without one, or for no cause."""
    lines = [line for line in stderr.splitlines() if line.startswith(("facemean: ", "Traceback", "  File "))]
    strange = [line for line in lines if not line.startswith("facemean: ")]
    if code == STOPPED and stderr.splitlines()[-1:] != [STOPPED_SAYS]:
        strange.append(f"stopped, and said {stderr[-500:]!r} at the end")
    if code not in (0, -signal.SIGKILL) and not lines:
        strange.append(f"ended with exit code {code}, and said nothing")
    if code and not struck and "--repair" not in stderr:
        strange += lines
    return strange


def parts(output: Path) -> set[str]:
    """The names of the files of rows."""
    try:
        return {name for name in os.listdir(output / "photos") if name.startswith("part-")}  # noqa: PTH208
    except FileNotFoundError:
        return set()


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
        for i, (_, photo) in enumerate(zip(range(count), crops_of_faces(PHOTO_PX, PHOTO_PX), strict=False)):
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
