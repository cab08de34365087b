"""The covariance is exact: numpy's, in the same bits however the faces were split."""

import numpy as np
import pytest
from hypothesis import given
from results.test_moments import embeddings, real_like

from spark_job.results.moments import DIMENSIONS
from spark_job.results.scatter import ROWS_A_BLOCK, Scatter


def same(a: Scatter, b: Scatter) -> bool:
    return (a._products() == b._products()).all()


@given(embeddings, embeddings)
def test_merging_parts_is_taking_the_whole(a, b):
    assert same(Scatter.of(a) + Scatter.of(b), Scatter.of(np.concatenate([a, b])))


@given(embeddings)
def test_the_products_are_those_of_the_values_rounded_to_2_to_the_minus_20(batch):
    rounded = np.array([[round(float(value) * 2**20) for value in row] for row in batch], dtype=object)
    products = Scatter.of(batch)._products()
    if len(batch):
        assert (products[:DIMENSIONS, :DIMENSIONS] == rounded.T @ rounded).all()
        assert (products[-1, :DIMENSIONS] == rounded.sum(axis=0)).all()
    assert products[-1, -1] == len(batch)


@given(embeddings)
def test_a_scatter_survives_a_spark_row(batch):
    assert same(Scatter.from_bytes(Scatter.of(batch).to_bytes()), Scatter.of(batch))


def test_nothing_is_lost_at_2_to_the_23_rows_of_the_largest_values():
    largest = np.nextafter(np.float32(2), np.float32(0))
    whole = Scatter.of(np.full((ROWS_A_BLOCK, DIMENSIONS), largest))
    for _ in range(12):
        whole += whole
    assert (whole._products()[:DIMENSIONS, :DIMENSIONS] == 2**23 * 2**42).all()
    assert (whole.covariance() == 0).all()


def test_covariance_and_mean_norm_are_numpys():
    batch = real_like(3000) + np.linspace(-0.2, 0.2, DIMENSIONS, dtype=np.float32)
    exact = batch.astype(np.float64)
    np.testing.assert_allclose(Scatter.of(batch).covariance(), np.cov(exact.T), rtol=0, atol=1e-8)
    assert Scatter.of(batch).mean_norm() == pytest.approx(np.linalg.norm(exact, axis=1).mean(), abs=1e-6)


def test_one_embedding_has_no_covariance():
    assert Scatter.of(real_like(1)).covariance() is None
