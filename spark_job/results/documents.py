"""Documents: mean.json and its like: what every one of them says of how it was made, and how they are written."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyspark
from py4j.protocol import Py4JJavaError

from spark_job.errors import OutputError, without_secrets
from spark_job.inputs.names import hashed
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem, reason

PACKAGES = (
    "facemean",
    "dlib-bin",
    "dlib",
    "face_recognition",
    "onnxruntime",
    "openvino",
    "numpy",
    "pillow",
    "pyarrow",
    "simplejpeg",
)
REPORT = "report.html"
NOT_SHOWN = ("inputs", "output", "conf")  # told elsewhere, or may hold a secret


def made_with(settings: Settings, identity: str, models: Mapping[str, str], started: datetime) -> dict[str, Any]:
    """What a document says of the run that it is of. identity: its settings_id; models: name -> sha256."""
    return {
        "settings": {name: value for name, value in asdict(settings).items() if name not in NOT_SHOWN},
        "settings_id": identity,
        "models": dict(models),
        "versions": versions(),
        "inputs": [hashed(text) if settings.hash_paths else without_secrets(text) for text in settings.inputs],
        "started": started.isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """The versions of what the figures were made with."""
    found: dict[str, Any] = {"python": platform.python_version(), "pyspark": pyspark.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def finished_run(output: FileSystem, uri: str) -> dict[str, Any]:
    """run.json of the latest run. Raises OutputError where there was none, or it has not finished."""
    if not output.exists("run.json"):
        raise OutputError(f"there is no finished output {uri}: give the folder that facemean run had as --output")
    run: dict[str, Any] = json.loads(output.read("run.json"))
    if not output.exists("mean.json") or json.loads(output.read("mean.json"))["started"] != run["started"]:
        raise OutputError(f"the latest run into {uri} has not finished: run it again first, it goes on from there")
    return run


def write_document(output: FileSystem, name: str, document: Mapping[str, Any]) -> None:
    """Replace a JSON file of the output, whole or not at all. Raises OutputError."""
    write_file(output, name, (json.dumps(document, indent=1) + "\n").encode())


def write_file(output: FileSystem, name: str, content: bytes) -> None:
    """Replace a file of the output, whole or not at all. Raises OutputError."""
    try:
        output.replace_file(name, content)
    except Py4JJavaError as error:
        raise OutputError(f"{output.uri}/{name} cannot be written: {reason(error)}") from None
