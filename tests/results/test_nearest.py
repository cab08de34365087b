"""The search by blocks finds what a search through all finds, with the same bits for any blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.results import nearest
from spark_job.results.nearest import close_pairs, distances, near_pairs, nearest_other, nearest_rows, squares

VECTOR = "`group` string, vector array<double>"


def some_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Vectors about as long and as far apart as the means of people."""
    return np.random.default_rng(seed).normal(0, 0.05, (count, 128))


def all_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


@given(count=st.integers(1, 6), others=st.integers(1, 6), seed=st.integers(0, 99), scale=st.sampled_from([0.05, 1.0]))
def test_squares_are_exact_integers(count, others, seed, scale):
    a, b = (np.clip(some_vectors(n, seed + n) / 0.05 * scale, -1.999, 1.999) for n in (count, others))
    whole_a, whole_b = ([[round(x * 2**20) for x in row] for row in vectors.tolist()] for vectors in (a, b))
    exact = [[sum((x - y) ** 2 for x, y in zip(row, other, strict=True)) for other in whole_b] for row in whole_a]
    assert np.vstack([some for _, some in squares(a, b)]).tolist() == exact


@given(cut=st.integers(0, 40))
def test_a_distance_has_the_same_bits_in_any_batch(cut):
    a, b = some_vectors(40, 1), some_vectors(40, 2)
    parts = [distances(a[part], b[part]) for part in (slice(cut), slice(cut, None))]
    assert np.concatenate(parts).tolist() == distances(a, b).tolist()
    np.testing.assert_allclose(distances(a, b), np.linalg.norm(a - b, axis=1), rtol=0, atol=1e-14)


def test_the_nearest_is_never_the_own_and_of_several_the_first():
    centres = np.vstack([some_vectors(1), some_vectors(1), some_vectors(1, 5)])
    rows, index, square = nearest_rows(centres, centres, np.array([0, 1, -1]))
    assert (rows.tolist(), index.tolist()) == ([0, 1, 2], [1, 0, 2])
    assert square.tolist() == [0, 0, 0]
    assert nearest_rows(centres[:2], centres[:1], np.array([0, -1]))[0].tolist() == [1]
    assert nearest_rows(centres, centres[:0], np.array([-1, -1, -1]))[0].size == 0


def test_close_pairs_are_the_nearest_within_the_bound_each_once(monkeypatch):
    monkeypatch.setattr(nearest, "ROWS_A_PRODUCT", 7)
    points = some_vectors(30)
    apart = all_distances(points, points)
    expected = sorted((apart[i, j], i, j) for i in range(30) for j in range(i + 1, 30) if apart[i, j] <= 0.8)
    assert len(expected) > 20
    rows, columns, _ = close_pairs(points, points, 0.8, 20, same=True)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(i, j) for _, i, j in expected[:20]]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows, and products of fewer."""
    monkeypatch.setattr(nearest, "ROWS_A_BLOCK", 11)
    monkeypatch.setattr(nearest, "ROWS_A_PRODUCT", 4)


def table(spark, vectors: np.ndarray, prefix: str = "g"):
    return spark.createDataFrame([(f"{prefix}{i:02}", row) for i, row in enumerate(vectors.tolist())], VECTOR)


@pytest.mark.slow
def test_the_nearest_other_group_is_that_of_a_search_through_all_in_any_blocks(spark, small_blocks, monkeypatch):
    means = some_vectors(40)
    means[7] = means[3]  # ties go to the first name
    groups = table(spark, means)
    found = {row.group: row for row in nearest_other(groups, ["group"], groups).collect()}
    apart = all_distances(means, means)
    np.fill_diagonal(apart, np.inf)
    assert {name: row.nearest for name, row in found.items()} == {
        f"g{i:02}": f"g{j:02}" for i, j in enumerate(apart.argmin(axis=1))
    }
    monkeypatch.setattr(nearest, "ROWS_A_BLOCK", 1000)
    assert {row.group: row for row in nearest_other(groups.repartition(3), ["group"], groups).collect()} == found
    assert nearest_other(groups.limit(1), ["group"], groups.limit(1)).count() == 0


@pytest.mark.slow
def test_near_pairs_are_the_nearest_of_all_pairs_within_a_table_and_between_two(spark, small_blocks):
    ours, theirs = some_vectors(25), some_vectors(30, 1)
    apart, within = all_distances(ours, theirs), all_distances(ours, ours)
    expected = sorted((apart[i, j], f"a{i:02}", f"b{j:02}") for i in range(25) for j in range(30))[:50]
    pairs = near_pairs(table(spark, ours, "a"), table(spark, theirs, "b"), 2.0, 50).collect()
    assert [(row.group, row.other) for row in pairs] == [(a, b) for _, a, b in expected]
    np.testing.assert_allclose([row.distance for row in pairs], [d for d, _, _ in expected], rtol=0, atol=1e-12)

    once = sorted((within[i, j], f"a{i:02}", f"a{j:02}") for i in range(25) for j in range(i + 1, 25))
    bound = once[30][0] + 1e-5
    pairs = near_pairs(table(spark, ours, "a"), None, bound, 1000).collect()
    assert [(row.group, row.other) for row in pairs] == [(a, b) for _, a, b in once[:31]]
