import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import dlib
import numpy as np
import pytest
from conftest import ROOT
from numpy.typing import NDArray

from spark_job.errors import ModelError, PreflightError
from spark_job.faces import models, processor, reference, runtimes
from spark_job.faces.embed import Embedder, dlib_embedder, jittered, network_embedder
from spark_job.faces.models import model_path
from spark_job.faces.reference import reference_chips, reference_embeddings
from spark_job.faces.runtimes import RUNTIMES, check_installed


@pytest.fixture(scope="module")
def onnx() -> Embedder:
    return network_embedder()


@pytest.fixture(scope="module")
def chips(faces: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Chips of real faces, and the synthetic ones."""
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(model_path("small")))
    cut = [
        dlib.get_face_chip(photo, predictor(photo, box), size=150, padding=0.25)
        for photo in faces
        for box in detector(photo, 1)
    ]
    assert cut
    return np.concatenate([np.stack(cut), reference_chips()])


def test_embeddings_are_those_of_dlib(onnx: Embedder, chips: NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(onnx(chips), dlib_embedder()(chips), rtol=0, atol=2e-6)


@pytest.mark.slow
def test_2000_faces_have_the_embeddings_of_dlib_to_1e_5(onnx: Embedder, chips: NDArray[np.uint8]) -> None:
    real = chips[: -len(reference_chips())]
    faces = np.concatenate([jittered(chip, -(-2000 // len(real))) for chip in real])[:2000]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        dlibs = np.concatenate(list(processes.map(_by_dlib, np.split(faces, 8))))
    assert np.abs(onnx(faces) - dlibs).max() < 1e-5


def _by_dlib(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
    return dlib_embedder()(chips)


def test_stored_reference_values_are_those_of_dlib() -> None:
    ours = dlib_embedder()(reference_chips())
    np.testing.assert_allclose(reference_embeddings(), ours, rtol=0, atol=2e-6)


def test_reference_chips_are_far_apart() -> None:
    vectors = reference_embeddings()
    for index, vector in enumerate(vectors):
        others = np.delete(vectors, index, axis=0)
        assert np.linalg.norm(others - vector, axis=1).min() > 0.1


def test_an_embedding_has_the_same_bits_in_a_batch_of_any_size(onnx: Embedder) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (64, 150, 150, 3), dtype=np.uint8)
    whole = onnx(noise)
    for size in (*range(1, 18), 31, 32, 33, 47, 48, 63):
        assert np.array_equal(onnx(noise[:size]), whole[:size]), size
    assert np.array_equal(onnx(noise[40:41]), whole[40:41])


def test_an_embedding_does_not_depend_on_the_chips_beside_it(onnx: Embedder) -> None:
    chips = reference_chips()
    assert np.array_equal(onnx(chips[::-1]), onnx(chips)[::-1])


def test_no_chips_give_no_embeddings(onnx: Embedder) -> None:
    empty = np.empty((0, 150, 150, 3), dtype=np.uint8)
    for embedder in (onnx, network_embedder(jitters=2), dlib_embedder()):
        vectors = embedder(empty)
        assert vectors.shape == (0, 128)
        assert vectors.dtype == np.float32


def test_an_engine_that_differs_from_dlib_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    off = reference_embeddings()
    off[2, 7] += 2e-5
    monkeypatch.setattr(reference, "reference_embeddings", lambda: off)
    with pytest.raises(ModelError, match=r"differ from dlib's by 2\.0e-05"):
        network_embedder()


def test_an_engine_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(ModelError, match="nan"):
        reference.check(np.full((4, 128), np.nan, dtype=np.float32), "a broken engine", 1e-5)


def test_weights_without_reference_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "model_digest", lambda name: "0" * 64)
    with pytest.raises(ModelError, match="no reference values"):
        reference_embeddings()


def test_jittered_copies_are_those_that_dlib_makes_to_the_bit() -> None:
    # dlib.jitter_image draws from a generator that lasts as long as the process: here, a new one.
    code = (
        "import dlib, numpy as np; from spark_job.faces.embed import jittered; "
        "from spark_job.faces.reference import reference_chips; chip = reference_chips()[0]; "
        "assert np.array_equal(jittered(chip, 40), np.stack(dlib.jitter_image(chip, 40)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_jittered_embeddings_are_those_of_dlib() -> None:
    chips = reference_chips()[:2]
    np.testing.assert_allclose(network_embedder(jitters=5)(chips), dlib_embedder(jitters=5)(chips), rtol=0, atol=2e-6)


def test_fewer_jitters_are_the_first_of_more() -> None:
    chip = reference_chips()[1]
    assert np.array_equal(jittered(chip, 3), jittered(chip, 8)[:3])


def test_the_session_uses_one_thread() -> None:
    options = models.session("resnet").get_session_options()
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


BFLOAT16_HERE = bool(processor.flags() & set(processor.BFLOAT16))


@pytest.mark.skipif(not BFLOAT16_HERE, reason="this processor has neither AMX nor AVX512_BF16")
def test_openvino_gives_dlibs_values_to_its_stated_tolerance_in_a_batch_of_any_size(faces) -> None:
    chips = np.stack([photo[:150, :150] for photo in faces] * 4)
    ours, exact = network_embedder("openvino"), network_embedder("onnx")
    assert np.abs(ours(chips) - exact(chips)).max() <= RUNTIMES["openvino"].tolerance
    assert (ours(chips)[:1] == ours(chips[:1])).all()


def test_openvino_keeps_no_identifier_of_the_machine_and_starts_no_process_to_send_it(tmp_path) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "FACEMEAN_CACHE")}  # in a CI, it would send nothing
    code = (
        "import os; os.register_at_fork(before=lambda: print('forks'))\n"
        "from spark_job.faces.runtimes import openvino\n"
        "try: openvino(0)\n"
        "except Exception as error: assert 'neither AMX nor' in str(error), error  # what it refuses, it has imported\n"
        "import openvino"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_openvino_is_refused_where_it_would_not_be_bfloat16(monkeypatch) -> None:
    monkeypatch.setattr(runtimes, "flags", lambda: frozenset({"avx512f"}))
    with pytest.raises(ModelError, match="neither AMX nor AVX512_BF16: use --engine onnx"):
        network_embedder("openvino")


@pytest.mark.parametrize(("engine", "remedy"), [("openvino", "facemean[openvino]"), ("cuda", "facemean[cuda]")])
def test_an_engine_that_is_not_installed_is_named_with_its_remedy(engine, remedy, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PreflightError, match=re.escape(remedy)):
        check_installed(engine)
