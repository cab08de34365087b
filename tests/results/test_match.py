"""facemean match: whose face it is, by the groups of an output."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import FAST

from spark_job import Settings, match, run
from spark_job.__main__ import main
from spark_job.errors import InputError, ModelError, OutputError


@pytest.fixture(scope="module")
def made(spark, face_photos, tmp_path_factory):
    """The folder of new.jpg and out: the output of a run over the photos of two people, but the one held out."""
    folder = tmp_path_factory.mktemp("gallery")
    photos = shutil.copytree(face_photos, folder / "photos")
    shutil.move(photos / "obama" / "obama3.jpg", folder / "new.jpg")
    run(Settings((str(photos),), str(folder / "out"), group_by="parent", **FAST), spark)
    return folder


@pytest.fixture
def gallery(made, tmp_path):
    """The photo that is held out, and a copy of the output that a test may change."""
    return Path(shutil.copy(made / "new.jpg", tmp_path)), Path(shutil.copytree(made / "out", tmp_path / "out"))


def test_a_new_photo_is_nearest_to_the_group_of_its_person(gallery):
    held_out, output = gallery
    found = match([str(held_out)], str(output))
    assert not found["is_measured"]
    [face] = found["photos"][0]["faces"]
    assert face["verdict"] == "match"
    assert [(near["group"], near["count"]) for near in face["nearest"]] == [("obama", 3), ("biden", 2)]


@pytest.mark.slow
def test_a_person_who_is_in_no_group_is_unknown(spark, settings, photos):
    stranger = shutil.move(photos / "biden" / "biden.jpg", photos.parent)
    shutil.rmtree(photos / "biden")
    chosen = settings(photos, group_by="parent")
    run(chosen, spark)
    [face] = match([str(stranger)], chosen.output)["photos"][0]["faces"]
    assert (face["verdict"], [near["group"] for near in face["nearest"]]) == ("unknown", ["obama"])


def test_a_distance_is_that_of_the_embedding_to_the_mean_of_the_group(gallery):
    _, output = gallery
    rows = pq.read_table(output / "photos").to_pylist()
    means = {row["group"]: np.array(row["mean"]) for row in pq.read_table(output / "groups").to_pylist()}
    row = rows[0]
    [photo] = match([row["path"].removeprefix("file:")], str(output))["photos"]
    for near in photo["faces"][0]["nearest"]:
        distance = np.linalg.norm(means[near["group"]] - row["faces"][0]["embedding"])
        assert near["distance"] == pytest.approx(distance, abs=1e-6)


def test_the_command_names_the_nearest_groups_and_says_what_has_no_face(gallery, sample, capsys):
    held_out, output = gallery
    odd = held_out.with_name("<img src=x onerror=alert(1)>\n.jpg")
    shutil.copy(held_out, odd)
    empty = str(sample / "variants" / "empty.jpg")
    assert main(["match", str(odd), empty, "--against", str(output), "--nearest", "1"]) == 3
    told = capsys.readouterr().out
    assert "<img src=x onerror=alert(1)>\\n.jpg: match" in told
    assert "empty.jpg: empty: the file has no bytes" in told
    assert "biden" not in told
    assert main(["match", str(odd), "--against", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["photos"][0]["path"] == str(odd)


def test_what_cannot_be_matched_is_told(gallery, undisturbed, tmp_path):
    held_out, output = gallery
    with pytest.raises(InputError, match="is no file"):
        match(["none.jpg"], str(output))
    with pytest.raises(OutputError, match="there is no output"):
        match([str(held_out)], str(tmp_path / "none"))
    document = json.loads((output / "mean.json").read_text())
    document["models"]["resnet"] = "0" * 64
    (output / "mean.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"other model files \(resnet\)"):
        match([str(held_out)], str(output))
    with pytest.raises(OutputError, match="--group-by"):
        match([str(held_out)], undisturbed.output)


def test_a_local_output_takes_no_spark(gallery):
    held_out, output = gallery
    code = "import sys; from spark_job.__main__ import main; main(sys.argv[1:]); assert 'pyspark' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "match", held_out, "--against", output], check=True)
