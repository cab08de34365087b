"""The sums are exact: no order, partitioning or repetition changes a bit."""

import itertools
import operator
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_job.results.moments import DIMENSIONS, FRACTION_BITS, ROWS_A_PARTIAL, Moments
from spark_job.results.sums import NOTHING, Sums, by_group, total

values = st.floats(-1.9990234375, 1.9990234375, width=32)
embeddings = st.integers(0, 6).flatmap(lambda n: arrays(np.float32, (n, DIMENSIONS), elements=values, fill=values))


def real_like(n: int, seed: int = 0) -> np.ndarray:
    """Embeddings spread as faces' are: float32 (n, 128)."""
    return np.random.default_rng(seed).normal(0, 0.12, (n, DIMENSIONS)).clip(-1.9, 1.9).astype(np.float32)


@given(embeddings, embeddings, embeddings)
def test_merging_is_associative_and_commutative_and_has_a_zero(a, b, c):
    x, y, z = map(Moments.of, (a, b, c))
    assert (x + y) + z == x + (y + z)
    assert x + y == y + x
    assert x + Moments() == x


@given(embeddings, embeddings)
def test_merging_parts_is_taking_the_whole(a, b):
    assert Moments.of(a) + Moments.of(b) == Moments.of(np.concatenate([a, b]))


@given(embeddings)
def test_a_sum_is_that_of_the_values_rounded_to_2_to_the_minus_40(batch):
    rounded = [[round(float(value) * 2**FRACTION_BITS) for value in column] for column in batch.T]
    assert Moments.of(batch).sums == tuple(map(sum, rounded))
    assert Moments.of(batch).squares == tuple(sum(value * value for value in column) for column in rounded)


@given(embeddings)
def test_moments_survive_a_spark_row(batch):
    assert Moments.from_bytes(Moments.of(batch).to_bytes()) == Moments.of(batch)


def test_nothing_overflows_at_2_to_the_22_rows_of_the_largest_values():
    largest = np.nextafter(np.float32(2), np.float32(0))
    block = np.broadcast_to(np.float32([[largest, -largest] * (DIMENSIONS // 2)]), (ROWS_A_PARTIAL, DIMENSIONS))
    partial = Moments.of(block)
    whole = reduce(operator.add, itertools.repeat(partial, 2**22 // ROWS_A_PARTIAL))
    fixed = round(float(largest) * 2**FRACTION_BITS)
    assert whole.count == 2**22
    assert whole.sums == (2**22 * fixed, -(2**22) * fixed) * (DIMENSIONS // 2)
    assert whole.squares == (2**22 * fixed**2,) * DIMENSIONS
    assert (whole.mean() == [largest, -largest] * (DIMENSIONS // 2)).all()
    assert Moments.from_bytes(whole.to_bytes()) == whole


def test_mean_std_and_standard_error_are_numpys():
    batch = real_like(3000)
    exact = batch.astype(np.float64)
    moments = Moments.of(batch)
    np.testing.assert_allclose(moments.mean(), exact.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(moments.std(), exact.std(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(moments.standard_error(), exact.std(axis=0, ddof=1) / 3000**0.5, rtol=0, atol=1e-12)


def test_std_keeps_its_digits_where_the_values_hardly_differ():
    batch = (
        np.float32(1.5)
        + np.arange(8, dtype=np.float32)[:, None] * np.float32(2**-22)
        + np.zeros((8, DIMENSIONS), np.float32)
    )
    np.testing.assert_allclose(Moments.of(batch).std(), batch.astype(np.float64).std(axis=0), rtol=1e-12)


def test_one_embedding_has_no_standard_error():
    assert Moments.of(real_like(1)).standard_error() is None
    assert (Moments.of(real_like(1)).std() == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0, 1e16])
def test_a_value_that_no_face_has_is_refused(value):
    batch = real_like(3)
    batch[1, 7] = value
    with pytest.raises(ValueError, match="finite"):
        Moments.of(batch)


def rows_of(spark: SparkSession, batch: np.ndarray, groups: int = 3):
    """Rows of a photos table, one face each; the last has none and the first two are one row."""
    faces = [[vector.tolist()] for vector in batch]
    rows = [(f"g{i % groups}", face) for i, face in enumerate(faces)] + [("g0", []), (None, faces[0])]
    flat = spark.createDataFrame(rows, "`group` string, embeddings array<array<float>>")
    return flat.select("group", F.transform("embeddings", lambda e: F.struct(e.alias("embedding"))).alias("faces"))


@pytest.mark.slow
def test_mean_and_covariance_have_the_same_bits_for_any_partitioning(spark):
    batch = real_like(200)
    rows = rows_of(spark, batch)
    expected = Sums.of(np.concatenate([batch, batch[:1]]))
    for split in (*(rows.repartition(n) for n in (1, 2, 7, 150)), rows.orderBy(F.rand(3))):
        found = total(split)
        assert found.moments == expected.moments
        assert (found.scatter.covariance() == expected.scatter.covariance()).all()


def test_each_group_has_the_moments_of_its_own_faces(spark, monkeypatch):
    batch = real_like(90)
    for partitions in (1, 5):
        found = {row.group: row for row in by_group(rows_of(spark, batch, 30).repartition(partitions)).collect()}
        assert sorted(found) == sorted(f"g{i}" for i in range(30))
        for i in range(30):
            expected = Moments.of(batch[i::30])
            assert found[f"g{i}"]["count"] == 3
            assert found[f"g{i}"].mean == expected.mean().tolist()
            assert found[f"g{i}"].std == expected.std().tolist()
            assert found[f"g{i}"].standard_error == expected.standard_error().tolist()


def test_the_mean_of_no_rows_is_not_made_up(spark):
    assert total(rows_of(spark, real_like(1)).where("false")) == NOTHING
