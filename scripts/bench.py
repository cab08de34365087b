"""Time facemean side by side with the ways in which this job is usually done, on the same photos and cores.

Every way runs in turn, round after round, so that a machine whose speed drifts is fair to all. Medians and ratios of
the rounds are printed as a table and written as bench.json; the time of each step and the scaling are drawn in
bench.png.
"""

import argparse
import io
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image
from rich.console import Console
from rich.table import Table

from spark_job import Settings
from spark_job.encode import encode_photos
from spark_job.engine import face_recognition_api, load
from spark_job.results import versions

mpl.use("Agg")
from matplotlib import pyplot

os.environ["OMP_NUM_THREADS"] = "1"
CORES = len(os.sched_getaffinity(0))
BATCH = 64  # photos, as an Arrow batch of the job
KERNEL_PHOTOS = 256  # for each process
EXACT = {"detector": "hog", "upsample": 1, "face": "first"}
ROOT = Path(__file__).resolve().parent.parent
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
                    f"{whole}, {CORES} cores": partial(job, small, cores=CORES),
                    f"{whole}, {CORES} cores, exact settings": partial(job, small, cores=CORES, **EXACT),
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


def timed(photos: list[Path], work: Callable[[], object], cores: int = 1) -> dict[str, float]:
    started = time.perf_counter()
    work()
    return {"": (time.perf_counter() - started) * cores / len(photos)}


# ---- the usual ways ----


def encode_plainly(photo: Path | bytes) -> Any:
    """What a face_recognition user writes."""
    library: Any = face_recognition_api()
    file = io.BytesIO(photo) if isinstance(photo, bytes) else photo
    return library.face_encodings(library.load_image_file(file))[:1]


def plain_loop(photos: list[Path]) -> dict[str, float]:
    face_recognition_api()  # models load before the clock starts, here and in the other ways
    return timed(photos, lambda: [encode_plainly(path) for path in photos])


def plain_cnn(photos: list[Path]) -> dict[str, float]:
    library: Any = face_recognition_api()

    def loop() -> None:
        for path in photos:
            image = library.load_image_file(path)
            library.face_encodings(image, library.face_locations(image, number_of_times_to_upsample=0, model="cnn"))

    return timed(photos, loop)


def pool(photos: list[Path]) -> dict[str, float]:
    with processes_of(CORES) as executor:
        list(executor.map(encode_plainly, photos[:CORES]))
        return timed(photos, lambda: list(executor.map(encode_plainly, photos, chunksize=4)), CORES)


def queue(photos: list[Path]) -> dict[str, float]:
    """As the first earlier system: a producer, workers that take a photo at a time, and one that folds the results."""
    context = multiprocessing.get_context("spawn")
    tasks: Any = context.Queue()
    results: Any = context.Queue()
    workers = [context.Process(target=_queue_worker, args=(tasks, results)) for _ in range(CORES)]
    for worker in workers:
        worker.start()
    for _ in workers:
        results.get()  # it is ready

    def produce_and_fold() -> None:
        for path in photos:
            tasks.put(path)
        for _ in photos:
            results.get()

    seconds = timed(photos, produce_and_fold, CORES)
    for _ in workers:
        tasks.put(None)
    for worker in workers:
        worker.join()
    return seconds


def _queue_worker(tasks: Any, results: Any) -> None:
    face_recognition_api()
    results.put(None)
    while (path := tasks.get()) is not None:
        results.put(encode_plainly(path))


def remote_tasks(photos: list[Path]) -> dict[str, float]:
    """As the second: a remote task for each photo, which is sent its bytes and sends back its encoding."""
    with processes_of(CORES) as executor:
        list(executor.map(encode_plainly, photos[:CORES]))

        def submit_and_gather() -> None:
            for future in [executor.submit(encode_plainly, path.read_bytes()) for path in photos]:
                future.result()

        return timed(photos, submit_and_gather, CORES)


def processes_of(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


# ---- facemean ----


def kernels(photos: list[Path], processes: int = 1, **chosen: Any) -> dict[str, float]:
    """facemean's own functions in bare processes, without Spark."""
    some = photos[: KERNEL_PHOTOS * processes]
    shares = [some[i::processes] for i in range(processes)]
    work = partial(encoded, **chosen)
    with processes_of(processes) as executor:
        list(executor.map(work, [share[:2] for share in shares]))
        return timed(some, lambda: list(executor.map(work, shares)), processes)


def encoded(paths: list[Path], **chosen: Any) -> list[dict[str, Any]]:
    """The rows of photos, but for their embeddings."""
    settings = Settings(inputs=("none",), output="none", **chosen)
    engine, rows = load(settings), []
    for start in range(0, len(paths), BATCH):
        contents = [path.read_bytes() for path in paths[start : start + BATCH]]
        photos = [{"path": "", "length": len(c), "modified_us": 0, "group": None, "content": c} for c in contents]
        rows += [{**row, "faces": None} for row in encode_photos(photos, settings, engine)]
    return rows


def job(photos: list[Path], cores: int, **chosen: Any) -> dict[str, float]:
    """The command as a user types it: all of it, and that part of it in which photos are encoded."""
    with tempfile.TemporaryDirectory() as output:
        flags = [part for name, value in chosen.items() for part in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "spark_job", "run", str(photos[0].parent), "--output", output, *flags]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--master", f"local[{cores}]", "--json"], check=True, capture_output=True, cwd=ROOT
        )
        elapsed = time.perf_counter() - started
    encoding = len(photos) / json.loads(done.stdout)["photos_per_second"]
    return {"": elapsed * cores / len(photos), ", without start-up and results": encoding * cores / len(photos)}


def steps_ms(photos: list[Path]) -> dict[str, float]:
    """Mean ms of each step for one photo, as its row tells them."""
    rows = encoded(photos)
    return {
        step: round(statistics.mean(row[f"{step}_ms"] for row in rows), 2) for step in ("decode", "detect", "embed")
    }


# ---- photos ----


def small_photos(archive: Path | None, count: int) -> Iterator[bytes]:
    """So many photos of 250x250 px: of an archive, or the sample's, each turned and scaled a little differently."""
    if archive:
        with tarfile.open(archive) as file:
            files = (member for member in file if member.isfile() and member.name.lower().endswith(".jpg"))
            for member, _ in zip(files, range(count), strict=False):
                yield file.extractfile(member).read()  # type: ignore[union-attr]
        return
    people = sample_photos()
    for i in range(count):
        photo = people[i % len(people)].rotate(i % 13 - 6, Image.Resampling.BICUBIC)
        side = min(photo.size) - 4 * (i % 17)
        yield jpeg(photo.crop((0, 0, side, side)).resize((250, 250), Image.Resampling.LANCZOS))


def large_photos(count: int) -> Iterator[bytes]:
    """So many photos of 4000x3000 px: a person of the sample, of some size, in a room."""
    people = sample_photos()
    for i in range(count):
        room = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
        person = people[i % len(people)]
        scale = (3000 - 300 * (i % 4)) / person.height
        room.paste(person.resize((round(person.width * scale), round(person.height * scale))), (200 * i, 0))
        yield jpeg(room)


def sample_photos() -> list[Image.Image]:
    folder = ROOT / "sample"
    subprocess.run([sys.executable, ROOT / "scripts" / "sample.py", folder], check=True)
    return [Image.open(folder / f"{name}.jpg").convert("RGB") for name in ("obama", "biden", "obama3", "obama2")]


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def written(contents: Iterable[bytes], folder: Path) -> list[Path]:
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"{i:06}.jpg").write_bytes(content)
    return sorted(folder.iterdir())


# ---- what a person sees ----


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
