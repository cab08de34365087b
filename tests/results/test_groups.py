"""groups/: how far the faces of a group lie from its mean, which is nearest to it, and which group is next."""

import numpy as np
import pytest

from spark_job.results.groups import COLUMNS, spreads, write_groups
from spark_job.results.sums import by_group
from spark_job.spark.hadoop import FileSystem

ROWS = (
    "path string, length long, modificationTime timestamp, `group` string, faces array<struct<embedding: array<float>>>"
)


@pytest.fixture
def people(spark):
    """40 photos of 6 people and one of nobody's: rows, and (path, group, embedding) of each face."""
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 0.05, (6, 128))
    faces = [(f"p{i:02}", f"g{i % 6}", centres[i % 6] + rng.normal(0, 0.02, 128)) for i in range(40)]
    faces = [(path, group, np.float32(vector)) for path, group, vector in faces]
    rows = [(path, 1, None, group, [(vector.tolist(),)]) for path, group, vector in faces]
    return spark.createDataFrame(
        [*rows, ("q", 1, None, None, [(faces[0][2].tolist(),)]), ("r", 1, None, "g0", [])], ROWS
    ), faces


def test_spread_and_medoid_are_those_of_numpy_and_the_medoid_is_the_medoid(people):
    rows, faces = people
    means = by_group(rows)
    found = {row.group: row for row in spreads(rows, means).collect()}
    assert set(found) == {group for _, group, _ in faces}
    for group, row in found.items():
        paths = [path for path, of, _ in faces if of == group]
        vectors = np.array([vector for _, of, vector in faces if of == group], dtype=np.float64)
        apart = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
        assert row.spread == pytest.approx(apart.mean(), abs=1e-8)
        to_all = np.square(vectors[:, None] - vectors[None]).sum(axis=(1, 2))
        assert row.medoid == paths[to_all.argmin()]


@pytest.mark.slow
def test_groups_have_the_same_bits_for_any_partitioning_and_say_what_their_columns_are(spark, people, tmp_path):
    rows, faces = people
    written = []
    for partitions in (1, 7):
        output = FileSystem(spark, str(tmp_path / str(partitions)))
        moments = write_groups(output, rows.repartition(partitions))
        table = spark.read.parquet(f"{output.uri}/groups")
        assert {field.name: field.metadata["comment"] for field in table.schema} == COLUMNS
        written.append((moments, sorted(table.collect())))
    assert written[0] == written[1]
    moments, groups = written[0]
    assert moments.count == len(groups) == len({group for _, group, _ in faces})
    means = np.array([row["mean"] for row in groups])
    np.testing.assert_allclose(moments.mean(), means.mean(axis=0), rtol=0, atol=1e-12)
    apart = np.linalg.norm(means[:, None] - means[None], axis=2) + 9 * np.eye(len(means))
    assert [row.nearest for row in groups] == [groups[i].group for i in apart.argmin(axis=1)]
    np.testing.assert_allclose([row.nearest_distance for row in groups], apart.min(axis=1), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_only_group_has_no_nearest_and_no_group_at_all_is_an_empty_table(spark, people, tmp_path):
    rows, _ = people
    output = FileSystem(spark, str(tmp_path))
    assert write_groups(output, rows.where("group = 'g0'")).count == 1
    [only] = spark.read.parquet(f"{output.uri}/groups").collect()
    assert (only.nearest, only.nearest_distance) == (None, None)
    assert write_groups(output, rows.where("group IS NULL")).count == 0
    assert spark.read.parquet(f"{output.uri}/groups").count() == 0
