"""One row per photo, and a large photo's row is nearly that of the whole photo."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark_job import Settings
from spark_job.faces.engine import load, model_names
from spark_job.faces.models import digests
from spark_job.row import SCHEMA
from spark_job.settings import settings_id
from spark_job.table.encode import encode_photos

BASE = {"inputs": ("none",), "output": "none"}


def rows_of(contents, **options):
    settings = Settings(**BASE, **options)
    photos = [
        {"path": str(i), "length": len(content or b""), "modified_us": i, "group": None, "content": content}
        for i, content in enumerate(contents)
    ]
    return encode_photos(photos, settings, load(settings)), settings


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


@pytest.fixture(scope="module")
def large(sample: Path) -> bytes:
    """A photo of 12 megapixels: a person, of whom the face is some 400 px, in a wide room."""
    with Image.open(sample / "obama.jpg") as photo:
        person = photo.convert("RGB").resize((1600, 2000), Image.Resampling.LANCZOS)
    room = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
    room.paste(person, (1300, 900))
    return jpeg(room)


def test_a_row_has_the_columns_of_the_photos_table(sample):
    content = (sample / "obama.jpg").read_bytes()
    [row], settings = rows_of([content], detector="hog")
    columns = [part.split()[0].strip("`") for part in SCHEMA.split("faces array")[0].split(",") if part.strip()]
    expected = {*columns, "faces", "decode_ms", "detect_ms", "embed_ms", "settings_id", "processor", "modified_us"}
    assert set(row) == expected - {"modificationTime"}
    assert row["settings_id"] == settings_id(settings, digests(model_names(settings)))
    assert min(row["decode_ms"], row["detect_ms"], row["embed_ms"]) > 0
    [face] = row["faces"]
    assert face["detector"] == "hog"
    assert len(face["landmarks"]) == 5
    assert len(face["embedding"]) == 128


@pytest.mark.slow
def test_both_engines_give_the_same_faces_and_embeddings_to_1e_5(sample):
    contents = [path.read_bytes() for path in sorted(sample.glob("*.jpg"))]
    exact = {"detector": "hog", "upsample": 1, "face": "all"}
    ours, _ = rows_of(contents, engine="onnx", **exact)
    library, _ = rows_of(contents, engine="face_recognition", **exact)
    assert sum(len(row["faces"]) for row in ours) >= 5
    for a, b in zip(ours, library, strict=True):
        assert [(f["top"], f["left"], f["landmarks"]) for f in a["faces"]] == [
            (f["top"], f["left"], f["landmarks"]) for f in b["faces"]
        ]
        for face, reference in zip(a["faces"], b["faces"], strict=True):
            np.testing.assert_allclose(face["embedding"], reference["embedding"], rtol=0, atol=1e-5)


def test_the_sixty_eight_landmarks_are_there_where_asked(sample):
    [row], _ = rows_of([(sample / "obama.jpg").read_bytes()], detector="hog", landmarks="large")
    assert len(row["faces"][0]["landmarks"]) == 68


def test_a_row_does_not_depend_on_the_photos_beside_it(sample):
    contents = [path.read_bytes() for path in sorted(sample.glob("obama*.jpg"))]
    together, _ = rows_of(contents)
    for i, content in enumerate(contents):
        [alone], _ = rows_of([content])
        assert alone["faces"] == together[i]["faces"]


def test_what_cannot_be_decoded_has_a_status_and_the_others_their_faces(sample):
    whole = (sample / "obama.jpg").read_bytes()
    rows, _ = rows_of([b"", whole, b"no photo", None, whole[:5000]], detector="hog")
    assert [row["status"] for row in rows] == ["empty", "ok", "unsupported", "too_large", "truncated"]
    assert [row["message"] is None for row in rows] == [False, True, False, False, False]


def test_a_photo_that_changed_since_it_was_listed_is_not_encoded(sample):
    settings = Settings(**BASE, detector="hog")
    photo = {"path": "a", "length": 5, "modified_us": 0, "group": None, "content": b"other bytes"}
    [row] = encode_photos([photo], settings, load(settings))
    assert row["status"] == "unreadable"
    assert row["message"] == "it was 5 bytes when listed and 11 when read"


@pytest.mark.slow
def test_a_large_photo_has_the_face_and_nearly_the_embedding_of_the_whole(large):
    [fast], _ = rows_of([large])
    [whole], _ = rows_of([large], detect_size=0)
    assert (fast["width"], fast["height"]) == (whole["width"], whole["height"]) == (4000, 3000)
    [a], [b] = fast["faces"], whole["faces"]
    side = b["bottom"] - b["top"]
    assert all(abs(a[edge] - b[edge]) < 0.15 * side for edge in ("top", "right", "bottom", "left"))
    points, expected = ([(point["x"], point["y"]) for point in face["landmarks"]] for face in (a, b))
    assert np.abs(np.subtract(points, expected)).max() < 0.1 * side
    assert np.linalg.norm(np.subtract(a["embedding"], b["embedding"])) < 0.15


def test_a_small_face_in_a_large_photo_is_found_and_cut_from_all_its_pixels(sample):
    with Image.open(sample / "obama.jpg") as photo:
        person = photo.convert("RGB")
    person.thumbnail((500, 500))
    room = Image.new("RGB", (4000, 3000), (90, 110, 100))
    room.paste(person, (2000, 1200))
    [row], _ = rows_of([jpeg(room)])
    assert row["status"] == "ok"
    [alone], _ = rows_of([jpeg(person)], detect_size=0)
    difference = np.subtract(row["faces"][0]["embedding"], alone["faces"][0]["embedding"])
    assert np.linalg.norm(difference) < 0.2
