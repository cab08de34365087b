from itertools import pairwise

import dlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spark_job.faces import mmod
from spark_job.faces.detect import Box, Finder
from spark_job.faces.mmod import onnx_cnn_detector
from spark_job.faces.models import model_path
from spark_job.faces.pyramid import MARGIN, layout, pyramid, upsampled

Faces = list[tuple[Box, float]]


@pytest.fixture(scope="module")
def detect() -> Finder:
    return onnx_cnn_detector()


def _dlibs(image: NDArray[np.uint8], upsample: int) -> Faces:
    found = dlib.cnn_face_detection_model_v1(str(model_path("cnn")))(image, upsample)
    sides = [(f.rect.top(), f.rect.right(), f.rect.bottom(), f.rect.left()) for f in found]
    return [(box, face.confidence) for box, face in zip(sides, found, strict=True)]


def _assert_same(ours: Faces, dlibs: Faces) -> None:
    assert [box for box, _ in ours] == [box for box, _ in dlibs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in dlibs], atol=1e-4)


@pytest.fixture(scope="module")
def portraits(faces: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The upper parts of the photos, with the faces."""
    return [np.ascontiguousarray(photo[:300]) for photo in faces]


@pytest.fixture(scope="module")
def crowd(portraits: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Photos side by side."""
    return np.concatenate(portraits[:3], axis=1)


def test_faces_boxes_and_scores_are_those_of_dlib(detect: Finder, portraits: list[NDArray[np.uint8]]) -> None:
    for portrait in portraits[:3]:
        ours = detect(portrait, 0)
        assert ours
        _assert_same(ours, _dlibs(portrait, 0))


def test_an_upsampled_image_gives_the_boxes_of_dlib(detect: Finder, portraits: list[NDArray[np.uint8]]) -> None:
    small = np.ascontiguousarray(portraits[0][::2, ::2])
    assert detect(small, 1)
    _assert_same(detect(small, 1), _dlibs(small, 1))


def test_several_faces_come_in_the_order_of_dlib(detect: Finder, crowd: NDArray[np.uint8]) -> None:
    ours = detect(crowd, 0)
    assert len(ours) > 1
    assert all(a >= b for (_, a), (_, b) in pairwise(ours))
    _assert_same(ours, _dlibs(crowd, 0))


def test_strips_give_the_same_bits_as_one_pass(
    detect: Finder, crowd: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detect(crowd, 1)
    monkeypatch.setattr(mmod, "STRIP_PIXELS", 1)
    assert detect(crowd, 1) == whole


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (1, 100), (100, 1), (3, 400), (40, 40)])
def test_an_image_too_small_for_a_face_has_none(detect: Finder, shape: tuple[int, int]) -> None:
    assert detect(np.full((*shape, 3), 127, dtype=np.uint8), 0) == []


@given(st.integers(1, 3000), st.integers(1, 3000))
@settings(max_examples=200, deadline=None)
def test_levels_lie_apart_and_within_the_pyramid(rows: int, columns: int) -> None:
    tiles, height, width = layout(rows, columns)
    assert (tiles[0].rows, tiles[0].columns) == (rows, columns)
    for tile in tiles:
        assert MARGIN <= tile.top <= tile.top + tile.rows <= height - MARGIN
        assert MARGIN <= tile.left <= tile.left + tile.columns <= width - MARGIN
    for index, one in enumerate(tiles):
        for other in tiles[:index]:
            apart_rows = one.top + one.rows <= other.top or other.top + other.rows <= one.top
            apart = one.left + one.columns <= other.left or other.left + other.columns <= one.left
            assert apart_rows or apart


def test_pyramid_holds_the_image_and_zeros_around_it(faces: list[NDArray[np.uint8]]) -> None:
    tiled, tiles = pyramid(faces[0])
    top, left, rows, columns = tiles[0]
    level = tiled[0, :, top : top + rows, left : left + columns].transpose(1, 2, 0)
    np.testing.assert_allclose(level * 256 + (122.782, 117.001, 104.298), faces[0], atol=1e-3)
    assert not tiled[:, :, :MARGIN].any()
    assert not tiled[:, :, :, :MARGIN].any()


def test_upsampling_doubles_an_image(faces: list[NDArray[np.uint8]]) -> None:
    rows, columns, _ = faces[0].shape
    assert upsampled(faces[0]).shape == (2 * rows + 1, 2 * columns + 2, 3)
