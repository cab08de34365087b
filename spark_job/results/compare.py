"""Compare: whether two results differ by more than chance, which groups moved, and which photos changed."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_job.errors import OutputError, SettingsError
from spark_job.results.drift import Chance, Groups, Move, moves, over_faces, over_groups
from spark_job.results.output import reading
from spark_job.results.statistics import MIN_GROUPS
from spark_job.settings import IDENTITY

LEVEL = 0.01
FIRST = 10


class Changed(NamedTuple):
    """A photo whose status is another."""

    path: str
    a: str
    b: str


class Photos(NamedTuple):
    """Of photos, by path: how many are in both, only_a and only_b; changed: how many of those in both have another
    status, by 'ok -> no_face' and the like; first: some of them, by path."""

    both: int
    only_a: int
    only_b: int
    changed: dict[str, int]
    first: list[Changed]


@dataclass(frozen=True)
class Comparison:
    """What compare finds.

    verdict: same (the same mean of as many faces), within noise, or different: by chance alone, a distance as large has
    a probability below level. distance: of the means, Euclidean; standard_errors: that in standard errors of the
    difference of two collections that share no photo and whose photos are independent; chance: what it would be by
    chance alone. counts: of faces. settings: those that differ. groups: only_a, only_b and both, where both results
    have groups; moves: of the groups in both, the largest first.
    """

    a: str
    b: str
    verdict: str
    level: float
    distance: float
    standard_errors: float
    chance: Chance
    counts: tuple[int, int]
    settings: dict[str, tuple[Any, Any]]
    groups: dict[str, int] | None
    moves: list[Move]
    photos: Photos


class Side(NamedTuple):
    """One of the two: mean.json, statistics.json, groups/ where it has groups, and the photos' status by path."""

    uri: str
    mean: dict[str, Any]
    statistics: dict[str, Any]
    groups: Groups | None
    statuses: pa.Table


def compare(
    a: str, b: str, level: float = LEVEL, force: bool = False, master: str | None = None, conf: tuple[str, ...] = ()
) -> Comparison:
    """Compare the results at two URIs.

    level: how often two results that differ by chance alone come out different. force: compare them even if their
    models differ. master, conf: Spark's, where one lies on no disk.
    Raises OutputError where one holds no finished result, SettingsError where their models differ.
    """
    if not 0 < level < 1:
        raise SettingsError(f"--level {level} is no probability: give one between 0 and 1, such as {LEVEL}")
    one, other = (_side(uri, master, conf) for uri in (a, b))
    if not force:
        _check_models(one, other)
    return compared(one, other, level)


def compared(a: Side, b: Side, level: float = LEVEL) -> Comparison:
    """Compare what two results say."""
    is_same = all(a.mean[name] == b.mean[name] for name in ("mean_sha256", "count"))
    difference = np.subtract(a.mean["mean"], b.mean["mean"])
    error = np.hypot(a.mean["standard_error"], b.mean["standard_error"])
    chance = _chance(a, b, difference)
    distance = float(np.linalg.norm(difference))
    names = [set(side.groups.names) for side in (a, b) if side.groups]
    return Comparison(
        a=a.uri,
        b=b.uri,
        verdict="same" if is_same else "different" if chance.p < level else "within noise",
        level=level,
        distance=distance,
        standard_errors=distance / float(np.linalg.norm(error)),
        chance=chance,
        counts=(a.mean["count"], b.mean["count"]),
        settings={
            name: (a.mean["settings"][name], b.mean["settings"][name])
            for name in (*IDENTITY, "group_by")
            if a.mean["settings"][name] != b.mean["settings"][name]
        },
        groups=None
        if len(names) < 2
        else {
            "both": len(names[0] & names[1]),
            "only_a": len(names[0] - names[1]),
            "only_b": len(names[1] - names[0]),
        },
        moves=moves(a.groups, b.groups) if a.groups and b.groups else [],
        photos=_photos(a.statuses, b.statuses),
    )


def _side(uri: str, master: str | None, conf: tuple[str, ...]) -> Side:
    with reading(uri, master, conf) as output:
        mean, run, statistics = (output.document(name) for name in ("mean.json", "run.json", "statistics.json"))
        if not mean or not run or not statistics or run["started"] != mean["started"]:
            raise OutputError(f"{uri} holds no finished result: facemean show {uri} says how far it is")
        if mean["count"] < 2:
            raise OutputError(f"{uri} is of one face, which does not tell what chance does: compare results of more")
        groups = None
        if mean["settings"]["group_by"] != "none":
            groups = Groups.of(output.table("groups", ["group", "count", "mean", "standard_error"]))
        statuses = output.current("status").group_by("path").aggregate([("status", "min")])
        return Side(uri, mean, statistics, groups, statuses)


def _check_models(a: Side, b: Side) -> None:
    """Raise SettingsError where the embeddings of two results are no points of one space."""
    for name in sorted({*a.mean["models"], *b.mean["models"]}):
        digests = [side.mean["models"].get(name, "none")[:12] for side in (a, b)]
        # With a detector more, boxes differ; what is in them is embedded alike.
        if digests[0] != digests[1] and not (name == "cnn" and "none" in digests):
            raise SettingsError(
                f"{a.uri} and {b.uri} do not compare: their model {name!r} differs (sha256 {digests[0]} and "
                f"{digests[1]}). Run both with the same models and --landmarks, or compare them with --force"
            )


def _chance(a: Side, b: Side, difference: Any) -> Chance:
    """Over groups where both have them and there are enough, else over faces."""
    if a.groups and b.groups and len(np.union1d(a.groups.names, b.groups.names)) >= MIN_GROUPS:
        return over_groups(a.groups, b.groups)
    covariance = sum(np.divide(side.statistics["covariance"], side.mean["count"]) for side in (a, b))
    return over_faces(difference, covariance, a.mean["count"] + b.mean["count"])


def _photos(a: pa.Table, b: pa.Table) -> Photos:
    both = a.join(b, "path", join_type="inner", left_suffix="_a", right_suffix="_b")
    changed = both.filter(pc.not_equal(both["status_min_a"], both["status_min_b"])).sort_by("path")
    kinds = pc.binary_join_element_wise(changed["status_min_a"], changed["status_min_b"], " -> ").value_counts()
    first = [Changed(*row.values()) for row in changed[:FIRST].to_pylist()]
    counts = {kind["values"]: kind["counts"] for kind in kinds.to_pylist()}
    return Photos(len(both), len(a) - len(both), len(b) - len(both), dict(sorted(counts.items())), first)
