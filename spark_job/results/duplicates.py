"""Duplicates: faces of photos that are there more than once."""

import math

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spark_job.results.nearest import with_distance
from spark_job.row import KEY

FACE = [*KEY, "face"]  # what tells faces apart
# Of photos of Labeled Faces in the Wild, nine in ten copies of three quarters of the size lie nearer than this, and
# of pairs with two names only those that are one photo.
NEAR = 0.15


def twins(faces: DataFrame) -> DataFrame:
    """FACE, near_duplicate_of, near_duplicate_distance and redundant of each face that is there once more.

    That is, anywhere, a face of a photo of the same length whose embedding has the same bits; and a face at most NEAR
    away in the group that lies nearest (nearest_group, nearest_distance). Of two, the one farther from its own group
    (distance, null where it is alone there) is redundant; of equals, the one that comes later by path.
    faces: FACE, group, distance, embedding, centre_distance, nearest_group and nearest_distance.
    """
    ranked = faces.withColumn("rank", F.struct(F.coalesce("distance", F.lit(math.inf)), *FACE))
    found = _same(ranked).unionByName(_near(ranked))
    best = F.min(F.struct("near_duplicate_distance", "near_duplicate_of")).alias("best")
    return (
        found.groupBy(*FACE)
        .agg(best, F.max("redundant").alias("redundant"))
        .select(*FACE, "best.near_duplicate_of", "best.near_duplicate_distance", "redundant")
    )


def _same(faces: DataFrame) -> DataFrame:
    """Of photos that are the same byte by byte: others of one length and with equal numbers show the same pixels."""
    faces = faces.withColumn("bits", F.xxhash64("length", "embedding")).drop("embedding")
    sets = faces.groupBy("bits").agg(
        F.count("*").alias("copies"), F.min("rank").alias("kept"), F.max("rank").alias("last")
    )
    joined = faces.join(sets.where("copies > 1"), "bits")
    is_kept = F.col("rank") == F.col("kept")
    return joined.select(
        *FACE,
        F.when(is_kept, F.col("last.path")).otherwise(F.col("kept.path")).alias("near_duplicate_of"),
        F.lit(0.0).alias("near_duplicate_distance"),
        (~is_kept).alias("redundant"),
    )


def _near(faces: DataFrame) -> DataFrame:
    """A face within NEAR of another is as far from that one's mean as that one is, give or take NEAR: the rest is not
    compared."""
    ones = faces.where("nearest_distance IS NOT NULL").select(
        F.col("rank").alias("one"), F.col("embedding").alias("ones"), "nearest_group", "nearest_distance"
    )
    others = faces.select(
        F.col("rank").alias("other"), F.col("embedding").alias("others"), "centre_distance", F.col("group").alias("of")
    )
    may_be_near = F.abs(F.col("centre_distance") - F.col("nearest_distance")) <= NEAR
    candidates = ones.join(others, (F.col("nearest_group") == F.col("of")) & may_be_near)
    pairs = with_distance(candidates.select("one", "other", "ones", "others"), "apart", "ones", "others")
    pairs = pairs.where(F.col("apart") <= NEAR)
    return _side(pairs, "one", "other").unionByName(_side(pairs, "other", "one"))


def _side(pairs: DataFrame, one: str, other: str) -> DataFrame:
    return pairs.select(
        *(F.col(f"{one}.{name}") for name in FACE),
        F.col(f"{other}.path").alias("near_duplicate_of"),
        F.col("apart").alias("near_duplicate_distance"),
        (F.col(one) > F.col(other)).alias("redundant"),
    )
