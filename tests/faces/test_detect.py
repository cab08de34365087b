"""Boxes: which detector's they are, which of them count, and where they lie in the photo."""

import dlib
import numpy as np
import pytest

from spark_job.faces.detect import Box, Detection, bounded, chain, hog, select

SMALL, LARGE, WIDE = (Detection(Box(*sides), "hog", 1.0) for sides in ((0, 9, 9, 0), (10, 60, 60, 10), (0, 70, 20, 20)))
IMAGE = np.zeros((400, 800, 3), np.uint8)


@pytest.mark.parametrize(
    ("face", "expected"), [("largest", [LARGE]), ("first", [SMALL]), ("all", [SMALL, LARGE, WIDE]), ("only", [])]
)
def test_the_faces_that_count_are_those_asked_for(face, expected):
    assert select([SMALL, LARGE, WIDE], face) == expected
    assert select([LARGE], face) == [LARGE]
    assert select([], face) == []


def test_of_equally_large_faces_the_first_counts():
    twin = LARGE._replace(score=0.1)
    assert select([LARGE, twin], "largest") == [LARGE]


def test_each_detector_passes_on_what_it_found_nothing_in():
    asked = []

    def finds(name, faces):
        return lambda image: asked.append(name) or faces

    assert chain([finds("a", []), finds("b", [LARGE]), finds("c", [SMALL])])(IMAGE) == [LARGE]
    assert asked == ["a", "b"]
    assert chain([finds("a", [])])(IMAGE) == []


def test_a_large_image_is_looked_at_small_and_its_boxes_are_those_of_the_large_one():
    seen = []

    def detector(image):
        seen.append(image.shape)
        return [LARGE]

    assert bounded(detector, 200)(IMAGE) == [LARGE._replace(box=Box(40, 240, 240, 40))]
    assert bounded(detector, 800)(IMAGE) == [LARGE]
    assert seen == [(100, 200, 3), (400, 800, 3)]


def test_an_image_in_which_nothing_is_found_is_looked_at_larger():
    seen = []

    def detector(image):
        seen.append(image.shape[1])
        return [SMALL] if image.shape[1] > 500 else []

    assert bounded(detector, 200)(IMAGE) == [SMALL]
    assert seen == [200, 800]


def test_hog_finds_what_dlib_finds_in_the_same_order(faces):
    library = dlib.get_frontal_face_detector()
    for image in faces:
        ours = [found.box for found in hog(library, 1)(image)]
        assert ours == [Box(r.top(), r.right(), r.bottom(), r.left()) for r in library(image, 1)]
