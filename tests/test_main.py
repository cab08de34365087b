"""The command line: what it takes, what it says, and how it exits."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from spark_job.__main__ import main


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "PHOTOS"], "--output"),
        (["run", "--output", "OUT"], "INPUT"),
        (["run", "PHOTOS", "--output", "OUT", "--detector", "yolo"], "choose from auto, hog, cnn|'auto', 'hog', 'cnn'"),
        (["run", "PHOTOS", "--output", "OUT", "--upsample", "3"], "--upsample"),
        (["run", "PHOTOS", "--output", "OUT", "--upsample", "x"], "--upsample"),
        (["run", "PHOTOS", "--output", "OUT", "--jitters", "0"], "--jitters 0"),
        (["run", "PHOTOS", "--output", "OUT", "--max-bytes", "many"], "--max-bytes"),
        (["run", "PHOTOS", "--output", "OUT", "--max-failed", "2"], "--max-failed"),
        (["run", "PHOTOS", "--output", "OUT", "--group-by", "(("], "--group-by"),
        (["run", "PHOTOS", "--output", "OUT", "--group-by", "(?P<a>x)"], "--group-by"),
        (["run", "PHOTOS", "--output", "OUT", "--checksum", "md5:1"], "--checksum"),
        (["run", "PHOTOS", "--output", "OUT", "--conf", "x"], "--conf"),
        (
            ["run", "PHOTOS", "--output", "OUT", "--conf", "spark.hadoop.fs.s3a.secret.key=hush"],
            "AWS_SECRET_ACCESS_KEY",
        ),
        (["run", "PHOTOS", "--output", "OUT", "--conf", "fs.s3a.secret.key=hush"], "fs.s3a.secret.key"),
        (["run", "http://me:hush@127.0.0.1:9/photos.tgz", "--output", "OUT"], "cannot be downloaded"),
        (["run", "http://127.0.0.1:9/photos.tgz?X-Amz-Signature=hush", "--output", "OUT"], "cannot be downloaded"),
        (["run", "s3a://me:hush@bucket/photos", "--output", "OUT"], "cannot be read"),
        (["run", "PHOTOS", "--output", "OUT", "--nonsense"], "--nonsense"),
        (["run", "MISSING", "--output", "OUT"], "does not exist"),
        (["run", "PHOTOS/*.heic", "--output", "OUT"], "does not exist"),
        (["run", "nowhere://host/photos", "--output", "OUT"], "nowhere"),
        (["run", "NOTES", "--output", "OUT"], "holds no photo"),
        (["run", "EMPTY", "PHOTOS", "--output", "OUT"], "holds no photo"),
        (["run", "http://127.0.0.1:9/photos.html", "--output", "OUT"], "is no archive"),
        (["run", "http://127.0.0.1:9/photos.tgz", "--output", "OUT"], "cannot be downloaded"),
        (["run", "PHOTOS", "--output", "NOTES/out"], "cannot be written to"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_argument_or_input_is_one_line_and_exit_2_and_nothing_is_written(
    spark, capsys, face_photos, tmp_path, arguments, says
):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "NOTES").write_text("no photo")
    names = {"PHOTOS": face_photos, "OUT": tmp_path / "OUT"}
    names |= {name: tmp_path / name for name in ("MISSING", "EMPTY", "NOTES")}
    pattern = re.compile("|".join(rf"^{name}\b" for name in names))
    given = [pattern.sub(lambda match: str(names[match[0]]), argument) for argument in arguments]
    code, out, err = called(capsys, *given)
    assert code == 2
    assert out == ""
    assert re.search(says, err)
    assert re.fullmatch(r"facemean: error: [^\n]+\n", err)
    assert "hush" not in err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["EMPTY", "NOTES"]


def test_a_run_shows_its_plan_its_statuses_and_where_the_results_are(spark, capsys, sample, tmp_path):
    output = tmp_path / "out"
    code, out, err = called(capsys, "run", sample, "--output", output, "--detector", "hog", "--max-failed", "0.05")
    assert code == 3
    assert "17 found" in err
    assert "17 to encode" in err
    assert re.search(r"listed +│ +17", out)
    assert f"file:{output}/mean.json" in out
    assert "truncated.jpg: the file ends before its image does" in out
    assert json.loads((output / "mean.json").read_text())["mean_sha256"] in out


def test_json_is_one_line_for_a_script_and_quiet_is_nothing(spark, capsys, face_photos, tmp_path):
    arguments = ["run", face_photos, "--output", tmp_path / "out", "--detector", "hog"]
    code, out, err = called(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["photos"]["ok"] == told["encoded"] == 6
    code, out, err = called(capsys, *arguments, "--quiet")
    assert (code, out, err) == (0, "", "")
    assert json.loads((tmp_path / "out" / "mean.json").read_text())["mean_sha256"] == told["mean_sha256"]


def test_a_name_cannot_command_the_terminal(spark, capsys, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31m\nb[bold].jpg").write_bytes(b"no photo")
    code, out, err = called(capsys, "run", tmp_path / "in", "--output", tmp_path / "out", "--detector", "hog")
    assert code == 1
    assert "\x1b[31m" not in out + err
    assert "no mean of nothing" in err


def test_check_says_ok_of_each_thing_a_run_needs(spark, capsys):
    code, out, _ = called(capsys, "check")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", name] for name in ("python", "java", "pyspark", "dlib", "models", "processor", "memory", "executors")
    ]


def test_check_names_the_remedy_of_what_is_missing(spark, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    code, out, _ = called(capsys, "check")
    assert code == 1
    assert re.search(r"FAILED +java .*openjdk-17-jre-headless", out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "spark_job"],
        [str(Path(sys.executable).with_name("spark-submit")), "spark_job/__main__.py"],
        [str(Path(sys.executable).with_name("facemean"))],
    ],
)
def test_the_job_starts_in_each_of_its_three_ways(command, face_photos, tmp_path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    arguments = [
        "run",
        face_photos,
        "--output",
        tmp_path / "out",
        "--detector",
        "hog",
        "--json",
        "--master",
        "local[1]",
    ]
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["photos"]["ok"] == 6


def catches_stops(process: psutil.Popen) -> bool:
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def imports(process: psutil.Popen) -> bool:
    return any("numpy" in file.path for file in process.memory_maps())


def starts_java(process: psutil.Popen) -> bool:
    return bool(process.children())


@pytest.mark.slow
@pytest.mark.parametrize("moment", [catches_stops, imports, starts_java])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_in_the_first_seconds_is_one_line_and_leaves_nothing(face_photos, tmp_path, moment, signum):
    command = [Path(sys.executable).with_name("facemean"), "run", face_photos, "--output", tmp_path / "out"]
    heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a run in the background does not
    process = psutil.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    while not moment(process):
        time.sleep(0.01)
    children = process.children(recursive=True)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "facemean: stopped: the same command goes on from here\n")
    assert not psutil.wait_procs(children, timeout=60)[1]
    assert not (tmp_path / "out").exists()
