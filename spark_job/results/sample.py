"""Sample: some groups of a collection with some faces of each, brought to the driver."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from spark_job.results.moments import DIMENSIONS
from spark_job.row import KEY
from spark_job.table.store import current

PHOTOS = 20_000  # about: 10 MB of embeddings
PHOTOS_A_GROUP = 100
HASHES = 2**32


class Labelled(NamedTuple):
    """embeddings: float32 (n, 128); groups: int (n,), 0, 1, ... in the order of their names."""

    embeddings: NDArray[np.float32]
    groups: NDArray[np.intp]


def labelled_sample(photos: DataFrame, rows: DataFrame) -> Labelled:
    """The faces of about PHOTOS photos: of groups that hashes of their names choose, up to PHOTOS_A_GROUP of each.

    photos: the listing. The faces and their order are the same for any partitioning.
    """
    in_turn = Window.partitionBy("group").orderBy(F.xxhash64("path"), *KEY)
    some = photos.where("group IS NOT NULL").withColumn("place", F.row_number().over(in_turn))
    some = some.where(F.col("place") <= PHOTOS_A_GROUP).select(*KEY, "group")
    share = PHOTOS / max(PHOTOS, some.count())
    chosen = some.where(F.pmod(F.xxhash64("group"), F.lit(HASHES)) < share * HASHES)
    # So few that the rows of all others need not be shuffled.
    of_them = rows.join(F.broadcast(chosen.select(*KEY)), KEY, "left_semi")
    faces = current(chosen, of_them, "faces").select(
        "group", *KEY, F.posexplode("faces.embedding").alias("face", "embedding")
    )
    return _labelled(faces.toArrow())


def _labelled(faces: pa.Table) -> Labelled:
    order: Any = [(name, "ascending") for name in ("group", *KEY, "face")]
    faces = faces.sort_by(order).combine_chunks()
    embeddings = pc.list_flatten(faces["embedding"]).to_numpy().reshape(-1, DIMENSIONS)
    groups = np.unique(faces["group"].to_numpy(), return_inverse=True)[1]
    return Labelled(embeddings, groups)
