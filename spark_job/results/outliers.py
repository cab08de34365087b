"""Outliers: the photos of an output that do not belong to their group, ranked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import OutputError, SettingsError
from spark_job.results.duplicates import FACE, twins
from spark_job.results.groups import centred, described, faces_of, open_groups
from spark_job.results.nearest import nearest_other
from spark_job.results.output import current_rows
from spark_job.results.review import write_clean_list, write_csv
from spark_job.results.statistics import is_measured, threshold
from spark_job.results.verdicts import REMOVED, VERDICTS, scored, verdict
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import open_session, step
from spark_job.table.lock import only_run
from spark_job.table.store import read_table

SHOWN = 20
COLUMNS = {
    "path": "the photo",
    "face": "the number of the face in faces of the photo's row, from 0",
    "group": "the group that the photo is in",
    "count": "faces in that group",
    "distance": "of the face from the mean of the other faces of its group",
    "nearest_group": "the other group whose mean is nearest; null where no search was needed",
    "nearest_distance": "the distance from that mean",
    "verdict": "likely_mislabelled, far, duplicate or ambiguous; null where nothing is wrong",
    "label_score": "from 0 to 1, lower is worse: nearest_distance / (nearest_distance + distance). Below 0.5 another "
    "group is nearer than the face's own",
    "is_label_issue": "whether the verdict is likely_mislabelled",
    "outlier_score": "from 0 to 1, lower is worse: t / (t + the distance of the nearest group, its own or another), "
    "where t is the distance at which a face is taken for a group's. Below 0.5 no group is near",
    "is_outlier_issue": "whether the verdict is far",
    "is_near_duplicate_issue": "whether the same photo, or nearly the same, is there once more",
    "near_duplicate_of": "the path of that photo, of several the nearest",
    "near_duplicate_distance": "the distance of the two faces",
}
ORDER = ("label_score", "path", "face")
FACES, FOUND, NEW = ".outliers.faces", ".outliers.found", ".outliers.new"


def outliers(
    uri: str,
    clean_list: str | Path | None = None,
    spark: SparkSession | None = None,
    master: str | None = None,
    conf: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write outliers/ and outliers.csv: of each face in a group of two or more, whether it belongs there.

    clean_list: a file of this machine for the paths of the photos to keep. spark: a session to use; without it, one is
    made with master and conf. Gives faces (judged), groups (of two or more), searched (faces whose nearest other group
    was searched for), thresholds (near, sure), is_measured (whether they are that output's own), verdicts (a count for
    each), kept (photos in the clean list) and first (the worst rows of outliers/ that have a verdict).
    Raises OutputError; SettingsError where there is no folder for the clean list.
    """
    if clean_list is not None and not Path(clean_list).absolute().parent.is_dir():
        raise SettingsError(f"--clean-list {str(clean_list)!r} cannot be written: there is no folder for it")
    with open_session(Settings(inputs=("none",), output=uri, master=master, conf=conf), spark) as session:
        output, groups = open_groups(session, uri)
        statistics = json.loads(output.read("statistics.json")) if output.exists("statistics.json") else None
        bounds = {name: threshold(statistics, "templates", rate) for name, rate in (("near", "1e-3"), ("sure", "1e-4"))}
        with only_run(output), _scratch(output):
            searched = _search(session, output, groups, bounds["sure"])
            with step(session, "judge each face"):
                judged = described(_judged(session, output, **bounds), COLUMNS)
                judged.orderBy(*ORDER).write.mode("overwrite").parquet(f"{output.uri}/{NEW}")
            output.replace_folder("outliers", NEW)
            rows = read_table(session, f"{output.uri}/outliers")
            suspects = rows.where("verdict IS NOT NULL")
            with step(session, "write outliers.csv"):
                write_csv(output, suspects, *ORDER)
        with step(session, "count the verdicts, and take the first"):
            counts = {row.verdict: row["count"] for row in rows.groupBy("verdict").count().collect()}
            first = suspects.orderBy(*ORDER).limit(SHOWN).toArrow().select(list(COLUMNS)).to_pylist()
        with step(session, "list the photos to keep"):
            kept = clean_list and write_clean_list(Path(clean_list), _kept(session, output, rows))
        return {
            "output": output.uri,
            "faces": sum(counts.values()),
            "groups": groups.where("count > 1").count(),
            "searched": searched,
            "thresholds": bounds,
            "is_measured": is_measured(statistics, "templates", "1e-4"),
            "verdicts": {name: counts.get(name, 0) for name in VERDICTS},
            "kept": kept,
            "first": first,
        }


@contextmanager
def _scratch(output: FileSystem) -> Iterator[None]:
    """Leave no embedding behind."""
    try:
        yield
    finally:
        for name in (FACES, FOUND):
            output.remove(name)


def _search(spark: SparkSession, output: FileSystem, groups: DataFrame, sure: float) -> int:
    """Write FACES, all faces with how far they lie from their groups, and FOUND, the nearest other groups of some.

    Those are searched for, of which it is neither known by the triangle inequality that no other group is nearer than
    their own (bound), nor by verification that they are their group's (sure), unless the mean of another group is as
    near to that of theirs as its faces are (spread). Returns how many they are.
    """
    about = groups.select(
        *("group", "count", "mean", "spread"),
        F.col("nearest").alias("next"),
        F.col("nearest_distance").alias("next_distance"),
    )
    needed = f"bound < distance AND (distance > {sure} OR next_distance < spread)"
    with step(spark, "measure how far each face lies from its group"):
        faces = centred(faces_of(current_rows(spark, output, "faces")), about)
        faces = faces.withColumn("distance", F.expr("IF(count > 1, count / (count - 1) * centre_distance, NULL)"))
        faces = faces.withColumn("bound", F.col("next_distance") - F.col("centre_distance"))
        faces = faces.withColumn("searched", F.expr(f"COALESCE({needed}, FALSE)"))
        faces.write.mode("overwrite").parquet(f"{output.uri}/{FACES}")
    with step(spark, "search for the nearest other groups"):
        faces = read_table(spark, f"{output.uri}/{FACES}")
        _check_all_counted(faces.count(), groups)
        points = faces.where("searched").select(*FACE, "group", F.col("embedding").alias("vector"))
        found = nearest_other(points, FACE, groups.select("group", F.col("mean").alias("vector")))
        found = found.withColumnRenamed("nearest", "nearest_group")
        found.write.mode("overwrite").parquet(f"{output.uri}/{FOUND}")
        return points.count()


def _check_all_counted(faces: int, groups: DataFrame) -> None:
    counted = groups.agg(F.sum("count")).collect()[0][0]
    if faces != counted:
        raise OutputError(
            f"photos/ holds {faces:,} faces in groups where groups/ counts {counted:,}: photos/ was changed since; "
            "run again into this output"
        )


def _judged(spark: SparkSession, output: FileSystem, near: float, sure: float) -> DataFrame:
    """COLUMNS of each face that has others in its group."""
    faces, found = (read_table(spark, f"{output.uri}/{name}") for name in (FACES, FOUND))
    faces = scored(faces.join(found, FACE, "left"), near)
    # What lies nearest to a face that is alone is what lies nearest to its group.
    lookup = {"nearest_group": "next", "nearest_distance": "next_distance"}
    alone = {name: F.expr(f"IF(count = 1, {of_group}, {name})") for name, of_group in lookup.items()}
    judged = faces.where("count > 1").join(twins(faces.withColumns(alone)), FACE, "left")
    return judged.withColumn("verdict", verdict(near, sure)).withColumns(
        {
            "is_label_issue": F.expr("verdict <=> 'likely_mislabelled'"),
            "is_outlier_issue": F.expr("verdict <=> 'far'"),
            "is_near_duplicate_issue": F.col("near_duplicate_of").isNotNull(),
        }
    )


def _kept(spark: SparkSession, output: FileSystem, rows: DataFrame) -> DataFrame:
    """The paths of the photos that show a face, but for those of which no face belongs where it is."""
    is_removed = F.coalesce(F.col("verdict").isin(*REMOVED), F.expr("FALSE"))
    removed = rows.groupBy("path").agg(F.bool_and(is_removed).alias("removed")).where("removed")
    photos = current_rows(spark, output, "status").where("status = 'ok'").select("path").distinct()
    return photos.join(removed, "path", "left_anti")
