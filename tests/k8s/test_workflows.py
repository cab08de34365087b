""".github/workflows: they call what people call, may do little, and run actions that cannot change under them."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
parametrized = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


@parametrized
def test_every_script_and_file_that_is_called_exists(path):
    called = re.findall(r"\b((?:scripts|tests)/[\w./-]+)", path.read_text())
    assert called
    for name in called:
        assert (ROOT / name).is_file(), name
        assert name.startswith("tests/") or os.access(ROOT / name, os.X_OK), name


@parametrized
def test_actions_are_pinned_to_a_commit_and_say_its_version(path):
    for line in path.read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@parametrized
def test_jobs_may_read_and_no_more_unless_they_say_why(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    theirs = [key for job in workflow["jobs"].values() for key in job]
    assert "permissions" not in theirs or path.stem in ("release", "lock")
    writes = re.findall(r"^.*: write.*$", path.read_text(), re.MULTILINE)
    assert all(re.search(r"write # \w+", line) for line in writes)
    for step in steps(path):
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@parametrized
def test_what_strangers_write_reaches_no_shell(path):
    for step in steps(path):
        assert "${{" not in step.get("run", "")
    assert "pull_request_target" not in path.read_text()
    assert all(job["timeout-minutes"] for job in load(path)["jobs"].values())


def test_every_python_that_facemean_supports_is_tested():
    (oldest,) = re.findall(r"python_requires = >=3\.(\d+)", (ROOT / "setup.cfg").read_text())
    versions = load(ROOT / ".github/workflows/check.yml")["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert versions[0] == f"3.{oldest}"
    assert [int(version.split(".")[1]) for version in versions] == list(range(int(oldest), int(oldest) + len(versions)))
    (python,) = re.findall(r"FROM python:(\d\.\d+)-slim", (ROOT / "k8s/Dockerfile").read_text())
    assert python in versions
    local_run = load(ROOT / ".github/workflows/image.yml")["jobs"]["kind"]["env"]["PYTHON"]
    assert local_run == f"python{python}"  # of the means that are compared


def test_the_run_on_kind_compares_its_mean_with_the_local_one():
    image = ROOT / ".github/workflows/image.yml"
    (run,) = (step["run"] for step in steps(image) if step.get("name") == "The same mean everywhere")
    for mean in ("out/sample/mean.json", "out/job.json", "out/submitted.json"):
        assert mean in run
    assert ".mean_sha256" in run
