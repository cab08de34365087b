"""Apart: statistics.json of a run: how its embeddings spread, and how far apart people lie in it, on Spark."""

from pyspark.sql import DataFrame

from spark_job.results.bootstrap import over_groups
from spark_job.results.documents import write_document
from spark_job.results.moments import Moments
from spark_job.results.sample import labelled_sample
from spark_job.results.scatter import Scatter
from spark_job.results.statistics import statistics
from spark_job.results.verification import verification
from spark_job.settings import Settings
from spark_job.spark.hadoop import FileSystem
from spark_job.spark.session import step
from spark_job.table.store import read_table


def write_statistics(
    output: FileSystem,
    settings: Settings,
    photos: DataFrame,
    rows: DataFrame,
    moments: Moments,
    scatter: Scatter,
    group_means: Moments | None,
) -> None:
    """Replace statistics.json. photos: the listing; rows: of the photos table; group_means: of groups/, where it is."""
    drawn = apart = None
    if group_means is not None:
        spark = photos.sparkSession
        with step(spark, "see how far apart people lie"):
            drawn = over_groups(read_table(spark, f"{output.uri}/groups"), group_means.count)
            # Of all faces of a photo, some are of no person that its group is named for.
            if settings.face != "all":
                apart = verification(*labelled_sample(photos, rows))
    write_document(output, "statistics.json", statistics(moments, scatter, drawn, apart))
