"""kubectl for the tests: where it is, and a configuration of it for one endpoint."""

import json
import shutil
from pathlib import Path

import pytest


def kubectl() -> str:
    """Its path; skips the test where there is none."""
    return shutil.which("kubectl") or pytest.skip("no kubectl on PATH: https://kubernetes.io/docs/tasks/tools")


def kubeconfig(folder: Path, url: str) -> str:
    """The path of a configuration whose one cluster is at this address."""
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "here"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)
