"""Figures: what the report says in numbers and names, from the output alone."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_job.errors import OutputError
from spark_job.results.moments import DIMENSIONS
from spark_job.results.output import Output
from spark_job.row import FAILURES

SAMPLE = 20_000  # photos of which the distances are taken
MAPPED = 2_000  # of them are on the map
COLOURED = 6  # groups have a colour there
PHOTOS_SHOWN = 12  # that could not be used, and as many without a face
GROUPS_SHOWN = 12
SUSPECTS_SHOWN = 12  # of each verdict
GROUPS_LISTED = 2_000
STEPS = {"decode_ms": "decode", "detect_ms": "find and align faces", "embed_ms": "embed"}
WITHOUT_FACE = ("no_face", "several_faces")
VERDICTS = ("likely_mislabelled", "far", "duplicate", "ambiguous")
WRONG = ("likely_mislabelled", "far")  # verdicts that are shown with their pictures


class Photo(NamedTuple):
    """A photo without a face that counts."""

    path: str
    status: str
    message: str | None


class Step(NamedTuple):
    """Milliseconds that a step takes for a photo, in the median and at most for 95 of 100; share: of the whole time."""

    name: str
    median: float
    most: float
    share: float


@dataclass(frozen=True)
class Group:
    """A row of groups/; spread: the mean distance of its faces to its mean."""

    group: str
    count: int
    spread: float
    medoid: str
    nearest: str | None
    nearest_distance: float | None


@dataclass(frozen=True)
class Suspect:
    """A face that does not seem to belong to its group: a row of outliers/."""

    path: str
    face: int
    group: str
    count: int
    distance: float
    nearest_group: str | None
    nearest_distance: float | None
    verdict: str
    label_score: float


class Sizes(NamedTuple):
    """How many groups have from low to high faces."""

    low: int
    high: int
    groups: int


@dataclass(frozen=True)
class Figures:
    """What the report says.

    run, mean, statistics: the documents; failed, without_face: the first photos that could not be used, and the first
    in which no face counts; groups: the largest of n_groups; suspects: the worst faces of each of WRONG, None where
    nobody has looked for them; verdicts: how many there are of each; distances: of sampled faces to the mean of all;
    places: of some of them on the first two principal components, by group, those of no large group by ""; sampled:
    photos with a face, in the order of the seed; members: the same of each group that is shown.
    """

    run: dict[str, Any]
    mean: dict[str, Any]
    statistics: dict[str, Any] | None
    failed: list[Photo]
    without_face: list[Photo]
    steps: list[Step]
    groups: list[Group]
    n_groups: int
    sizes: list[Sizes]
    suspects: list[Suspect] | None
    verdicts: dict[str, int]
    distances: NDArray[np.float64]
    places: dict[str, NDArray[np.float64]]
    sampled: list[str]
    members: dict[str, list[str]]

    @property
    def largest(self) -> list[Group]:
        """The groups that are shown with their faces."""
        return [group for group in self.groups[:GROUPS_SHOWN] if group.count > 1]

    @property
    def n_failed(self) -> int:
        """Photos that could not be used."""
        return sum(self.mean["photos"][status] for status in FAILURES)

    @property
    def n_suspects(self) -> int:
        """Faces that do not seem to belong where they are."""
        return sum(self.verdicts[verdict] for verdict in WRONG)

    @property
    def distance_median(self) -> float:
        """Half of the faces lie nearer to the mean."""
        return float(np.median(self.distances))

    @property
    def is_hashed(self) -> bool:
        """Whether the output holds keyed hashes in place of names."""
        return bool(self.run["settings"]["hash_paths"])


def figures(output: Output, seed: int) -> Figures:
    """The figures of an output. seed: what is sampled is first by the hash of its path and this number.

    Raises OutputError where the latest run has not come to its end.
    """
    run, mean = finished(output)
    rows = output.current("status", "message", *STEPS)
    statistics = output.document("statistics.json")
    is_grouped = run["settings"]["group_by"] != "none"  # else groups/ is an earlier run's
    groups = _groups(output) if is_grouped else []
    suspects, verdicts = _suspects(output, rows) if is_grouped else (None, {})
    large = [group.group for group in groups[:COLOURED] if group.count > 1]
    with_face = rows.filter(pc.equal(rows["status"], "ok"))
    sampled = in_order(with_face["path"].to_pylist(), seed)[:SAMPLE]
    distances, places = _in_space(output.current("faces", paths=sampled), mean, statistics, sampled, large)
    return Figures(
        run=run,
        mean=mean,
        statistics=statistics,
        failed=_photos(rows, FAILURES),
        without_face=_photos(rows, WITHOUT_FACE),
        steps=_steps(rows),
        groups=groups[:GROUPS_LISTED],
        n_groups=len(groups),
        sizes=_sizes([group.count for group in groups]),
        suspects=suspects,
        verdicts=verdicts,
        distances=distances,
        places=places,
        sampled=sampled,
        members=_members(with_face, groups, suspects or [], seed),
    )


def finished(output: Output) -> tuple[dict[str, Any], dict[str, Any]]:
    """run.json and mean.json of the latest run. Raises OutputError where it has not come to its end."""
    run, mean = output.document("run.json"), output.document("mean.json")
    if run is None or mean is None or any(run[name] != mean[name] for name in ("settings_id", "started")):
        raise OutputError(f"the latest run into {output.uri} has not come to its end: run it again, then report")
    return run, mean


def in_order(paths: Sequence[str], seed: int) -> list[str]:
    """Paths in an order of the seed's own: the first n are a sample of n, which more photos change but little."""
    return sorted(paths, key=lambda path: hashlib.sha256(f"{seed}:{path}".encode()).digest())


def _photos(rows: pa.Table, statuses: Sequence[str]) -> list[Photo]:
    """The first photos of these statuses."""
    some = rows.select(["path", "status", "message"]).filter(pc.is_in(rows["status"], pa.array(statuses)))
    return [Photo(**row) for row in some[:PHOTOS_SHOWN].to_pylist()]


def _steps(rows: pa.Table) -> list[Step]:
    total = sum(pc.sum(rows[column]).as_py() or 0 for column in STEPS) or 1
    steps = []
    for column, name in STEPS.items():
        median, most = pc.quantile(rows[column], [0.5, 0.95]).to_pylist()
        steps.append(Step(name, median, most, (pc.sum(rows[column]).as_py() or 0) / total))
    return steps


def _groups(output: Output) -> list[Group]:
    """The groups, the largest first."""
    table = output.table("groups", columns_of(Group)).sort_by([("count", "descending"), ("group", "ascending")])
    return [Group(**row) for row in table.to_pylist()]


def _suspects(output: Output, rows: pa.Table) -> tuple[list[Suspect] | None, dict[str, int]]:
    """The worst faces that do not belong where they are, and how many have each verdict; None where nobody has looked.

    Of the photos of the latest run: outliers/ may be older.
    """
    if not output.exists("outliers"):
        return None, {}
    table = output.table("outliers", columns_of(Suspect)).join(
        rows.select(["path", "group"]), ["path", "group"], join_type="left semi"
    )
    found = {verdict: pc.sum(pc.equal(table["verdict"], verdict)).as_py() or 0 for verdict in VERDICTS}
    table = table.sort_by([("label_score", "ascending"), ("path", "ascending"), ("face", "ascending")])
    of_each = [table.filter(pc.equal(table["verdict"], verdict))[:SUSPECTS_SHOWN] for verdict in WRONG]
    return [Suspect(**row) for row in pa.concat_tables(of_each).to_pylist()], found


def _members(with_face: pa.Table, groups: list[Group], suspects: list[Suspect], seed: int) -> dict[str, list[str]]:
    """The photos of each group that is shown, in the order of the seed."""
    shown = {group.group for group in groups[:GROUPS_SHOWN]}
    for suspect in suspects:
        shown |= {suspect.group, suspect.nearest_group or suspect.group}
    some = with_face.filter(pc.is_in(with_face["group"], pa.array(shown, pa.string())))
    members: dict[str, list[str]] = {group: [] for group in sorted(shown)}
    for path, group in zip(some["path"].to_pylist(), some["group"].to_pylist(), strict=True):
        members[group].append(path)
    return {group: in_order(paths, seed) for group, paths in members.items()}


def columns_of(kind: type[Group | Suspect]) -> list[str]:
    """The columns of a table that rows of this kind have."""
    return [column.name for column in fields(kind)]


def _sizes(counts: list[int]) -> list[Sizes]:
    """Groups by size: 1, 2, 3 to 4, 5 to 8, ..."""
    found: dict[int, int] = defaultdict(int)
    for count in counts:
        found[(count - 1).bit_length()] += 1
    return [
        Sizes(2 ** (bits - 1) + 1 if bits else 1, 2**bits, found[bits]) for bits in range(max(found, default=-1) + 1)
    ]


def _in_space(
    rows: pa.Table, mean: dict[str, Any], statistics: dict[str, Any] | None, sampled: list[str], large: list[str]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Distances of the faces of rows to the mean, and where those of the first sampled lie on the map."""
    counts = pc.list_value_length(rows["faces"]).to_numpy()
    flat = pc.list_flatten(pc.struct_field(pc.list_flatten(rows["faces"]), "embedding"))
    centred = flat.to_numpy().reshape(-1, DIMENSIONS) - np.array(mean["mean"])
    components = (statistics or {}).get("components")
    if components is None:
        return np.linalg.norm(centred, axis=1), {}
    mapped = np.repeat(pc.is_in(rows["path"], pa.array(sampled[:MAPPED])).to_numpy(zero_copy_only=False), counts)
    place = centred[mapped] @ np.array(components).T
    names = np.repeat(np.array(rows["group"].to_pylist(), object), counts)[mapped]
    rest = ~np.isin(names, large)
    places = {"": place[rest]} | {name: place[names == name] for name in large}
    return np.linalg.norm(centred, axis=1), {name: some for name, some in places.items() if len(some)}
