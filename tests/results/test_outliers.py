"""outliers: the photos that are in another's folder come first, and what is said of them can be computed by hand."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from collection import Face, faces_of, person, write_output

from spark_job.__main__ import main
from spark_job.console import Console
from spark_job.errors import OutputError, SettingsError
from spark_job.results.outliers import COLUMNS, outliers

NEAR, SURE = 0.5, 0.45
STATISTICS = {"verification": {"templates": {"thresholds": {"1e-3": {"threshold": NEAR}, "1e-4": {"threshold": SURE}}}}}
IMG, LINES, FORMULA = "<img src=x onerror=alert(1)>.jpg", 'two\nlines, a "quote", a blank \r\n.jpg ', "=1+1"


@pytest.fixture(scope="module")
def collection() -> list[Face]:
    """People a to h with 12 photos each, and what does not belong."""
    people = {name: faces_of(name, person(seed, 12)) for seed, name in enumerate("abcdefgh")}
    faces = [face for photos in people.values() for face in photos]
    strangers = person(99, 3)
    faces += [
        # e's photo in a's folder, and f's in b's
        Face(f"file:/a/{IMG}", "a", person(4, 13)[12], 2001),
        Face(f"file:/b/{LINES}", "b", person(5, 13)[12], 2002),
        # nobody's
        Face("file:/c/stranger.jpg", "c", strangers[0], 2003),
        # the bytes of d's first photo again, in d's folder and in g's
        Face("file:/d/again.jpg", "d", people["d"][0].embedding, 1000),
        Face("file:/g/of_d.jpg", "g", people["d"][0].embedding, 1000),
        # h's first photo once more, saved anew, in c's folder
        Face("file:/c/of_h.jpg", "c", people["h"][0].embedding + np.float32(0.005), 2004),
        # two people in one folder, one of whom is a; one alone; one in no group
        Face("file:/pair/of_a.jpg", FORMULA, person(0, 13)[12], 2005),
        Face("file:/pair/stranger.jpg", FORMULA, strangers[1] + np.float32(0.03), 2006),
        Face("file:/alone/1.jpg", "alone", person(50, 1)[0], 2007),
        Face("file:/nobody.jpg", None, person(51, 1)[0], 2008),
        Face("file:/a/\n.jpg", "a", person(0, 14)[13], 3000),
    ]
    return faces


@pytest.fixture(scope="module")
def judged(spark, collection, tmp_path_factory):
    """The output of collection, what outliers gives of it, and its rows by path."""
    folder = tmp_path_factory.mktemp("judged")
    uri = write_output(spark, folder, collection, STATISTICS)
    found = outliers(uri, folder / "keep.txt", spark)
    rows = spark.read.parquet(f"{uri}/outliers")
    return folder, found, {row.path: row for row in rows.collect()}, rows.schema


def test_a_row_has_the_leave_one_out_distance_of_numpy_and_the_nearest_other_group(judged, collection):
    _, found, rows, schema = judged
    assert [field.name for field in schema] == list(COLUMNS)
    assert {field.name: field.metadata["comment"] for field in schema} == COLUMNS
    groups = {name: [f for f in collection if f.group == name] for name in {f.group for f in collection} - {None}}
    means = {name: np.mean([f.embedding for f in faces], axis=0, dtype=np.float64) for name, faces in groups.items()}
    assert set(rows) == {f.path for f in collection if f.group and len(groups[f.group]) > 1}
    assert (found["faces"], found["groups"]) == (len(rows), 9)
    for face in collection:
        if face.path not in rows:
            continue
        row, others = rows[face.path], [f.embedding for f in groups[face.group] if f.path != face.path]
        apart = np.linalg.norm(np.mean(others, axis=0, dtype=np.float64) - face.embedding)
        assert row.distance == pytest.approx(apart, abs=1e-6)
        assert (row["count"], row.face) == (len(others) + 1, 0)
        if row.nearest_group is not None:
            to_means = {name: np.linalg.norm(mean - face.embedding) for name, mean in means.items()}
            del to_means[face.group]
            assert row.nearest_group == min(to_means, key=to_means.get)
            assert row.nearest_distance == pytest.approx(to_means[row.nearest_group], abs=1e-12)
    assert found["searched"] == sum(row.nearest_group is not None for row in rows.values()) < len(rows) / 2


def test_each_kind_of_photo_that_does_not_belong_has_its_verdict_and_the_others_have_none(judged):
    _, found, rows, _ = judged
    verdicts = {path.removeprefix("file:/"): row.verdict for path, row in rows.items() if row.verdict}
    assert verdicts == {
        f"a/{IMG}": "likely_mislabelled",
        f"b/{LINES}": "likely_mislabelled",
        "g/of_d.jpg": "likely_mislabelled",
        "c/of_h.jpg": "likely_mislabelled",
        "pair/of_a.jpg": "likely_mislabelled",
        "pair/stranger.jpg": "ambiguous",
        "c/stranger.jpg": "far",
        "d/again.jpg": "duplicate",
    }
    assert found["verdicts"] == {"likely_mislabelled": 5, "far": 1, "duplicate": 1, "ambiguous": 1}
    assert {row["path"] for row in found["first"][:5]} == {
        f"file:/{path}" for path, verdict in verdicts.items() if verdict == "likely_mislabelled"
    }
    for row in rows.values():
        assert row.is_label_issue == (row.verdict == "likely_mislabelled")
        assert row.is_outlier_issue == (row.verdict == "far")
        assert row.is_near_duplicate_issue == (row.near_duplicate_of is not None)
        assert 0 <= row.label_score <= 1
        assert (row.outlier_score < 0.5) == (row.distance > NEAR and (row.nearest_distance or 1) > NEAR)


def test_copies_name_each_other_and_the_one_in_its_own_group_stays(judged):
    _, _, rows, _ = judged
    of = {path.removeprefix("file:/"): row.near_duplicate_of for path, row in rows.items() if row.near_duplicate_of}
    copies = {"file:/d/0.jpg", "file:/d/again.jpg", "file:/g/of_d.jpg"}
    assert set(of) == {"d/0.jpg", "d/again.jpg", "g/of_d.jpg", "c/of_h.jpg", "h/0.jpg"}
    assert all(of[name] in copies - {f"file:/{name}"} for name in ("d/0.jpg", "d/again.jpg", "g/of_d.jpg"))
    assert (of["c/of_h.jpg"], of["h/0.jpg"]) == ("file:/h/0.jpg", "file:/c/of_h.jpg")
    assert rows["file:/d/0.jpg"].near_duplicate_distance == 0
    assert rows["file:/h/0.jpg"].near_duplicate_distance == pytest.approx(0.005 * 128**0.5, abs=1e-6)


def test_the_table_for_people_holds_the_suspects_in_order_and_names_whole(judged):
    folder, found, rows, _ = judged
    with (folder / "outliers.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    suspects = sorted((row.label_score, path) for path, row in rows.items() if row.verdict)
    assert [row["path"] for row in table] == [path for _, path in suspects] == [row["path"] for row in found["first"]]
    assert list(table[0]) == list(COLUMNS)
    assert [row["group"] for row in table] == [rows[row["path"]].group for row in table]
    assert {f"file:/a/{IMG}", f"file:/b/{LINES}"} < {row["path"] for row in table}
    assert [float(row["label_score"]) for row in table] == [score for score, _ in suspects]


def test_the_clean_list_holds_each_photo_but_those_that_do_not_belong_one_a_line(judged, collection):
    folder, found, rows, _ = judged
    lines = (folder / "keep.txt").read_text().split("\n")
    assert lines.pop() == ""
    removed = {path for path, row in rows.items() if row.verdict and row.verdict != "ambiguous"}
    kept = sorted({face.path for face in collection} - removed)
    assert [json.loads(line) if line.startswith('"') else line for line in lines] == kept
    assert sum(line.startswith('"') for line in lines) == 1
    assert found["kept"] == len(kept)


def test_the_terminal_shows_the_first_and_no_name_commands_it(judged, capsys):
    _, found, *_ = judged
    Console().outliers(found, "keep\n.txt")
    told = capsys.readouterr().out
    assert f"a/{IMG} " in told
    assert 'two\\nlines, a "quote", a blank \\r\\n.jpg' in told
    assert "5 likely_mislabelled, 1 far, 1 duplicate, 1 ambiguous of" in told
    assert f"{found['kept']} photos to keep in keep\\n.txt" in told
    Console(as_json=True).outliers(found, None)
    assert json.loads(capsys.readouterr().out) == found


def test_no_embedding_and_no_scratch_is_left_behind(judged):
    folder, *_ = judged
    left = {path.name for path in Path(folder).iterdir()}
    assert left == {
        *("listing", "photos", "groups", "outliers", "outliers.csv", "keep.txt"),
        *("run.json", "mean.json", "statistics.json", ".facemean.lock"),
    }


@pytest.mark.slow
def test_what_has_no_groups_or_has_not_finished_is_told(spark, collection, tmp_path, capsys):
    assert main(["outliers", str(tmp_path / "none")]) == 1
    assert "error: there is no finished output" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    folder = tmp_path / "out"
    uri = write_output(spark, folder, collection[:30])
    document = json.loads((folder / "run.json").read_text())
    for change, says in (
        ({"started": "2025-01-01T00:00:00+00:00"}, "has not finished"),
        ({"settings": {"group_by": "none"}}, "run again with --group-by"),
    ):
        (folder / "run.json").write_text(json.dumps(document | change))
        (folder / "mean.json").write_text(json.dumps(document | {"settings": change.get("settings")}))
        with pytest.raises(OutputError, match=says):
            outliers(uri, spark=spark)
    for name in ("run.json", "mean.json"):
        (folder / name).write_text(json.dumps(document))
    with pytest.raises(SettingsError, match=r"--clean-list .*keep.txt' cannot be written: there is no folder"):
        outliers(uri, tmp_path / "none" / "keep.txt", spark)
    assert main(["outliers", uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_measured"] is False

    spark.read.parquet(f"{uri}/photos").where("length > 1002").write.parquet(f"{uri}/fewer")
    shutil.rmtree(folder / "photos")
    (folder / "fewer").rename(folder / "photos")
    with pytest.raises(OutputError, match="photos/ holds 21 faces in groups where groups/ counts 30"):
        outliers(uri, spark=spark)
