"""What the tests share: one Spark session a process, and the real photos of the sample."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from helpers import ROOT, SPARK, alone, made_once, wait_for
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from spark_job import Result, Settings, run
from spark_job.cache import folders
from spark_job.spark.classes import sharing
from spark_job.spark.java import java_program
from spark_job.spark.session import spark_session

# A law has no deadline: how long an example takes is the machine's affair.
hypothesis.settings.register_profile("facemean", deadline=None)
hypothesis.settings.load_profile("facemean")

pytest_plugins = ("results.report.reported", "s3_server")

# Listed with the detector that costs least: what a test is about is rarely the detector.
FAST = {"detector": "hog", "max_failed": 1.0}
# Jitters, so that a run on a cluster takes some seconds without many photos.
SLOWLY = {"detector": "hog", "jitters": 10}
COPIES = 5
# A session of hundreds of runs keeps the code that Spark and Java make for them, by default that of a few, and a heap.
KEPT = (
    "spark.sql.codegen.cache.maxEntries=5000",
    "spark.driver.defaultJavaOptions=-XX:ReservedCodeCacheSize=240m -Xms512m",
)
LONGEST = (
    "test_chaos",
    "test_pipeline",
    "test_s3",
    "test_compact",
    "test_isolate",
    "test_embed",
    "test_storage",
    "test_submit_standalone",
    "test_job",
    "test_s3_addresses",
    "test_compare",
    "test_archives",
    "test_pictures",
    "test_page",
    "test_notebook",
    "test_malformed",
    "test_bombs",
    "test_main",
    "test_inputs",
    "test_cluster",
    "test_deploy",
    "test_standing",
    "test_show",
    "test_submit_k8s",
    "test_names",
    "test_image",
)
# What takes some seconds to make: a test that asks for one of these is slow.
COSTLY = {"numbers", "odd", "made", "outputs", "judged", "watched", "of_files", "halves", "others", "kept"}


def options(chosen: dict[str, object]) -> list[str]:
    """The words of the command line that choose these settings."""
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


@pytest.hookimpl(tryfirst=True)  # before what -m leaves out is left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that processes that share the tests by file end together."""
    for item in items:
        if COSTLY & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    first = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many tests were skipped, and the command that would mend it."""
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    commands = sorted({found[1] for reason in reasons if (found := re.search(r": run (scripts/.+)", reason))})
    if reasons:
        remedy = f"to run them too: {' && '.join(commands)}" if commands else "their reasons are above"
        terminalreporter.write_line(f"{len(reasons)} of the tests were skipped; {remedy}")


@pytest.fixture(scope="session")
def spark(_cache: None) -> Iterator[SparkSession]:
    """One session for all tests of a process, with several Python workers."""
    conf = ("spark.ui.port=0", *KEPT)
    session = spark_session(Settings(inputs=("none",), output="none", master="local[2,4]", conf=conf))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of scripts/run: 7 real photos, and variants of them."""
    folder = ROOT / "sample"
    with alone(tmp_path_factory, "sample"):
        subprocess.run([sys.executable, ROOT / "scripts" / "src" / "setup" / "sample.py", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def face_photos(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 6 small photos of two people, one face each, in a folder a person."""
    folder = tmp_path_factory.mktemp("faces")
    for name in ("obama", "obama2", "obama3", "biden"):
        person = folder / name.rstrip("23")
        person.mkdir(exist_ok=True)
        with Image.open(sample / f"{name}.jpg") as photo:
            small = photo.convert("RGB")
            small.thumbnail((640, 640))
            small.save(person / f"{name}.jpg", quality=95)
            if name in ("obama", "biden"):
                small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(person / f"_{name}_mirrored.PNG")
    return folder


@pytest.fixture(scope="session")
def many(face_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of face_photos, in folders of their own."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(COPIES):
        shutil.copytree(face_photos, folder / str(i))
    return folder


@pytest.fixture(scope="session")
def mean_of_many(spark: SparkSession, many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What mean.json says of them in local mode, where a cluster runs SLOWLY."""

    def make(output: Path) -> None:
        run(Settings(inputs=(str(many),), output=str(output), **SLOWLY), spark)  # type: ignore[arg-type]

    document: dict[str, Any] = json.loads((made_once(tmp_path_factory, "local", make) / "mean.json").read_text())
    return document


@pytest.fixture(scope="session")
def faces(sample: Path) -> list[NDArray[np.uint8]]:
    """Real photos of faces, as small as tests want them: uint8 (rows, columns, 3) RGB."""
    photos = []
    for path in sorted(sample.glob("*.jpg")):
        with Image.open(path) as file:
            image = file.convert("RGB")
        image.thumbnail((640, 640))
        photos.append(np.array(image))
    return photos


@pytest.fixture(autouse=True, scope="session")
def _cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models made by this run, and not those of the user; Java's classes may be the user's."""
    with alone(tmp_path_factory, "cache") as shared:
        models = shared / "cache"
        models.mkdir(exist_ok=True)
        for archive in next(folders()).glob("java-*.jsa"):
            with suppress(FileExistsError):  # of the other process
                (models / archive.name).symlink_to(archive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEMEAN_CACHE", str(models))
        is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
        if is_first and any(item.get_closest_marker("slow") for item in request.session.items):
            keep_classes(request.getfixturevalue("face_photos"), shared / "classes")
        yield


def keep_classes(photos: Path, output: Path) -> None:
    """Have Java write its classes, where the user has none: else each command does, and takes three times as long."""
    java = java_program()
    if java is None or sharing(java, SPARK / "jars", records=False).options:
        return
    command = [sys.executable, "-m", "spark_job", "run", str(photos), "--output", str(output), "--group-by=parent"]
    subprocess.run([*command, "--detector=hog", "--conf=spark.ui.port=0", "--quiet"], cwd=ROOT, check=True)
    with suppress(AssertionError):  # it only saves time
        wait_for(lambda: sharing(java, SPARK / "jars", records=False).options, "Java has written its classes", 60)


@pytest.fixture(scope="session")
def undisturbed(spark: SparkSession, face_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What a run over face_photos comes to. Its output is for reading only."""
    output = tmp_path_factory.mktemp("undisturbed")
    return run(Settings(inputs=(str(face_photos),), output=str(output), **FAST), spark)  # type: ignore[arg-type]


@pytest.fixture
def done(undisturbed: Result, settings: Callable[..., Settings], face_photos: Path) -> Settings:
    """Settings of a run over face_photos that has been: its output is there, and the test's own."""
    chosen = settings(face_photos)
    shutil.copytree(undisturbed.output.removeprefix("file:"), chosen.output)
    return chosen


@pytest.fixture
def photos(face_photos: Path, tmp_path: Path) -> Path:
    """A copy of face_photos that a test may change."""
    return Path(shutil.copytree(face_photos, tmp_path / "photos"))


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a run into a folder of the test's own."""

    def make(*inputs: object, **options: object) -> Settings:
        chosen = {"output": str(tmp_path / "out"), **FAST, **options}
        return Settings(inputs=tuple(map(str, inputs)), **chosen)  # type: ignore[arg-type]

    return make
