"""scripts/setup: uv looks for packages where pip is told to look, and pip does it where uv cannot be told."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

TELL = re.search(r"^tell_uv\(\) \{.*?^\}", (ROOT / "scripts" / "setup").read_text(), re.MULTILINE | re.DOTALL)
INDEX, OTHER, MORE = (f"https://{name}.example/simple" for name in ("index", "other", "more"))


def told(home: Path, conf: str = "", **environment: str) -> dict[str, str] | None:
    """What uv gets to know of the places to look at, with a pip.conf and an environment; None where pip does it."""
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_text(conf)
    environment |= {"HOME": str(home), "PATH": os.environ["PATH"]}
    assert TELL
    script = f"set -euo pipefail\n{TELL[0]}\ntell_uv && env"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    return (
        dict(re.findall(r"^(UV_\w*INDEX\w*|UV_FIND_LINKS|SSL_CERT_FILE)=(.*)$", done.stdout, re.M))
        if done.stdout
        else None
    )


@pytest.mark.parametrize(
    ("conf", "environment"),
    [
        (f"[global]\nindex-url = {INDEX}\n", {}),
        (f"[global]\nindex-url = {OTHER}\n[install]\nindex-url = {INDEX}\n", {}),
        (f"[install]\nindex-url = {OTHER}\n", {"PIP_INDEX_URL": INDEX}),
    ],
    ids=["pip.conf", "of one command", "variable"],
)
def test_the_index_is_the_one_that_pip_would_take(tmp_path, conf, environment):
    assert (told(tmp_path, conf, **environment) or {})["UV_DEFAULT_INDEX"] == INDEX


def test_further_places_and_certificates_are_told_too(tmp_path):
    conf = f"[global]\nextra-index-url =\n    {MORE}\n    {OTHER}\nfind-links = /wheels /more\ncert = /a.pem\n"
    expected = {"UV_INDEX": f"{MORE} {OTHER}", "UV_FIND_LINKS": "/wheels,/more", "SSL_CERT_FILE": "/a.pem"}
    assert (told(tmp_path, conf) or {}).items() >= expected.items()


@pytest.mark.parametrize("conf", ["trusted-host = index.example", "proxy = http://proxy.example", "no-index = true"])
def test_where_pip_is_told_more_than_uv_can_be_pip_does_it(tmp_path, conf):
    assert told(tmp_path, f"[global]\nindex-url = {INDEX}\n{conf}\n") is None
