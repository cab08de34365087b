"""facemean show: what an output holds, whatever became of the run."""

import json
import subprocess
import sys
import time

import pytest
from conftest import SLOWLY, options

from spark_job import run
from spark_job.__main__ import main
from spark_job.results.show import show


@pytest.mark.slow
def test_a_finished_run_is_shown_as_it_showed_itself(spark, settings, photos, capsys):
    (photos / "notes.jpg").write_text("no photo")
    chosen = settings(photos, group_by="parent")
    result = run(chosen, spark)
    assert main(["show", f"{chosen.output}/"]) == 0
    told = capsys.readouterr().out
    where = f"\n{chosen.output}/mean.json, mean.npy, photos/, groups/ (2)\n"
    for line in (f"mean of 6 faces: sha256 {result.mean_sha256}", where, "notes.jpg: its bytes are not of a"):
        assert line in told
    assert main(["show", f"file:{chosen.output}", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["state"], summary["photos"]["unsupported"]) == ("finished", 1)
    assert summary["failures"][0][:2] == [f"file:{photos}/notes.jpg", "unsupported"]
    assert "mean" not in summary


def test_what_is_no_output_is_told_in_a_line(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "none"):
        assert main(["show", str(folder)]) == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_summary_needs_no_spark(done):
    code = (
        "import sys; from spark_job.__main__ import main; main(sys.argv[1:]); "
        "assert not {'pyspark', 'onnxruntime', 'dlib'} & set(sys.modules), 'loaded what it does not need'"
    )
    subprocess.run([sys.executable, "-c", code, "show", done.output], check=True, capture_output=True)


@pytest.mark.slow
def test_a_run_that_goes_on_and_one_that_was_killed_are_told_apart(many, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "spark_job", "run", many, "--output", output, "--quiet", *options(SLOWLY)]
    running = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list((output / "photos").glob("part-*")):
            assert running.poll() is None, "it ended before it had a row"
            time.sleep(0.1)
        told = show(str(output))
        assert (told["state"], told["photos"]["listed"]) == ("running", 30)
        assert 0 < told["done"] < 30
        assert told["seconds_left"] > 0
    finally:
        running.kill()
        running.wait()
    told = show(str(output))
    assert (told["state"], told["seconds_left"]) == ("interrupted", None)
