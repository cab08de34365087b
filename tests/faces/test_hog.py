"""HOG in compiled code: what dlib finds, on every image, and code that is made once."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dlib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import spark_job.cache
from spark_job.errors import ModelError
from spark_job.faces import engine, hog, hog_code, reference
from spark_job.faces.detect import Box, Finder, dlib_hog
from spark_job.faces.hog import compiled_hog
from spark_job.faces.hog_plan import plan
from spark_job.faces.hog_weights import read_weights, separable
from spark_job.settings import Settings

Image = NDArray[np.uint8]
DLIBS = dlib_hog(dlib.get_frontal_face_detector())


@pytest.fixture(scope="module")
def find() -> Finder:
    return compiled_hog()


def _same(find: Finder, image: Image, upsample: int) -> list[tuple[Box, float]]:
    image = np.ascontiguousarray(image)  # which dlib takes any to be
    ours, dlibs = find(image, upsample), DLIBS(image, upsample)
    assert [box for box, _ in ours] == [box for box, _ in dlibs]
    np.testing.assert_allclose([score for _, score in ours], [score for _, score in dlibs], rtol=0, atol=1e-5)
    return list(ours)


@pytest.mark.parametrize("upsample", [0, 1, 2])
def test_faces_order_and_scores_are_those_of_dlib(find: Finder, faces: list[Image], upsample: int) -> None:
    assert any(_same(find, photo[: 400 // (upsample + 1)], upsample) for photo in faces)


def test_many_faces_come_in_the_order_of_dlib(find: Finder, faces: list[Image]) -> None:
    size = min(min(photo.shape[:2]) for photo in faces)
    rows = [np.concatenate([photo[:size, :size] for photo in faces], axis=1)] * 2
    assert len(_same(find, np.concatenate(rows, axis=0)[:, 3:], 0)) > len(faces)


def test_wide_photos_are_done_in_parts_that_fit_together(find: Finder, faces: list[Image]) -> None:
    wide = np.concatenate([photo[40:300, :200] for photo in faces] * 4, axis=1)
    assert wide.shape[1] > 4 * 1024
    assert _same(find, wide, 0)
    assert _same(find, wide.swapaxes(0, 1)[-800:], 1) is not None


VALUES: dict[str, Callable[[np.random.Generator, tuple[int, int, int]], Image]] = {
    "random": lambda generator, shape: generator.integers(0, 256, shape, dtype=np.uint8),
    "constant": lambda generator, shape: np.full(shape, generator.integers(0, 256), dtype=np.uint8),
    "saturated": lambda generator, shape: generator.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255),
    "gray": lambda generator, shape: np.repeat(generator.integers(0, 256, (*shape[:2], 1), dtype=np.uint8), 3, axis=2),
    "ramp": lambda generator, shape: (
        np.add.outer(np.arange(shape[0]), 3 * np.arange(shape[1]))[..., None] * [1, 2, 3]
    ).astype(np.uint8),
}


@given(
    rows=st.one_of(st.integers(1, 30), st.integers(60, 100), st.integers(1, 260)),
    columns=st.one_of(st.integers(1, 30), st.integers(60, 100), st.integers(1, 260)),
    upsample=st.integers(0, 1),
    values=st.sampled_from(sorted(VALUES)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_image_gives_what_it_gives_in_dlib(find, rows, columns, upsample, values, seed) -> None:
    image = VALUES[values](np.random.default_rng(seed), (rows, columns, 3))
    _same(find, image, upsample)


@given(
    place=st.tuples(*[st.floats(0, 0.5)] * 2),
    rows=st.integers(60, 330),
    columns=st.integers(60, 400),
    upsample=st.integers(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_any_part_of_a_photo_gives_what_it_gives_in_dlib(find, place, rows, columns, upsample) -> None:
    photo = reference.reference_photo()
    top, left = (int(share * side) for share, side in zip(place, photo.shape, strict=False))
    _same(find, np.ascontiguousarray(photo[top : top + rows, left : left + columns]), upsample)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 80), (80, 1), (2, 2), (23, 24), (79, 81), (80, 80), (81, 79), (10_000, 80), (80, 10_000)]
)
@pytest.mark.parametrize("upsample", [0, 1])
def test_hostile_sizes_give_what_they_give_in_dlib(find: Finder, shape: tuple[int, int], upsample: int) -> None:
    for make in VALUES.values():
        _same(find, make(np.random.default_rng(1), (*shape, 3)), upsample)


def test_more_windows_than_there_is_room_for_are_all_noted(find: Finder, faces: list[Image], monkeypatch) -> None:
    whole = find(faces[0], 1)
    monkeypatch.setattr(hog, "NOTED", 3)
    assert find(faces[0], 1) == whole


def test_what_is_no_rgb_image_is_refused_before_it_is_read(find: Finder) -> None:
    for image in (
        np.zeros((90, 90), np.uint8),
        np.zeros((90, 90, 4), np.uint8),
        np.zeros((90, 90, 3)),
        np.zeros((0, 90, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="no RGB image"):
            find(image, 0)


def test_a_photo_that_is_not_contiguous_gives_the_same(find: Finder, faces: list[Image]) -> None:
    mirrored = faces[0][:, ::-1]
    assert find(mirrored, 0) == find(np.ascontiguousarray(mirrored), 0) != []


def test_threads_may_share_a_detector(find: Finder, faces: list[Image]) -> None:
    alone = [find(photo, 0) for photo in faces]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda photo: find(photo, 0), faces * 4)) == alone * 4


def test_filters_add_up_to_the_weights() -> None:
    weights = read_weights(dlib.get_frontal_face_detector()).weights
    filters = separable(weights)
    assert np.bincount(filters.places[:, 1]).tolist() == [61, 58, 54, 66, 66]
    sums = np.zeros_like(weights)
    for (plane, detector), (row, column) in zip(filters.places, filters.taps, strict=True):
        sums[detector, plane] += np.outer(column, row)
    assert np.abs(sums - weights).max() < 2e-3


STATE = dlib.get_frontal_face_detector().__getstate__()[0]


@given(st.integers(0, len(STATE) - 1))
@settings(max_examples=30, deadline=None)
def test_a_detector_of_another_form_is_a_model_error(length: int) -> None:
    for data in (STATE[:length], STATE.replace(b"\x01\x50", b"\x01\x51", 1)):
        with pytest.raises(ModelError, match="another form"):
            read_weights(SimpleNamespace(__getstate__=lambda data=data: (data,)))
    with pytest.raises(ModelError, match="another form"):
        read_weights(object())


def test_plans_are_few_and_small() -> None:
    for rows in range(300, 700):
        plan(rows, 500, 1, 5)
    assert plan.cache_info().currsize <= 256


def test_stored_reference_values_are_those_of_dlib_and_of_all_its_detectors() -> None:
    photo = reference.reference_photo()
    assert sorted(dlib.get_frontal_face_detector().run(photo, 0, 0.0)[2]) == [0, 1, 2, 3, 4]
    digest = read_weights(dlib.get_frontal_face_detector()).digest
    reference.check_hog(DLIBS, digest)
    with pytest.raises(ModelError, match="no reference values"):
        reference.check_hog(DLIBS, "0" * 64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda faces: faces[::-1], "other faces"),
        (lambda faces: faces[1:], "other faces"),
        (lambda faces: [(box, score + 1e-3) for box, score in faces], "other scores"),
        (lambda faces: [(box, float("nan")) for box, score in faces], "other scores"),
    ],
)
def test_code_that_finds_other_faces_than_dlib_is_refused(changed, message) -> None:
    digest = read_weights(dlib.get_frontal_face_detector()).digest
    with pytest.raises(ModelError, match=message):
        reference.check_hog(lambda image, upsample: changed(DLIBS(image, upsample)), digest)


@pytest.fixture
def cache(find: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, which holds the code of the session's."""
    code, folder = hog_code.load() and next(spark_job.cache.kept(hog_code._stem(), ".o")), tmp_path / "cache"
    folder.mkdir(mode=0o755)
    shutil.copy(code, folder)
    monkeypatch.setenv("FACEMEAN_CACHE", str(folder))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    return folder


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")


@pytest.mark.usefixtures("_no_compiler")
def test_a_cache_that_holds_the_code_is_only_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_job.cache, "keep", None)  # modes do not bind root, under whom tests may run
    assert hog_code.load()


@pytest.mark.usefixtures("_no_compiler")
@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_code_that_others_could_have_written_is_not_run(cache: Path, mode: int) -> None:
    cache.chmod(mode)
    with pytest.raises(ModelError, match="could not be compiled: exit code 1"):
        hog_code.load()
    cache.chmod(0o755)
    (code,) = cache.glob("*.o")
    code.chmod(mode)
    with pytest.raises(ModelError, match="could not be compiled"):
        hog_code.load()


@pytest.mark.usefixtures("_no_compiler")
def test_damaged_code_is_not_run(cache: Path) -> None:
    (code,) = cache.glob("*.o")
    code.write_bytes(code.read_bytes()[:-1])
    with pytest.raises(ModelError, match="could not be compiled"):
        hog_code.load()


@pytest.mark.slow
def test_of_processes_that_want_the_code_at_once_one_compiles_it(tmp_path: Path) -> None:
    environment = {**os.environ, "FACEMEAN_CACHE": str(tmp_path)}
    command = [sys.executable, "-X", "importtime", "-c", "from spark_job.faces.hog import compiled_hog; compiled_hog()"]
    tmp_path.chmod(0o700)
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert not any("numba" in text for text in said)  # a worker imports none
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".o"]


def _none_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(
    ("where", "name", "value", "why"),
    [
        (importlib.metadata, "version", _none_installed, "numba is not installed"),
        (hog_code, "flags", lambda: frozenset({"avx"}), "no x86-64-v3"),
        (hog_code, "SOURCES", ("hog_plan.py",), "could not be compiled"),
    ],
)
@pytest.mark.usefixtures("_no_compiler", "cache")
def test_where_there_is_no_code_dlib_finds_the_faces_and_a_line_says_so(
    faces, where, name, value, why, monkeypatch
) -> None:
    for cached in (hog_code._stem, compiled_hog):
        cached.cache_clear()
    chosen = Settings(inputs=("any",), output="any", detector="hog")
    assert engine.why_slow(chosen) is None
    for cached in (hog_code._stem, compiled_hog):
        cached.cache_clear()
    monkeypatch.setattr(where, name, value)
    assert why in str(engine.why_slow(chosen))
    find = engine._hog()
    assert find(faces[0], 0) == DLIBS(faces[0], 0)


@pytest.mark.parametrize("chosen", [{"engine": "face_recognition"}, {"detector": "cnn"}])
@pytest.mark.usefixtures("_no_compiler")
def test_what_needs_no_code_makes_none(chosen, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path))
    assert engine.why_slow(Settings(inputs=("any",), output="any", **chosen)) is None
    assert not list(tmp_path.iterdir())
