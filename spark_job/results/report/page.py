"""Page: figures and pictures -> one HTML page that needs nothing but itself."""

import base64
import hashlib
import posixpath
import shlex
from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from spark_job.console import printable
from spark_job.results.report.charts import Chart, histogram, scatter
from spark_job.results.report.figures import Figures
from spark_job.results.report.pictures import MAX_ARCHIVES, WHOLE, Face, Pictures
from spark_job.settings import flag, options

KINDS = {"pairs": "two faces", "templates": "a face and a group's mean"}
MEANINGS = {
    "ok": "a face that counts was found",
    "no_face": "no face was found",
    "several_faces": "several faces, where only one was wanted",
    "unreadable": "the file is damaged or could not be read",
    "truncated": "the file ends before its image does",
    "empty": "the file has no bytes",
    "too_large": "more pixels or bytes than allowed",
    "unsupported": "not a JPEG, PNG, WebP, BMP, GIF or TIFF",
    "timed_out": "took longer than allowed",
    "crashed": "ended the process that read it",
}
VERDICTS = {
    "likely_mislabelled": "likely mislabelled",
    "far": "far from every group",
    "duplicate": "duplicates",
    "ambiguous": "ambiguous",
}
WORDS = {
    "Embedding": "128 numbers that a network makes of a face: near each other for one person, far apart for two.",
    "Distance": "of two embeddings: Euclidean. 0 is the same picture; two people are usually more than 0.6 apart.",
    "Mean": "the average of embeddings, number by number. It is no face; it is shorter the more people it mixes.",
    "Norm": "the length of an embedding or of a mean.",
    "Another draw": "as many people or photos taken anew by chance: how much of the result is chance (bootstrap).",
    "Medoid": "the photo whose face is nearest to its group's mean: the most typical one.",
    "Spread": "the mean distance of a group's faces to its mean.",
    "Threshold": "the distance below which two are taken for one person; here, wrongly once in a thousand times.",
    "Equal error rate": "where as many of one person are missed as of two people are taken for one.",
    "Principal components": "the directions in which embeddings vary most.",
    "Effective dimension": "in how many directions they vary, 128 if equally in all, 1 if on a line.",
    "sha256": "a fingerprint of a file or a number: two that are equal have the same.",
}
NOT_SHOWN = ("master", "checksum", "hash_paths", "repair")  # settings that say nothing of the result
BINS = 40
HASH_SHOWN = 12  # digits of a name's hash


def page(uri: str, found: Figures, pictures: Pictures, faces: bool, seed: int) -> str:
    """The page of an output. faces: whether it has pictures of people; seed: that chose them."""
    folder = folder_of(found)
    return render(
        "report.html.j2",
        _hash if found.is_hashed else printable,
        folder,
        uri=uri,
        found=found,
        pictures=pictures,
        faces=faces,
        seed=seed,
        Face=Face,
        whole=WHOLE,
        max_archives=MAX_ARCHIVES,
        run=found.run,
        mean=found.mean,
        statistics=found.statistics or {"bootstrap": None, "verification": None},
        charts=_charts(found, faces),
        kinds=KINDS,
        meanings=MEANINGS,
        verdicts=VERDICTS,
        words=WORDS,
        command=command(found.run),
        shown_settings={k: v for k, v in found.run["settings"].items() if k not in NOT_SHOWN},
    )


def folder_of(found: Figures) -> str:
    """The folder or archive that all photos lie in that the page names."""
    photos = [photo.path for photo in (*found.failed, *found.without_face, *(found.suspects or ()))]
    photos += [group.medoid for group in found.largest]
    shared: str = posixpath.commonprefix([path[: path.rfind("/") + 1] for path in photos])
    return shared[: shared.rfind("/") + 1]


def render(template: str, name: Callable[[str], str] = printable, folder: str = "", **values: Any) -> str:
    """A page: all that is no markup of ours is escaped, and what is not defined is an error.

    name: how names are shown; folder: what is left out before those of photos.
    """
    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "name": name,
        "path": lambda path: name(path.removeprefix(folder)),
        "printable": printable,
        "plural": _plural,
        "day": _day,
        "share": _share,
    }
    style, script = _asset("style.css"), _asset("script.js")
    # Nothing from outside, and no script or style but these.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"style": Markup(style), "script": Markup(script)}  # noqa: S704 files of this package
    text: str = environment.get_template(template).render(policy=policy, folder=folder, **own, **values)
    return text


def _asset(name: str) -> str:
    return (files("spark_job.results.report") / name).read_text(encoding="utf-8")


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


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
