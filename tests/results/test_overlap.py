"""overlap: one person in two groups, or in two outputs, comes first."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from collection import faces_of, person, write_output

from spark_job.__main__ import main
from spark_job.errors import OutputError
from spark_job.results.overlap import overlap

MEANS = {"verification": {"means": {"thresholds": {"1e-4": {"threshold": 0.4}}}}}


@pytest.fixture(scope="module")
def halves(spark, tmp_path_factory):
    """Six people; the photos of two of them are in two folders each."""
    people = {name: person(seed, 12) for seed, name in enumerate("abcdef")}
    faces = [face for name, rows in people.items() for face in faces_of(name, rows[: 6 if name in "ab" else 12])]
    faces += faces_of("a again", people["a"][6:]) + faces_of("<b>\n", people["b"][6:])
    return write_output(spark, tmp_path_factory.mktemp("halves"), faces, MEANS)


@pytest.fixture(scope="module")
def others(spark, tmp_path_factory):
    """Two people more, and one of halves."""
    faces = faces_of("x", person(20, 5)) + faces_of("c", person(21, 5)) + faces_of("who", person(2, 20)[12:])
    return write_output(spark, tmp_path_factory.mktemp("others"), faces)


def test_two_folders_of_one_person_are_the_pairs_of_an_output(spark, halves, capsys):
    found = overlap(halves, spark=spark)
    means = {row.group: np.array(row["mean"]) for row in spark.read.parquet(f"{halves}/groups").collect()}
    pairs = [tuple(pair.values())[:4] for pair in found["pairs"]]
    assert sorted(pairs) == [("<b>\n", 6, "b", 6), ("a", 6, "a again", 6)]
    for pair in found["pairs"]:
        apart = np.linalg.norm(means[pair["group"]] - means[pair["other"]])
        assert pair["distance"] == pytest.approx(apart, abs=1e-12)
    distances = [pair["distance"] for pair in found["pairs"]]
    assert distances == sorted(distances)
    assert (found["compared"], found["threshold"], found["is_measured"]) == (28, 0.4, True)
    assert overlap(halves, limit=1, spark=spark)["pairs"] == found["pairs"][:1]
    assert main(["overlap", halves]) == 0
    told = capsys.readouterr().out
    assert "2 of 28 pairs are nearer than 0.400" in told
    assert re.search(r"<b>\\n +│ 6 +│ b +│ 6", told)


def test_a_person_of_one_output_in_another_is_found_by_any_name(spark, halves, others):
    found = overlap(halves, others, spark=spark)
    assert [tuple(pair.values())[:4] for pair in found["pairs"]] == [("c", 12, "who", 8)]
    assert found["compared"] == 24
    back = overlap(others, halves, spark=spark)
    assert [(pair["group"], pair["other"]) for pair in back["pairs"]] == [("who", "c")]
    assert back["is_measured"] is False


def test_outputs_of_other_models_are_refused(spark, halves, others, tmp_path):
    with pytest.raises(OutputError, match="there is no finished output"):
        overlap(halves, str(tmp_path), spark=spark)
    for uri, digest in ((halves, "1"), (others, "2")):
        mean = Path(uri, "mean.json")
        mean.write_text(json.dumps(json.loads(mean.read_text()) | {"models": {"resnet": digest}}))
    with pytest.raises(OutputError, match="different models"):
        overlap(halves, others, spark=spark)
