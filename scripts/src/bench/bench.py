"""Time facemean side by side with the ways in which this job is usually done, on the same photos and cores.

Every way runs in turn, round after round, so that a machine whose speed drifts is fair to all. Medians and ratios of
the rounds are printed as a table and written as bench.json; the time of each step and the scaling are drawn in
bench.png.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.table import Table
from ways import (
    CORES,
    KERNEL_PHOTOS,
    job,
    kernels,
    large_photos,
    plain_cnn,
    plain_loop,
    pool,
    queue,
    remote_tasks,
    small_photos,
    steps_ms,
    written,
)

from spark_job.faces.processor import BFLOAT16, flags
from spark_job.results.documents import versions

mpl.use("Agg")
from matplotlib import pyplot

EXACT = {"detector": "hog", "upsample": 1, "face": "first"}
Seconds = dict[str, list[float]]


def main() -> None:
    """Run the bench and write its table, figures and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a .tgz of photos of 250x250 px (default: made of the sample)")
    parser.add_argument("--job-photos", type=int, default=2000, help="how many the whole job encodes (default 2000)")
    parser.add_argument("--loop-photos", type=int, default=60, help="how many the slow ways encode (default 60)")
    parser.add_argument("--large-photos", type=int, default=6, help="how many have 12 megapixels (default 6)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="where bench.json and bench.png go")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        small = written(small_photos(options.photos, options.job_photos), Path(scratch) / "small")
        large = written(large_photos(options.large_photos), Path(scratch) / "large")
        few = small[: options.loop_photos]
        quarter = written((path.read_bytes() for path in small[::4]), Path(scratch) / "quarter")
        plain, whole = "plain loop", "facemean, whole job"
        tables = {
            "250x250": measured(
                options.rounds,
                {
                    plain: partial(plain_loop, few),
                    "the loop in a pool of processes": partial(pool, few * CORES),
                    "a queue of workers, a photo a task": partial(queue, few * CORES),
                    "a remote task a photo": partial(remote_tasks, few * CORES),
                    "facemean, kernels, 1 process": partial(kernels, small),
                    f"facemean, kernels, {CORES} processes": partial(kernels, small, processes=CORES),
                    f"{whole}, 1 core": partial(job, small, cores=1),
                    "facemean, kernels, 1 process, again": partial(kernels, small),
                    **(
                        {"facemean, kernels, 1 process, --engine openvino": partial(kernels, small, engine="openvino")}
                        if flags() & set(BFLOAT16)
                        else {}
                    ),
                    f"{whole}, {CORES} cores": partial(job, small, cores=CORES),
                    f"{whole}, 1 core, exact settings": partial(job, quarter, cores=1, **EXACT),
                },
            ),
            "250x250, CNN detector": measured(
                options.rounds,
                {
                    "face_recognition, model=cnn": partial(plain_cnn, small[:8]),
                    "facemean, kernels": partial(kernels, small[:64], detector="cnn"),
                },
            ),
            "12 megapixels": measured(
                options.rounds,
                {
                    plain: partial(plain_loop, large[:1]),
                    "facemean, kernels, --detect-size 0": partial(kernels, large[:2], detect_size=0),
                    "facemean, kernels": partial(kernels, large),
                },
            ),
        }
        steps = {"250x250": steps_ms(small[:KERNEL_PHOTOS]), "12 megapixels": steps_ms(large)}
    figures = {
        "machine": machine(),
        "options": {k: str(v) for k, v in vars(options).items()},
        "seconds": tables,
        "steps_ms": steps,
    }
    show(tables)
    (options.output / "bench.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(tables["250x250"], steps, options.output / "bench.png")
    print(f"{options.output}/bench.json, bench.png")


def measured(rounds: int, ways: dict[str, Callable[[], dict[str, float]]]) -> Seconds:
    """Name -> seconds of one core a photo in each round; the ways take turns."""
    seconds: Seconds = {}
    for number in range(rounds):
        for name, way in ways.items():
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            for detail, value in way().items():
                seconds.setdefault(name + detail, []).append(value)
    return seconds


def show(tables: dict[str, Seconds]) -> None:
    """Medians, and how many times faster than the first way, round by round."""
    for title, seconds in tables.items():
        table = Table("way", title=title, title_justify="left")
        for column in ("ms of a core a photo", "times as fast"):
            table.add_column(column, justify="right")
        for name, values in seconds.items():
            table.add_row(name, f"{statistics.median(values) * 1e3:.1f}", f"{speedup(seconds, name):.1f}")
        Console(width=110).print(table)


def speedup(seconds: Seconds, name: str) -> float:
    """The median of the rounds' ratios to the first way."""
    first = next(iter(seconds.values()))
    return statistics.median(a / b for a, b in zip(first, seconds[name], strict=True))


def draw(seconds: Seconds, steps: dict[str, dict[str, float]], path: Path) -> None:
    """Left, the time of each step; right, photos a second on one core and on all, of kernels and of the job."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for i, (size, parts) in enumerate(steps.items()):
        start = 0.0
        for colour, (step, ms) in zip(("C0", "C1", "C2"), parts.items(), strict=True):
            share = ms / sum(parts.values())
            left.barh(size, share, left=start, color=colour, label=step if not i else None)
            left.text(start + share / 2, i, f"{ms:.1f}", ha="center", va="center")
            start += share
    left.set(title="ms of one core a photo", xlabel="share of the time")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    for name, ways in {
        "kernels": ("facemean, kernels, 1 process", f"facemean, kernels, {CORES} processes"),
        "whole job": tuple(
            f"facemean, whole job, {n}, without start-up and results" for n in ("1 core", f"{CORES} cores")
        ),
    }.items():
        rates = [n / statistics.median(seconds[way]) for n, way in zip((1, CORES), ways, strict=True)]
        right.plot((1, CORES), rates, marker="o", label=name)
    right.set(title="photos a second, 250x250", xlabel="cores", xticks=(1, CORES), ylim=(0, None))
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"processor": model, "cores": CORES, "python": platform.python_version(), "versions": versions()}


if __name__ == "__main__":
    main()
