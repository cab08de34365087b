"""Match: whose face is it: photos against the groups of an output."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import InputError, ModelError, OutputError
from spark_job.faces.engine import load, model_names
from spark_job.faces.models import digests
from spark_job.faces.photo import encode_photos
from spark_job.results.output import Output, reading
from spark_job.results.statistics import is_measured, threshold
from spark_job.settings import Settings

NEAREST = 5


class Groups(NamedTuple):
    """The templates of an output: names, how many faces each is of, their means (n, 128)."""

    names: list[str]
    counts: list[int]
    means: NDArray[np.float64]


def match(
    photos: Sequence[str],
    against: str,
    nearest: int = NEAREST,
    master: str | None = None,
    conf: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The nearest groups of an output for each face of local photos, encoded as that output's photos were.

    Gives photos: path, status, message and faces, each with its box, a verdict and its nearest groups (group, count,
    distance); thresholds; and is_measured, whether they are that output's own. The verdict is match below a distance at
    which 99 of 100 searches for a face that is in no group find none, possible below one at which 999 of 1,000 single
    comparisons of a face with another group find them different, else unknown.
    master, conf: Spark's, for an output that lies on no disk. Raises InputError, OutputError, ModelError.
    """
    files = [_file(photo) for photo in photos]
    with reading(against, master, conf) as output:
        settings, groups = _settings(output), _groups(output)
        statistics = output.document("statistics.json")
    thresholds = {
        "match": threshold(statistics, "search", "1e-2"),
        "possible": threshold(statistics, "templates", "1e-3"),
    }
    engine = load(settings)
    # One at a time: an embedding has the same bits in any batch, and photos may be many.
    rows = (encode_photos([_read(path)], settings, engine)[0] for path in files)
    return {
        "against": against,
        "thresholds": thresholds,
        "is_measured": is_measured(statistics, "search", "1e-2"),
        "photos": [
            {
                "path": str(path),
                **{name: row[name] for name in ("status", "message")},
                "faces": list(_faces(row["faces"], groups, nearest, thresholds)),
            }
            for path, row in zip(files, rows, strict=True)
        ],
    }


def _file(photo: str) -> Path:
    path = Path(photo)
    if not path.is_file():
        raise InputError(f"{photo!r} is no file: give photos that lie on this machine")
    return path


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    modified_us = path.stat().st_mtime_ns // 1000
    return {"path": str(path), "length": len(content), "modified_us": modified_us, "group": None, "content": content}


def _settings(output: Output) -> Settings:
    """Those that the output's rows were made with. Raises ModelError where this machine's models are others."""
    document = output.document("mean.json")
    if document is None:
        raise OutputError(f"{output.uri} has no mean.json yet: finish its run first")
    settings = Settings(inputs=("none",), output=output.uri, **document["settings"])
    here = digests(model_names(settings))
    others = [name for name in document["models"] if here.get(name) != document["models"][name]]
    if others:
        raise ModelError(
            f"{output.uri} was made with other model files ({', '.join(others)}) than are installed here, and "
            "embeddings of two models do not compare: install those, or run again into a new output"
        )
    return settings


def _groups(output: Output) -> Groups:
    if not output.exists("groups"):
        raise OutputError(f"{output.uri} has no groups to match against: run it with --group-by parent, say")
    rows = output.table("groups", ["group", "count", "mean"]).sort_by("group")  # so that ties are in one order
    means = rows["mean"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    return Groups(rows["group"].to_pylist(), rows["count"].to_pylist(), means)


def _faces(
    faces: Sequence[dict[str, Any]], groups: Groups, nearest: int, thresholds: dict[str, float]
) -> Iterator[dict[str, Any]]:
    for face in faces:
        distances = np.linalg.norm(groups.means - np.asarray(face["embedding"], dtype=np.float64), axis=1)
        order = np.argsort(distances, kind="stable")[:nearest].tolist()
        yield {
            **{side: face[side] for side in ("top", "right", "bottom", "left")},
            "verdict": next((word for word, bound in thresholds.items() if distances[order[0]] <= bound), "unknown"),
            "nearest": [
                {"group": groups.names[i], "count": groups.counts[i], "distance": float(distances[i])} for i in order
            ],
        }
