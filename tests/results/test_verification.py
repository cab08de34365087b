"""How far apart is apart: what every comparison by itself, without a block, a bin or a budget, comes to."""

import numpy as np
import pytest

from spark_job.results import rates
from spark_job.results import verification as module
from spark_job.results.moments import DIMENSIONS
from spark_job.results.rates import BINS_A_UNIT, Vectors, bootstrap, impostors
from spark_job.results.verification import Sample, leave_one_out, verification


def people(n: int, faces: int, seed: int = 0, apart: float = 0.09) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of n people, of 1 to so many faces each, and the number of the person of each."""
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), 1 + np.arange(n) % faces)
    centres = draw.normal(0, apart, (n, DIMENSIONS))
    return (centres[groups] + draw.normal(0, 0.045, (len(groups), DIMENSIONS))).astype(np.float32), groups


def check(found: dict, genuine: np.ndarray, others: np.ndarray) -> None:
    """That thresholds and rates are those of the distances themselves, but for the width of a bin."""
    genuine, others = np.sort(genuine), np.sort(others)
    for rate, told in found["thresholds"].items():
        threshold = others[int(float(rate) * len(others))]
        assert threshold - 1.1 / BINS_A_UNIT <= told["threshold"] <= threshold
        assert told["true_match_rate"] == pytest.approx((genuine < threshold).mean(), abs=0.01)
        assert told["low"] - 1 / BINS_A_UNIT <= told["threshold"] <= told["high"]
    at = np.linspace(0, 2, 20001)
    false_matches = np.searchsorted(others, at) / len(others)
    misses = 1 - np.searchsorted(genuine, at) / len(genuine)
    crossing = np.abs(false_matches - misses).argmin()
    assert found["equal_error_rate"] == pytest.approx((false_matches[crossing] + misses[crossing]) / 2, abs=0.005)


def test_thresholds_and_rates_are_those_of_all_comparisons_one_by_one():
    x, groups = people(150, 5, apart=0.05)
    found = verification(x, groups)
    exact = x.astype(np.float64)
    distances = np.array([np.linalg.norm(exact - face, axis=1) for face in exact])
    same, once = groups[:, None] == groups, np.triu(np.ones_like(distances, dtype=bool), 1)
    genuine, others = distances[same & once], distances[~same & once]
    assert (found["pairs"]["genuine"], found["pairs"]["impostor"]) == (len(genuine), len(others))
    assert list(found["pairs"]["thresholds"]) == ["1e-3", "1e-4"]
    check(found["pairs"], genuine, others)

    templates = np.array([exact[groups == group].mean(axis=0) for group in range(150)])
    several = [i for i in range(len(x)) if (groups == groups[i]).sum() > 1]
    own = [
        np.linalg.norm(exact[i] - np.delete(exact, i, 0)[np.delete(groups, i) == groups[i]].mean(axis=0))
        for i in several
    ]
    theirs = [np.delete(np.linalg.norm(exact[i] - templates, axis=1), groups[i]) for i in several]
    assert (found["templates"]["genuine"], found["templates"]["impostor"]) == (len(own), len(own) * 149)
    check(found["templates"], own, np.concatenate(theirs))
    nearest = [mine < other.min() for mine, other in zip(own, theirs, strict=True)]
    assert found["templates"]["rank_1"] == np.mean(nearest)
    assert (found["means"]["genuine"], found["means"]["impostor"]) == (120, 120 * 119)
    assert (found["groups"], found["groups_of_two_or_more"], found["faces"]) == (150, 120, len(x))


def test_a_person_of_many_photos_weighs_as_one_of_ten(monkeypatch):
    x, groups = people(30, 3)
    crowd = np.repeat(x[:1], 400, axis=0) + np.random.default_rng(1).normal(0, 0.2, (400, DIMENSIONS)).astype(
        np.float32
    )
    found = verification(np.concatenate([x, crowd]), np.concatenate([groups, np.zeros(400, int)]))
    assert found["pairs"]["genuine"] == verification(x, groups)["pairs"]["genuine"] + 45
    assert found["faces"] == len(x) + 400


def test_with_a_budget_and_blocks_rates_are_near_those_of_all(monkeypatch):
    x, groups = people(400, 6)
    whole = verification(x, groups)
    monkeypatch.setattr(rates, "BLOCK", 2**12)
    blocks = verification(x, groups)
    for kind in ("pairs", "templates", "means"):
        assert blocks[kind]["thresholds"] == whole[kind]["thresholds"]
    monkeypatch.setattr(module, "MAX_COMPARISONS", 2**17)
    some = verification(x, groups)
    assert some["templates"]["impostor"] <= 2**17
    for kind in ("pairs", "templates", "means"):
        assert some[kind]["thresholds"]["1e-3"]["threshold"] == pytest.approx(
            whole[kind]["thresholds"]["1e-3"]["threshold"], abs=0.04
        )


def test_what_is_told_is_the_same_for_every_call():
    x, groups = people(60, 4)
    assert verification(x, groups) == verification(x.copy(), groups.copy())


def test_nothing_is_told_of_few_people_nor_a_threshold_of_few_false_matches():
    x, groups = people(14, 3)  # 9 of them have two faces or more
    assert verification(x, groups) is None
    assert verification(x[:0], groups[:0]) is None
    found = verification(*people(16, 3))
    assert found["pairs"]["thresholds"] == found["means"]["thresholds"] == {}
    assert 0 <= found["templates"]["rank_1"] <= 1


def test_an_interval_is_of_people_and_not_of_pairs():
    """Few people with many faces each: the interval is as wide as that of few comparisons."""
    few, groups = people(40, 1, apart=0.06)
    faces = Vectors(np.repeat(few, 20, axis=0).astype(np.float64), np.repeat(groups, 20))
    once = Vectors(few.astype(np.float64), groups)
    [many], [one] = (bootstrap(impostors(v, v).near, v.groups, v.groups, [0.002]) for v in (faces, once))
    assert many[1] - many[0] == pytest.approx(one[1] - one[0], abs=0.02)
    assert many[1] - many[0] > 0.01


def test_the_mean_without_a_face_is_the_mean_of_the_others():
    x, groups = people(20, 5)
    sample = Sample.of(x, groups)
    i = int(np.flatnonzero(sample.counts[sample.faces.groups] == 5)[2])
    rest = (sample.faces.groups == sample.faces.groups[i]) & (np.arange(len(x)) != i)
    expected = np.linalg.norm(sample.faces.vectors[i] - sample.faces.vectors[rest].mean(axis=0))
    own = np.linalg.norm(sample.faces.vectors[i] - sample.means[sample.faces.groups[i]])
    assert leave_one_out(own, np.int64(5)) == pytest.approx(expected, abs=1e-12)
