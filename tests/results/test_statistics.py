"""The statistics of the whole: numpy's, reproducible, and with an interval that means what it says."""

from datetime import UTC, datetime

import numpy as np
import pytest
from results.test_moments import real_like

from spark_job.results.bootstrap import over_groups
from spark_job.results.moments import DIMENSIONS, Moments
from spark_job.results.sample import PHOTOS_A_GROUP, labelled_sample
from spark_job.results.scatter import Scatter
from spark_job.results.statistics import FALLBACK, is_measured, statistics, threshold
from spark_job.row import SCHEMA

FACES = 400


def told(batch: np.ndarray, drawn: np.ndarray | None = None) -> dict:
    return statistics(Moments.of(batch), Scatter.of(batch), drawn, None)


def test_components_and_effective_dimension_are_those_of_the_covariance():
    stretched = real_like(FACES) * np.linspace(1, 0.1, DIMENSIONS, dtype=np.float32) + np.float32(0.1)
    found, exact = told(stretched), stretched.astype(np.float64)
    singular, right = np.linalg.svd(exact - exact.mean(axis=0))[1:]
    np.testing.assert_allclose(found["explained_variance_ratio"], singular**2 / (singular**2).sum(), atol=1e-7)
    for component, expected in zip(found["components"], right, strict=False):
        assert abs(np.dot(component, expected)) == pytest.approx(1, abs=1e-6)
        assert max(component, key=abs) > 0
    assert found["effective_dimension"] == pytest.approx((singular**2).sum() ** 2 / (singular**4).sum(), rel=1e-6)
    assert found["norm_of_mean"] == pytest.approx(np.linalg.norm(exact.mean(axis=0)))
    assert found["count"] == FACES


def test_what_a_collection_does_not_tell_is_null_and_not_made_up():
    one = told(real_like(1))
    assert one["covariance"] is one["bootstrap"] is one["effective_dimension"] is one["components"] is None
    alike = told(np.repeat(real_like(1), 3, axis=0))
    assert alike["effective_dimension"] is None
    assert alike["bootstrap"]["mean_distance"]["high"] == pytest.approx(0, abs=1e-7)


@pytest.mark.slow
def test_nineteen_of_twenty_collections_have_the_norm_of_all_in_their_interval():
    centre = np.linspace(-0.05, 0.1, DIMENSIONS)
    draws = (told((real_like(40, seed) + centre).astype(np.float32))["bootstrap"]["norm"] for seed in range(100))
    inside = sum(draw["low"] <= np.linalg.norm(centre) <= draw["high"] for draw in draws)
    assert 88 <= inside <= 99


def test_a_threshold_is_the_collections_own_and_else_a_default():
    thresholds = {"1e-3": {"threshold": 0.5}}
    of_its_own = {"verification": {kind: {"thresholds": thresholds} for kind in FALLBACK}}
    assert threshold(of_its_own, "templates") == 0.5
    assert is_measured(of_its_own, "means")
    for none in (None, {"verification": None}):
        assert threshold(none, "pairs") == 0.6
        assert not is_measured(none, "pairs")
    assert threshold(of_its_own, "means", "1e-4") == FALLBACK["means"]
    assert not is_measured(of_its_own, "means", "1e-4")


def test_other_draws_of_the_groups_lie_as_far_apart_as_the_groups_make_them(spark):
    draw = np.random.default_rng(3)
    means, counts = draw.normal(0, 0.1, (60, DIMENSIONS)), draw.integers(1, 9, 60)
    rows = [(f"g{i}", int(counts[i]), means[i].tolist()) for i in range(60)]
    groups = spark.createDataFrame(rows, "`group` string, count long, mean array<double>")
    drawn = over_groups(groups, 60)
    assert (drawn == over_groups(groups.orderBy("count").repartition(3), 60)).all(), "the same bits for any split"

    mean = counts @ means / counts.sum()
    resampled = draw.integers(0, 60, (1000, 60))
    expected = [counts[i] @ means[i] / counts[i].sum() for i in resampled]
    found, usual = (np.median(np.linalg.norm(np.array(x) - mean, axis=1)) for x in (drawn, expected))
    assert found == pytest.approx(usual, rel=0.1)
    assert over_groups(groups.limit(9), 9) is None


def test_a_sample_has_whole_groups_in_one_order_and_no_more_of_one_than_it_may(spark):
    faces, photos = [], []
    for i, vector in enumerate(real_like(180)):
        key = (f"file:/{i % 7}/{i:03}.jpg", 1, datetime(2024, 1, 1, tzinfo=UTC))
        group = None if i % 9 == 0 else "crowd" if i % 3 else f"g{i % 4}"
        photos.append((*key, group))
        face = (0, 1, 1, 0, "hog", 1.0, [], vector.tolist())
        faces.append((*key, group, "ok", None, 9, 9, 1, [face] * (i != 5), 1.0, 1.0, 1.0, "x", "cpu"))
    listing = spark.createDataFrame(photos, "path string, length long, modificationTime timestamp, `group` string")
    rows = spark.createDataFrame(faces, SCHEMA)
    found = labelled_sample(listing, rows.repartition(5))
    again = labelled_sample(listing.repartition(3), rows)
    assert (found.embeddings == again.embeddings).all()
    assert (found.groups == again.groups).all()
    names = sorted({photo[3] for photo in photos if photo[3]})
    sizes = [sum(photo[3] == name and number != 5 for number, photo in enumerate(photos)) for name in names]
    assert np.bincount(found.groups)[1:].tolist() == sizes[1:]
    assert PHOTOS_A_GROUP - 1 <= np.bincount(found.groups)[0] <= PHOTOS_A_GROUP < sizes[0]
