"""Boxes: which detector's they are, which of them count, and where they lie in the photo."""

import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.faces.detect import Box, Detection, bounded, chain, detector, dlib_hog, select

# In an image of 100 rows and 120 columns: at its corner, in the middle of its lower half, near its centre.
LARGE, WIDE, SMALL = (
    Detection(Box(*sides), "hog", 1.0) for sides in ((0, 50, 50, 0), (50, 85, 95, 40), (45, 66, 54, 57))
)
IMAGE = np.zeros((400, 800, 3), np.uint8)


@pytest.mark.parametrize(
    ("face", "expected"),
    [
        ("prominent", [WIDE]),
        ("largest", [LARGE]),
        ("central", [SMALL]),
        ("first", [LARGE]),
        ("all", [LARGE, WIDE, SMALL]),
        ("only", []),
    ],
)
def test_the_faces_that_count_are_those_asked_for(face, expected):
    assert select([LARGE, WIDE, SMALL], face, 100, 120) == expected
    assert select([LARGE], face, 100, 120) == [LARGE]
    assert select([], face, 100, 120) == []


@pytest.mark.parametrize("face", ["prominent", "largest", "central"])
def test_of_equal_faces_the_first_counts(face):
    twin = LARGE._replace(score=0.1)
    assert select([LARGE, twin], face, 100, 120) == [LARGE]


@given(
    boxes=st.lists(st.tuples(*[st.integers(-50, 500)] * 2, *[st.integers(1, 300)] * 2), min_size=1, max_size=9),
    rows=st.integers(1, 600),
    columns=st.integers(1, 600),
)
def test_the_prominent_face_has_the_largest_area_less_twice_its_squared_distance_from_the_centre(boxes, rows, columns):
    found = [Detection(Box(top, left + width, top + height, left), "hog", 1.0) for top, left, height, width in boxes]

    def rank(box):
        down, along = (box.top + box.bottom) / 2 - rows / 2, (box.left + box.right) / 2 - columns / 2
        return (box.bottom - box.top) * (box.right - box.left) - 2 * (down**2 + along**2)

    [chosen] = select(found, "prominent", rows, columns)
    assert rank(chosen.box) == max(rank(face.box) for face in found)


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

    assert bounded(detector, 200)(IMAGE) == [LARGE._replace(box=LARGE.box.scaled(4))]
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
        ours = [found.box for found in detector("hog", dlib_hog(library), 1)(image)]
        assert ours == [Box(r.top(), r.right(), r.bottom(), r.left()) for r in library(image, 1)]
