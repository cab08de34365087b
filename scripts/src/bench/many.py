"""Many: the memory of a run over very many small photos, sampled while it runs. See scripts/many."""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dlib
import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
A_FOLDER = 1000
FACE_PX = 256  # of a face and as much again around it, from which the crops are cut
SMALL_PX, LARGE_PX, ONE_LARGE_IN = 64, 128, 16  # HOG finds faces of 80 px: in the large ones
MIB, GIB = 2**20, 2**30
SAMPLED_EVERY_S = 0.5
# How much more than in the second quarter of the rows a process may take in the last one.
SLACK = 1.1


class Sample(NamedTuple):
    """Rows encoded so far, and resident bytes: of the Java process, the driver's Python, the largest worker."""

    rows: int
    java: int
    python: int
    worker: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=200_000, help="how many (default 200,000)")
    parser.add_argument("--conf", action="append", default=[], metavar="K=V", help="a property of Spark's")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        folder, output = Path(scratch) / "photos", Path(scratch) / "out"
        write(folder, chosen.photos)
        print(f"{chosen.photos:,} photos written in {time.monotonic() - started:.0f} s", flush=True)
        samples, result = watched(folder, output, chosen.conf)
        print(f"{result['photos']}, {result['seconds']:.0f} s, {result['photos_per_second']:.0f} photos a second")
        return 0 if told(samples, chosen.photos, result["photos"]["listed"]) else 1


# ---- photos ----


def write(folder: Path, count: int) -> None:
    """So many crops of the sample's faces, no two alike, in folders of 1,000."""
    crops = crops_of_faces()
    for i in range(count):
        name = folder / f"{i // A_FOLDER:03}" / f"{i:06}.jpg"
        if i % A_FOLDER == 0:
            name.parent.mkdir(parents=True)
        name.write_bytes(next(crops))


def crops_of_faces(
    small_px: int = SMALL_PX, large_px: int = LARGE_PX, one_whole_in: int = ONE_LARGE_IN
) -> Iterator[bytes]:
    """JPEG files without end: a part of a face in a small square, and one in so many a whole face in a large one."""
    folder, random, detect = ROOT / "sample", np.random.default_rng(1), dlib.get_frontal_face_detector()
    subprocess.run([sys.executable, ROOT / "scripts" / "src" / "setup" / "sample.py", folder], check=True)
    faces = []
    for name in ("obama", "biden", "obama2"):
        with Image.open(folder / f"{name}.jpg") as file:
            photo = file.convert("RGB")
        box = detect(np.array(photo))[0]
        around = box.width() // 2
        face = photo.crop((box.left() - around, box.top() - around, box.right() + around, box.bottom() + around))
        faces.append(face.resize((FACE_PX, FACE_PX), Image.Resampling.LANCZOS))
    i = 0
    while True:
        is_whole = i % one_whole_in == 0
        side, part = (large_px, (0.85, 1.0)) if is_whole else (small_px, (0.25, 0.5))
        scale = round(FACE_PX * random.uniform(*part))
        left, top = (int(random.integers(0, FACE_PX - scale + 1)) for _ in range(2))
        file = io.BytesIO()
        crop = faces[i % len(faces)].resize((side, side), box=(left, top, left + scale, top + scale))
        crop.save(file, "JPEG", quality=int(random.integers(70, 96)))
        yield file.getvalue()
        i += 1


# ---- the run ----


def watched(folder: Path, output: Path, conf: list[str]) -> tuple[list[Sample], dict[str, dict[str, int]]]:
    """Run facemean over the folder; the samples of its memory, and its mean.json."""
    command = [sys.executable, "-m", "spark_job", "run", folder, "--output", output, "--detector", "hog"]
    options = [f"--conf={pair}" for pair in ("spark.ui.port=0", *conf)]
    samples, rows = list[Sample](), [0]
    with subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True) as run:
        reader = threading.Thread(target=follow, args=(run, rows), daemon=True)
        reader.start()
        process = psutil.Process(run.pid)
        while run.poll() is None:
            samples.append(sampled(process, rows[0]))
            time.sleep(SAMPLED_EVERY_S)
        reader.join()
    if run.returncode:
        sys.exit(f"many: facemean ended with exit code {run.returncode}")
    return samples, json.loads((output / "mean.json").read_text())


def follow(run: subprocess.Popen[str], rows: list[int]) -> None:
    """Pass on what the run says, and keep the count of rows that it tells."""
    assert run.stderr  # noqa: S101
    for line in run.stderr:
        print(line, end="", file=sys.stderr, flush=True)
        if progress := re.match(r"photos: ([0-9,]+) of", line):
            rows[0] = int(progress[1].replace(",", ""))


def sampled(driver: psutil.Process, rows: int) -> Sample:
    java, workers = 0, [0]
    try:
        python = driver.memory_info().rss
        children = driver.children(recursive=True)
    except psutil.Error:
        return Sample(rows, 0, 0, 0)
    for child in children:
        try:
            resident = child.memory_info().rss
            if child.name() == "java":
                java = max(java, resident)
            elif "daemon" in " ".join(child.cmdline()):
                workers.append(resident)
        except psutil.Error:  # it has just ended
            continue
    return Sample(rows, java, python, max(workers))


# ---- the verdict ----


def told(samples: list[Sample], photos: int, listed: int) -> bool:
    """Print the largest of each in each quarter of the rows, and whether it is all as it should be."""
    quarters = [[s for s in samples if i * photos <= 4 * s.rows < (i + 1) * photos] for i in range(4)]
    quarters[3] += [s for s in samples if s.rows >= photos]
    print(f"{'MiB, while rows were':<22}{'driver, Java':>16}{'driver, Python':>16}{'largest worker':>16}")
    names = ("0", "25%", "50%", "75%", "100%")
    peaks = [[max((s[field] for s in quarter), default=0) for field in (1, 2, 3)] for quarter in quarters]
    for i, peak in enumerate(peaks):
        print(f"{f'{names[i]} to {names[i + 1]}':<22}" + "".join(f"{resident / MIB:>16.0f}" for resident in peak))
    driver = max(s.java for s in samples)
    grows = any(late > SLACK * early for early, late in zip(peaks[1], peaks[3], strict=True))
    well = listed == photos and driver < GIB and not grows
    print(
        f"driver: at most {driver / MIB:.0f} MiB; with the rows encoded, {'memory GROWS' if grows else 'nothing grows'}"
    )
    print("all well" if well else "NOT WELL")
    return well


if __name__ == "__main__":
    sys.exit(main())
