"""Many: what grows with the photos of a run, and how: seconds by step, bytes read, memory, files. See scripts/many."""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlib
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from synthetic import WRITERS, write
from watch import ROOT, Sample, Watched, watched

A_FOLDER = 1000
FACE_PX = 256  # of a face and as much again around it, from which the crops are cut
SMALL_PX, LARGE_PX, ONE_LARGE_IN = 64, 128, 16  # HOG finds faces of 80 px: in the large ones
MIB, GIB = 2**20, 2**30
# How much more than in the second quarter of the rows a process may take in the last one.
SLACK = 1.1
CROPS = "crops"
UNSEEN = (
    "spark.python.daemon.module=unseen",
    f"spark.executorEnv.PYTHONPATH={ROOT}:{Path(__file__).parent}",
)
RUNS = "first run", "rerun"
PROCESSES = "java", "python", "driver", "worker"  # driver: the two before it, together
Figures = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000], help="how many photos, each time")
    parser.add_argument("--shape", nargs="+", choices=[*WRITERS, CROPS], default=[*WRITERS], help="what they lie in")
    parser.add_argument("--bytes", type=int, default=1000, help="of each photo (default 1000)")
    parser.add_argument("--groups", type=int, default=10_000, help="by folder; 0 for no groups (default 10000)")
    parser.add_argument("--conf", action="append", default=[], metavar="K=V", help="a property of Spark's")
    parser.add_argument("--scratch", type=Path, help="a folder for the photos and the outputs, which are removed")
    parser.add_argument("--output", type=Path, default=Path("out/many.json"), help="where the figures go")
    chosen = parser.parse_args()
    figures, well = list[Figures](), True
    for shape in chosen.shape:
        for rows in sorted(chosen.rows):
            with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
                if shape == CROPS:
                    well &= crops(Path(scratch), rows, chosen.conf)
                else:
                    figures += measured(Path(scratch), shape, rows, chosen)
            chosen.output.parent.mkdir(parents=True, exist_ok=True)
            chosen.output.write_text(json.dumps(figures, indent=1) + "\n")
        if shape != CROPS:
            show([run for run in figures if run["shape"] == shape])
    return 0 if well else 1


# ---- photos that nobody looks at: the job around the faces ----


def measured(scratch: Path, shape: str, rows: int, chosen: argparse.Namespace) -> Iterator[Figures]:
    """The figures of a run over so many photos, and of another with nothing to do."""
    photos, output = write(shape, scratch / "photos", rows, chosen.bytes, max(chosen.groups, 1)), scratch / "out"
    held = sum(path.stat().st_size for path in (scratch / "photos").rglob("*") if path.is_file())
    options = [f"--conf={pair}" for pair in (*UNSEEN, *chosen.conf)]
    options += ["--group-by", "parent"] if chosen.groups else []
    for name in RUNS:
        print(f"{shape}, {rows:,} photos, {name}", file=sys.stderr, flush=True)
        run = watched(photos, output, options)
        yield {"shape": shape, "rows": rows, "run": name, "input_bytes": held, **_figures(run, output)}
        shutil.rmtree(f"{output}.events")


def _figures(run: Watched, output: Path) -> Figures:
    if run.result["photos"]["ok"] != run.result["photos"]["listed"]:
        sys.exit(f"many: not all of the photos counted: {run.result['photos']}")
    files = [path.stat().st_size for path in output.rglob("*") if path.is_file()]
    return {
        "seconds": run.samples[-1].at - run.samples[0].at,
        "cpu_s": run.samples[-1].cpu_s,
        "read_bytes": run.samples[-1].read,
        "peaks_mib": {name: round(run.peak(name) / MIB) for name in PROCESSES},
        "output_files": len(files),
        "output_bytes": sum(files),
        "mean_sha256": run.result["mean_sha256"],
        "steps": {name: taken._asdict() for name, taken in run.steps.items()},
    }


def show(runs: list[Figures]) -> None:
    """A table for the first run and one for the rerun: a column for each size, and its ratio to the smallest."""
    for name in RUNS:
        some = [run for run in runs if run["run"] == name]
        table = Table("", title=f"{some[0]['shape']}, {name}", title_justify="left")
        for run in some:
            table.add_column(f"{run['rows']:,}", justify="right")
        for what, values in _lines(some).items():
            table.add_row(what, *(_cell(what, value, values[0]) for value in values))
        Console(width=120).print(table)


def _lines(runs: list[Figures]) -> dict[str, list[float]]:
    """What is told -> its value in each run."""
    steps = dict.fromkeys(step for run in runs for step in run["steps"])

    def taken(what: str) -> dict[str, list[float]]:
        return {f"  {step}, {what}": [run["steps"].get(step, {}).get(what, 0) for run in runs] for step in steps}

    return {
        "seconds": [run["seconds"] for run in runs],
        **taken("seconds"),
        "CPU seconds": [run["cpu_s"] for run in runs],
        **taken("cpu_s"),
        "CPU ms a photo": [run["cpu_s"] / run["rows"] * 1e3 for run in runs],
        "bytes read for each of the input": [run["read_bytes"] / run["input_bytes"] for run in runs],
        **{f"{of}, at most, MiB": [run["peaks_mib"][of] for run in runs] for of in PROCESSES},
        "files written": [run["output_files"] for run in runs],
        "MB written": [run["output_bytes"] / 1e6 for run in runs],
    }


def _cell(what: str, value: float, smallest: float) -> str:
    told = f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
    return told if value == smallest or not smallest else f"{told} ({value / smallest:.1f}x)"


# ---- crops of real faces: the memory of the workers ----


def crops(scratch: Path, count: int, conf: list[str]) -> bool:
    """Run over so many small real photos; whether neither the driver's memory nor the workers' grows with the rows."""
    started = time.monotonic()
    write_crops(scratch / "photos", count)
    print(f"{count:,} photos written in {time.monotonic() - started:.0f} s", flush=True)
    run = watched(scratch / "photos", scratch / "out", [f"--conf={pair}" for pair in conf])
    result = run.result
    print(f"{result['photos']}, {result['seconds']:.0f} s, {result['photos_per_second']:.0f} photos a second")
    return told(run.samples, count, result["photos"]["listed"])


def write_crops(folder: Path, count: int) -> None:
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


def told(samples: list[Sample], photos: int, listed: int) -> bool:
    """Print the largest of each in each quarter of the rows, and whether it is all as it should be."""
    quarters = [[s for s in samples if i * photos <= 4 * s.rows < (i + 1) * photos] for i in range(4)]
    quarters[3] += [s for s in samples if s.rows >= photos]
    print(f"{'MiB, while rows were':<22}{'driver, Java':>16}{'driver, Python':>16}{'largest worker':>16}")
    names = ("0", "25%", "50%", "75%", "100%")
    peaks = [
        [max((getattr(s, field) for s in quarter), default=0) for field in ("java", "python", "worker")]
        for quarter in quarters
    ]
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
