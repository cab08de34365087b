"""Verdicts: from how far a face lies from its own group and from the nearest other, whether it belongs there."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_job.results.duplicates import FACE

# Another group is nearer by a margin. Of 1 % wrong labels planted in Labeled Faces in the Wild, those of people of whom
# there is another photo scored less; of the right labels, one in 300 did.
MISLABELLED = 0.45
EVEN = 0.5  # another group is as near
REMOVED = ("likely_mislabelled", "far", "duplicate")
VERDICTS = (*REMOVED, "ambiguous")


def scored(faces: DataFrame, near: float) -> DataFrame:
    """Faces with label_score, outlier_score, and worse: in a group of two, the score of the other where that is lower.

    Both of a pair are equally far from each other: of two that do not match, only the one that is nearer to another
    group can be told to be wrong, and the other's score is no less than EVEN.
    faces: FACE, group, count, distance, nearest_distance, and bound, below which no other group is.
    near: the distance at which a face is taken for a group's.
    """
    # Where no search was made, no group is nearer than bound, and none is taken to be near.
    other = F.coalesce("nearest_distance", F.greatest("bound", F.lit(near)))
    score = F.coalesce(other / (other + F.col("distance")), F.lit(EVEN))
    outlier_score = near / (near + F.least("distance", other))
    place = F.struct(score.alias("label_score"), *FACE)
    faces = faces.withColumns({"label_score": score, "outlier_score": outlier_score, "place": place})
    lower = faces.where("count = 2").groupBy("group").agg(F.min("place").alias("lower"))
    worse = F.when(F.col("lower") < F.col("place"), F.col("lower.label_score"))
    faces = faces.join(lower, "group", "left").withColumn("worse", worse)
    lifted = F.when(F.col("worse").isNull(), F.col("label_score")).otherwise(F.greatest("label_score", F.lit(EVEN)))
    return faces.withColumn("label_score", lifted).drop("place", "lower")


def verdict(near: float, sure: float) -> Column:
    """The first verdict that holds of a face of scored, with redundant of duplicates.twins; null where none does.

    near, sure: the distances at which a stranger is taken for a group's once in a thousand times, and in ten thousand.
    """
    return F.expr(
        f"""CASE
        WHEN worse IS NULL AND distance > {sure} AND nearest_distance <= {near} AND label_score <= {MISLABELLED}
            THEN 'likely_mislabelled'
        WHEN worse IS NULL AND distance > {near} AND COALESCE(nearest_distance > {near}, TRUE) THEN 'far'
        WHEN redundant THEN 'duplicate'
        WHEN nearest_distance <= {near} AND label_score < {EVEN} THEN 'ambiguous'
        WHEN worse IS NOT NULL AND (distance > {near} OR worse < {EVEN}) THEN 'ambiguous'
        END"""
    )
