"""Groups: groups/, a row for each group: its mean, how far its faces lie from it, and which group is nearest."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError
from spark_job.results.documents import finished_run
from spark_job.results.moments import Moments
from spark_job.results.nearest import nearest_other, with_distance
from spark_job.results.sums import by_group, moments_of
from spark_job.row import KEY
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import step
from spark_job.table.store import read_table

COLUMNS = {
    "group": "the group's name, as --group-by found it",
    "count": "faces in the group",
    "mean": "the exact mean of their embeddings, rounded once to float64 (128 values)",
    "std": "the standard deviation of each value, as numpy.std gives it",
    "standard_error": "the standard error of each value of the mean (ddof=1); null for one face",
    "spread": "the mean distance of a face of the group from the group's mean",
    "medoid": "the path of the photo whose face is nearest to the mean: it has the least sum of squared distances "
    "to the other faces",
    "nearest": "the group whose mean is nearest to this group's; null where there is no other",
    "nearest_distance": "the distance of the two means",
}
MEANS, NEW = ".groups.means", ".groups.new"
# What was said of the groups before, perhaps of people who are no longer there.
OF_GROUPS = ("outliers", "outliers.csv", ".outliers.faces", ".outliers.found", ".outliers.new", ".outliers.csv.new")
# Distances are summed as multiples of this, as integers: the same bits in any order. int64 holds 2^31 faces.
STEPS_OF_A_DISTANCE = 2.0**30


def write_groups(output: FileSystem, rows: DataFrame) -> Moments:
    """Replace groups/ by a table of one row for each group; returns the moments of the groups' means.

    rows: path, group and faces of the photos. Nothing of all groups, or of one whole group, is in one process.
    """
    spark = rows.sparkSession
    with step(spark, "sum the embeddings of each group"):
        by_group(rows).write.mode("overwrite").parquet(f"{output.uri}/{MEANS}")
        means = read_table(spark, f"{output.uri}/{MEANS}")
        moments = moments_of(means.select(F.col("mean").alias("embedding")))
    with step(spark, "find spread and medoid of each group and the nearest other"):
        groups = means.join(spreads(rows, means), "group", "left").join(nearest_groups(means), "group", "left")
        described(groups, COLUMNS).write.mode("overwrite").parquet(f"{output.uri}/{NEW}")
    output.replace_folder("groups", NEW)
    for name in (MEANS, *OF_GROUPS):
        output.remove(name)
    return moments


def open_groups(spark: SparkSession, uri: str) -> tuple[FileSystem, DataFrame]:
    """A finished output, and its groups/. Raises OutputError where it has none."""
    output = FileSystem(spark, uri)
    if finished_run(output, uri)["settings"]["group_by"] == "none":
        raise OutputError(f"{uri} has no groups: run again with --group-by, which encodes nothing anew")
    groups = read_table(spark, f"{output.uri}/groups")
    if not set(COLUMNS) <= set(groups.columns):
        raise OutputError(f"{uri}/groups is an earlier version's: run again, which encodes nothing anew")
    return output, groups


def faces_of(rows: DataFrame) -> DataFrame:
    """KEY, group, face (its number in the photo's row) and embedding of each face that has a group."""
    return rows.where("group IS NOT NULL").select(
        *KEY, "group", F.posexplode("faces.embedding").alias("face", "embedding")
    )


def centred(faces: DataFrame, groups: DataFrame) -> DataFrame:
    """Faces with what groups say of their group but for its mean, and centre_distance: how far each is from that."""
    return with_distance(faces.join(groups, "group"), "centre_distance", "embedding", "mean", keep=True)


def spreads(rows: DataFrame, means: DataFrame) -> DataFrame:
    """group, spread and medoid."""
    faces = faces_of(rows).join(means.select("group", "mean"), "group")
    faces = with_distance(faces.select("group", "path", "embedding", "mean"), "centre_distance", "embedding", "mean")
    steps = F.sum(F.round(F.col("centre_distance") * STEPS_OF_A_DISTANCE).cast("long"))
    return faces.groupBy("group").agg(
        (steps / STEPS_OF_A_DISTANCE / F.count("*")).alias("spread"),
        F.min(F.struct("centre_distance", "path")).path.alias("medoid"),
    )


def nearest_groups(means: DataFrame) -> DataFrame:
    """group, nearest and nearest_distance."""
    vectors = means.select("group", F.col("mean").alias("vector"))
    return nearest_other(vectors, ["group"], vectors)


def described(rows: DataFrame, comments: Mapping[str, str]) -> DataFrame:
    """rows with these columns, each with its comment, which Parquet keeps."""
    return rows.select([F.col(name).alias(name, metadata={"comment": comment}) for name, comment in comments.items()])
