"""What the README says is so."""

import os
import re
import subprocess

import pytest
from conftest import ROOT

from spark_job.row import STATUSES
from spark_job.settings import flag, options

README = (ROOT / "README.md").read_text()
OPTIONS = (ROOT / "docs" / "options.md").read_text()
TABLE = {
    name: (values, default)
    for names, values, default in re.findall(r"^\| (`--[^|]*) \| (.*) \|([^|]*)\|$", OPTIONS, re.MULTILINE)
    for name in re.findall(r"`(--[a-z-]+)", names)
}


def test_the_table_of_options_is_that_of_the_command_line():
    assert set(TABLE) == {flag(option) for option in options()} | {"--report", "--quiet", "--json"}


@pytest.mark.parametrize("option", options(), ids=flag)
def test_an_option_has_the_values_and_the_default_that_the_table_says(option):
    values, default = TABLE[flag(option)]
    for choice in option.metadata.get("choices", ()):
        assert re.search(rf"\b{choice}\b", values), f"{flag(option)} {choice} is not in the table"
    known = {None: "none", 100_000_000: "100 Mpx", 64 * 2**20: "64 MiB"}
    if flag(option) not in ("--master", "--conf", "--repair", "--hash-paths"):
        told = known.get(option.default, f"{option.default:g}" if isinstance(option.default, float) else option.default)
        assert str(told) in default


def test_every_status_is_explained():
    assert all(f"`{status}`" in README for status in STATUSES)


def test_every_file_that_is_named_exists():
    named = re.findall(r"(?:scripts|conf|docs|spark_job|tests|k8s)/[\w./-]+\w", README)
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing
    assert all(os.access(ROOT / name, os.X_OK) for name in named if name.startswith("scripts/"))


def test_every_module_that_the_pipeline_names_has_a_purpose_in_its_first_line():
    for module in (ROOT / "spark_job").rglob("*.py"):
        assert re.match(r'""".+[.:]?', module.read_text()), module


@pytest.mark.slow
def test_scripts_run_shows_the_sample_and_sets_up_nothing_again(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name in ("HOME", "PATH", "LANG")}
    environment |= {"FACEMEAN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(["scripts/run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "setup:" not in done.stderr
    for line in re.findall(r"^ (?:ok|no_face|unreadable|truncated|empty|unsupported|listed) .*$", README, re.MULTILINE):
        assert re.search(re.escape(line).replace(r"\ ", r" +"), done.stdout), line
    assert "out/sample/mean.json" in done.stdout
