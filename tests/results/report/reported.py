"""Outputs to report on: one of rows that a test makes, with figures to find again; one of photos with odd names."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from spark_job import Settings, run
from spark_job.faces.engine import model_names
from spark_job.faces.models import digests
from spark_job.results.outliers import outliers
from spark_job.row import SCHEMA
from spark_job.settings import settings_id

PEOPLE, SWAPPED = 40, 3
# Of real photos, the folders that their groups are named by, and how many are in each.
FOLDERS = {"obama": 3, '"><svg onload=alert(1)>': 2, "{{ 7*7 }}": 2}
NO_PHOTO = (
    "<img src=x onerror=alert(1)>.jpg",
    "a</script>.jpg",
    "<script>alert(1)<.jpg",
    "'-alert(1)-'.jpg",
    "שלום.jpg",
    "\u202egpj.exe.jpg",
    "a\nb.jpg",
    "&lt;.jpg",
    "y" * 200 + ".jpg",
)


class Reported(NamedTuple):
    """An output, and its photos."""

    output: str
    photos: Path


@pytest.fixture(scope="session")
def numbers(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A finished run over rows with embeddings that are drawn: 40 people, three of them with a face of the next one.

    The photos are no photos; their rows are there when the run begins.
    """
    folder = tmp_path_factory.mktemp("numbers")
    settings = Settings(inputs=(f"{folder}/in",), output=f"{folder}/out", group_by="parent", max_failed=1.0)
    identity = settings_id(settings, digests(model_names(settings)))
    spark.createDataFrame(list(_rows(folder / "in", identity)), SCHEMA).write.parquet(f"{folder}/out/photos")
    run(settings, spark)
    outliers(settings.output, spark=spark)
    return Reported(settings.output, folder / "in")


def _rows(folder: Path, identity: str) -> Iterator[tuple[object, ...]]:
    draw = np.random.default_rng(1)
    centres = draw.normal(0, 0.06, (PEOPLE, 128))
    for person in range(PEOPLE):
        for i in range(2 + person % 7):
            of = (person + 1) % PEOPLE if person < SWAPPED and i == 0 else person
            embedding = np.float32(centres[of] + draw.normal(0, 0.025, 128)).tolist()
            face = (10, 60, 60, 10, "hog", 1.0, [(20, 30)] * 5, embedding)
            ms = draw.gamma(2, (1, 10, 5)).astype(np.float32).tolist()
            yield _row(folder / f"p{person:02}" / f"{i}.jpg", "ok", None, [face], ms, identity)
    for i, status in enumerate(["no_face"] * 3 + ["truncated"] * 14 + ["unreadable"] * 2):
        yield _row(folder / "other" / f"{i:02}.jpg", status, f"because {i}", [], [1.0, None, 0.0], identity)


def _row(
    path: Path, status: str, message: str | None, faces: list[object], ms: list[float | None], identity: str
) -> tuple[object, ...]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no photo")
    modified = datetime.fromtimestamp(path.stat().st_mtime_ns // 10**6 / 1e3, UTC)
    return (
        *(f"file:{path}", 8, modified, path.parent.name, status, message, 100, 100, len(faces), faces),
        *(*ms, identity, "this"),
    )


@pytest.fixture(scope="session")
def odd(spark: SparkSession, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """A finished run over real photos, in folders and by names that would do harm in a page that lets them."""
    folder = tmp_path_factory.mktemp("odd")
    for (group, count), name in zip(FOLDERS.items(), ("obama.jpg", "biden.jpg", "obama2.jpg"), strict=True):
        (folder / "in" / group).mkdir(parents=True)
        with Image.open(sample / name) as photo:
            small = photo.convert("RGB")
        small.thumbnail((500, 500))
        for i in range(count):
            small.save(folder / "in" / group / f"{i}.jpg", quality=95 - i)
    for name in NO_PHOTO:
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        (folder / "in" / name).write_bytes(b"no photo")
    cut = (folder / "in" / "obama" / "0.jpg").read_bytes()
    (folder / "in" / "cut short.jpg").write_bytes(cut[: len(cut) // 2])
    settings = Settings(
        inputs=(f"{folder}/in",), output=f"{folder}/out", group_by="parent", max_failed=1.0, detector="hog"
    )
    run(settings, spark)
    outliers(settings.output, spark=spark)
    return Reported(settings.output, folder / "in")
