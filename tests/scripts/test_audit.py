"""What the audit of the locked requirements says, and when it fails the check."""

import subprocess
import sys

from audit import report
from conftest import ROOT

UNKNOWN = {"name": "a", "skip_reason": "not found"}
GOOD = {"name": "b", "version": "1.0", "vulns": []}
BAD = {"name": "c", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}


def test_a_known_vulnerability_fails_the_check(capsys):
    assert report([UNKNOWN, GOOD, BAD]) == 1
    assert "c 2.0: PYSEC-1, fixed in 2.1" in capsys.readouterr().out
    assert report([UNKNOWN, GOOD]) == 0
    assert "1 of 2 packages looked up, 0 known vulnerabilities" in capsys.readouterr().out


def test_a_source_that_knows_nothing_is_no_clean_bill(capsys):
    assert report([UNKNOWN, UNKNOWN]) == 0
    assert "SKIPPED" in capsys.readouterr().out


def test_no_answer_is_said_and_another_failure_fails(tmp_path):
    lock = ROOT / "requirements.lock"
    environment = {"HTTPS_PROXY": "http://127.0.0.1:9", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, ROOT / "scripts/src/setup/audit.py"]
    no_answer = subprocess.run([*command, lock], env=environment, capture_output=True, text=True)
    assert (no_answer.returncode, no_answer.stdout.startswith("audit: SKIPPED")) == (0, True), no_answer.stderr
    assert subprocess.run([*command, tmp_path / "none.lock"], capture_output=True).returncode == 1
