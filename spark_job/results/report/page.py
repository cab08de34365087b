"""Page: figures and pictures -> one HTML page that needs nothing but itself."""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from spark_job.console import printable
from spark_job.results.report.charts import Chart, histogram, scatter
from spark_job.results.report.figures import BINS, Figures
from spark_job.results.report.pictures import Face, Pictures
from spark_job.settings import Settings, flag, options

KINDS = {"pairs": "two faces", "templates": "a face and a group's mean", "means": "two means"}
HASH_SHOWN = 12  # digits of a name's hash


def page(uri: str, found: Figures, pictures: Pictures, faces: bool) -> str:
    """The page of an output. faces: whether it has pictures of people."""
    return environment(found.is_hashed).get_template("report.html.j2").render(
        uri=uri,
        found=found,
        pictures=pictures,
        faces=faces,
        Face=Face,
        run=found.run,
        mean=found.mean,
        statistics=found.statistics or {},
        charts=_charts(found, faces),
        kinds=KINDS,
        command=command(found.run),
        **assets(),
    )


def environment(is_hashed: bool = False) -> Environment:
    """Jinja's, with all that is not markup of ours escaped, and an error for what is not defined."""
    made = Environment(
        loader=PackageLoader("spark_job.results.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"name": _hash if is_hashed else printable, "day": _day, "share": _share}
    return made


def assets() -> dict[str, Any]:
    """style and script as they stand in the page, and the policy that allows these and nothing else."""
    style, script = ((files(__package__) / name).read_text() for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}  # noqa: S704 files of this package


def command(run: dict[str, Any]) -> str:
    """The command line that makes this run once more."""
    words = ["facemean", "run", *(["INPUT"] if run["settings"]["hash_paths"] else run["inputs"]), "--output", "OUTPUT"]
    for option in options():
        value = run["settings"].get(option.name, option.default)
        if option.name in ("master", "repair") or value == option.default:
            continue
        words += [flag(option)] if value is True else [flag(option), str(value)]
    return shlex.join(words)


def _charts(found: Figures, faces: bool) -> dict[str, Chart]:
    """The charts that there are figures for."""
    counts, edges = np.histogram(found.distances, BINS, (0, max(found.distances.max() * 1.02, 0.1)))
    charts = {"distances": histogram(edges.tolist(), {"faces": counts.tolist()}, "distance to the mean of all")}
    verification = (found.statistics or {}).get("verification") or {}
    for kind in KINDS:
        if kind in verification:
            told = verification[kind]
            bars, at = told["histogram"], told["thresholds"].get("1e-3")
            charts[kind] = histogram(
                bars["edges"],
                {"one group": bars["genuine"], "two groups": bars["impostor"]},
                f"distance of {KINDS[kind]}",
                {f"threshold {at['threshold']:.3f}": at["threshold"]} if at else {},
            )
    if faces and found.places:
        charts["map"] = scatter(found.places, "first principal component", "second")
    return charts


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _hash(name: str) -> str:
    return f"{name[:HASH_SHOWN]}…"


def _day(text: str) -> str:
    return f"{datetime.fromisoformat(text):%-d %B %Y}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "0 %"
