"""Comparison: what compare found, as a script and as a person read it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from spark_job.console import printable
from spark_job.results.compare import FIRST, Comparison


def document(found: Comparison) -> dict[str, Any]:
    """As JSON has it: of the moves, the first."""
    named = {"chance": found.chance._asdict(), "photos": found.photos._asdict()}
    named["photos"]["first"] = [changed._asdict() for changed in found.photos.first]
    return asdict(found) | named | {"moves": [move._asdict() for move in found.moves[:FIRST]]}


def shown(found: Comparison) -> Iterator[Table | str]:
    """The verdict and what it rests on, then what differs."""
    yield f"{found.verdict}: {_test(found)}"
    yield (
        f"the means of {found.counts[0]:,} and {found.counts[1]:,} faces are {found.distance:.4f} apart: "
        f"{found.standard_errors:.2f} standard errors; {found.chance.distance:.4f} by chance alone"
    )
    for name, (a, b) in found.settings.items():
        yield f"setting {name.replace('_', ' ')}: {a} -> {b}"
    if found.groups:
        yield f"groups: {_in_each(found.groups)}"
    if found.moves:
        yield _moves(found)
    yield f"photos: {_in_each(found.photos._asdict())}" + "".join(
        f"; {count:,} {kind}" for kind, count in found.photos.changed.items()
    )
    for path, a, b in found.photos.first:
        yield f"  {a} -> {b}: {printable(path)}"


def _test(found: Comparison) -> str:
    chance = found.chance
    if found.verdict == "same":
        return "the same mean, bit for bit, of as many faces"
    than = "less" if found.verdict == "different" else "no less"
    return f"p = {chance.p:.4f} over {chance.units:,} {chance.over}, {than} than {found.level:g}"


def _in_each(counts: dict[str, Any]) -> str:
    return f"{counts['both']:,} in both, {counts['only_a']:,} only in A, {counts['only_b']:,} only in B"


def _moves(found: Comparison) -> Table:
    table = Table("moved most", show_edge=False)
    for column in ("faces in A", "in B", "distance", "standard errors"):
        table.add_column(column, justify="right")
    for move in found.moves[:FIRST]:
        errors = "" if move.standard_errors is None else f"{move.standard_errors:.1f}"
        counts = f"{move.count_a:,}", f"{move.count_b:,}"
        table.add_row(Text(printable(move.group)), *counts, f"{move.distance:.4f}", errors)
    return table
