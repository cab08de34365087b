"""Standing: what the last run found is taken as it is where nothing that it rests on has changed since.

It rests on the photos listed, the rows of photos/, the settings, models, versions and this code; and what was written
of it is to lie there as it was written.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from py4j.protocol import Py4JJavaError

from spark_job.results.documents import write_document
from spark_job.results.moments import Moments
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import PACKAGE

NAME = "standing.json"
FILES = ("photos", "listing", "groups", "statistics.json")


class Found(NamedTuple):
    """What the rows of a run's photos come to: see Result, of which these are fields."""

    moments: Moments
    group_means: Moments | None
    photos: dict[str, int]
    failures: list[tuple[str, str, str]]
    processors: list[str]


def basis(output: FileSystem, made: Mapping[str, Any], digest: str) -> str:
    """sha256 of all that results rest on. made: see made_with; digest: of the listing."""
    sha = hashlib.sha256(json.dumps({**made, "started": None, "listing": digest}).encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        sha.update(path.read_bytes())
    for name in FILES:
        sha.update(output.states(name).encode() if output.exists(name) else b"")
    return sha.hexdigest()


def standing(output: FileSystem, basis: str) -> Found | None:
    """What the last run found, where it rests on the same."""
    try:
        kept = json.loads(output.read(NAME))
        if kept["basis"] != basis:
            return None
        means = kept["group_means"]
        return Found(
            _moments(kept["moments"]),
            None if means is None else _moments(means),
            kept["photos"],
            [(path, status, message) for path, status, message in kept["failures"]],
            kept["processors"],
        )
    except (Py4JJavaError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
        return None


def keep(output: FileSystem, basis: str, found: Found) -> None:
    """Replace standing.json. Raises OutputError."""
    moments, means = (None if of is None else _text(of) for of in (found.moments, found.group_means))
    write_document(output, NAME, {"basis": basis, **found._asdict(), "moments": moments, "group_means": means})


def _text(moments: Moments) -> str:
    return base64.b64encode(moments.to_bytes()).decode()


def _moments(text: str) -> Moments:
    return Moments.from_bytes(base64.b64decode(text, validate=True))
