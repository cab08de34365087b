"""facemean compare: what chance alone does is told from what it does not, and what has changed is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import FAST

from spark_job import Settings, run
from spark_job.__main__ import main
from spark_job.errors import OutputError, SettingsError
from spark_job.results.compare import compare
from spark_job.results.drift import Groups, moves, over_faces, over_groups
from spark_job.results.moments import DIMENSIONS

ROUNDS = 200
NAME = "<img src=x onerror=alert(1)>\n.jpg"


def photos_of(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of n people, of 1 to 6 photos each but for the first, who has 60; and who is on each."""
    draw = np.random.default_rng(seed)
    people = np.repeat(np.arange(n), np.concatenate([[60], 1 + np.arange(n - 1) % 6]))
    return draw.normal(0, 0.1, (n, DIMENSIONS))[people] + draw.normal(0, 0.05, (len(people), DIMENSIONS)), people


def grouped(faces: np.ndarray, people: np.ndarray) -> Groups:
    names, counts = np.unique(people, return_counts=True)
    members = [faces[people == name] for name in names]
    errors = [of.std(axis=0, ddof=1) / len(of) ** 0.5 if len(of) > 1 else None for of in members]
    columns = {"group": [f"p{name:03}" for name in names], "count": counts, "mean": [of.mean(axis=0) for of in members]}
    return Groups.of(pa.table({**columns, "standard_error": pa.array(errors, pa.list_(pa.float64()))}))


def halves(by: str, seed: int) -> tuple[Groups, Groups]:
    """A collection in two at random."""
    faces, people = photos_of(80, seed)
    draw = np.random.default_rng(seed)
    chosen = draw.random(len(people)) < (0.1 if by == "tenth" else 0.5)
    if by == "person":
        chosen = (draw.random(80) < 0.5)[people]
    if by == "growth":
        return grouped(faces[people < 50], people[people < 50]), grouped(faces, people)
    return grouped(faces[chosen], people[chosen]), grouped(faces[~chosen], people[~chosen])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["photo", "person", "tenth", "growth"])
def test_parts_of_one_collection_are_told_different_no_more_often_than_the_level_says(by):
    p = np.array([over_groups(*halves(by, seed)).p for seed in range(ROUNDS)])
    assert (p < 0.05).mean() <= 0.05 + 3 * (0.05 * 0.95 / ROUNDS) ** 0.5
    assert p.min() < 0.2, "a test that never sees anything"


def test_a_shift_of_everybody_that_is_small_beside_people_is_seen_where_the_photos_are_the_same():
    faces, people = photos_of(80, 1)
    shifted = faces + np.random.default_rng(2).normal(0, 0.002, DIMENSIONS)
    assert over_groups(grouped(faces, people), grouped(shifted, people)).p < 0.001
    difference = faces.mean(axis=0) - shifted.mean(axis=0)
    assert over_faces(difference, 2 * np.cov(faces.T) / len(faces), 2 * len(faces)).p > 0.9


@pytest.mark.slow
def test_halves_without_groups_differ_as_often_as_the_level_says():
    draw, p = np.random.default_rng(0), []
    for _ in range(ROUNDS):
        a, b = draw.normal(0, np.linspace(0.01, 0.2, DIMENSIONS), (2, 300, DIMENSIONS))
        p.append(over_faces(a.mean(axis=0) - b.mean(axis=0), (np.cov(a.T) + np.cov(b.T)) / 300, 600).p)
    assert 0.02 <= (np.array(p) < 0.05).mean() <= 0.09


def test_moves_are_of_groups_in_both_that_moved_and_the_largest_comes_first():
    faces, people = photos_of(20, 4)
    a, moved = grouped(faces, people), faces.copy()
    moved[people == 7] += 0.1
    moved[people == 6] += 0.01
    moved[people == 3] += 0.2
    found = moves(a, grouped(moved[people != 3], people[people != 3]))
    assert [move.group for move in found[:2]] == ["p007", "p006"]
    assert len(found) == 2
    assert found[0].distance == pytest.approx(0.1 * DIMENSIONS**0.5)
    assert found[0].count_a == found[0].count_b == 1
    assert found[0].standard_errors is None
    assert found[1].standard_errors > 0


@pytest.fixture(scope="module")
def outputs(spark, face_photos, tmp_path_factory):
    """Outputs of the same photos, of which one is gone, one damaged and one new in the second."""
    folder = tmp_path_factory.mktemp("compare")
    photos = Path(shutil.copytree(face_photos, folder / "photos"))
    a, b = (Settings((str(photos),), str(folder / name), group_by="parent", **FAST) for name in "ab")
    gone, damaged = sorted(photos.rglob("*obama*.*"))[:2]
    damaged = damaged.rename(damaged.with_name(NAME))
    run(a, spark)
    gone.unlink()
    damaged.write_bytes(b"no photo")
    shutil.copy(photos / "biden" / "biden.jpg", photos / "biden" / "new.jpg")
    run(b, spark)
    return folder


@pytest.fixture
def two(outputs, tmp_path):
    """Copies of them that a test may change."""
    return [shutil.copytree(outputs / name, tmp_path / name, copy_function=shutil.copy2).as_posix() for name in "ab"]


def test_a_result_is_the_same_as_itself(two, capsys):
    assert main(["compare", two[0], f"file:{two[0]}"]) == 0
    assert capsys.readouterr().out.startswith("same: ")
    found = compare(two[0], two[0])
    assert (found.verdict, found.distance, found.moves, found.chance.p) == ("same", 0, [], 1)


def test_what_changed_is_named_and_a_name_cannot_command_the_terminal(two, capsys):
    assert main(["compare", *two, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "within noise"
    assert found["counts"] == [6, 5]
    photos = found["photos"]
    assert (photos["both"], photos["only_a"], photos["only_b"]) == (5, 1, 1)
    assert photos["changed"] == {"ok -> unsupported": 1}
    assert photos["first"] == [{"path": photos["first"][0]["path"], "a": "ok", "b": "unsupported"}]
    assert photos["first"][0]["path"].endswith(f"/obama/{NAME}")
    assert [move["group"] for move in found["moves"]] == ["obama", "biden"]
    assert found["chance"]["over"] == "faces"
    assert main(["compare", *two]) == 0
    told = capsys.readouterr().out
    for line in ("within noise: p = ", "photos: 5 in both, 1 only in A, 1 only in B", "1 ok -> unsupported"):
        assert line in told
    assert "alert(1)>\\n.jpg" in told


def test_results_that_differ_exit_4(two, capsys):
    mean = Path(two[1], "mean.json")
    document = json.loads(mean.read_text())
    mean.write_text(json.dumps(document | {"mean": [value + 0.2 for value in document["mean"]], "mean_sha256": "0"}))
    assert main(["compare", *two]) == 4
    assert capsys.readouterr().out.startswith("different: p = 0.0002 over 11 faces, less than 0.01")


def test_other_models_are_named_and_compared_only_with_force(two, capsys):
    mean = Path(two[1], "mean.json")
    document = json.loads(mean.read_text())
    mean.write_text(json.dumps(document | {"models": document["models"] | {"cnn": "1" * 64}}))
    assert compare(*two).verdict == "within noise", "a detector more is no other space"
    mean.write_text(json.dumps(document | {"models": document["models"] | {"resnet": "1" * 64}}))
    assert main(["compare", *two]) == 2
    assert "their model 'resnet' differs (sha256 " in capsys.readouterr().err
    assert main(["compare", *two, "--force"]) == 0


def test_what_holds_no_finished_result_is_told(two, tmp_path):
    shutil.copytree(two[0], tmp_path / "copy")
    (tmp_path / "copy" / "mean.json").unlink()
    with pytest.raises(OutputError, match="holds no finished result"):
        compare(two[0], str(tmp_path / "copy"))
    with pytest.raises(SettingsError, match="--level 2"):
        compare(*two, level=2)
