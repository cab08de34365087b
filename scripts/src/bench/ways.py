"""The ways of encoding photos that scripts/bench times, and the photos that they encode.

A way takes photos and returns the seconds of one core a photo, by a name of what they are of.
"""

import io
import json
import multiprocessing
import os
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

from PIL import Image

from spark_job import Settings
from spark_job.faces.engine import face_recognition_api, load
from spark_job.table.encode import encode_photos

os.environ["OMP_NUM_THREADS"] = "1"
CORES = len(os.sched_getaffinity(0))
BATCH = 64  # photos, as an Arrow batch of the job
KERNEL_PHOTOS = 256  # for each process
ROOT = Path(__file__).resolve().parents[3]


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
    subprocess.run([sys.executable, ROOT / "scripts" / "src" / "setup" / "sample.py", folder], check=True)
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
