"""A finished output without photos: rows of faces that a test makes, and what a run writes of them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pyspark.sql import SparkSession

from spark_job.results.groups import write_groups
from spark_job.results.output import current_rows
from spark_job.row import SCHEMA
from spark_job.spark.hadoop import FileSystem

LISTED = "path string, length long, modificationTime timestamp, `group` string"


class Face(NamedTuple):
    """One photo with one face; length tells its file from another's."""

    path: str
    group: str | None
    embedding: np.ndarray
    length: int


def person(seed: int, count: int, spread: float = 0.025) -> np.ndarray:
    """Embeddings (count, 128) of one person: about 0.3 from their mean, and 0.8 from those of another."""
    rng = np.random.default_rng(seed)
    return np.float32(rng.normal(0, 0.05, 128) + rng.normal(0, spread, (count, 128)))


def faces_of(group: str, embeddings: np.ndarray) -> list[Face]:
    """Photos file:/GROUP/0.jpg and so on."""
    return [Face(f"file:/{group}/{i}.jpg", group, row, 1000 + i) for i, row in enumerate(embeddings)]


def write_output(spark: SparkSession, folder: Path, faces: list[Face], statistics: object = None) -> str:
    """listing/, photos/, groups/ and the documents of a run of these faces; returns its URI."""
    spark.createDataFrame([(f.path, f.length, None, f.group) for f in faces], LISTED).selectExpr(
        "path", "length", "timestamp_seconds(length) AS modificationTime", "`group`"
    ).write.parquet(f"{folder}/listing")
    made = spark.createDataFrame(
        [(f.path, f.length, f.group, [f.embedding.tolist()]) for f in faces],
        "path string, length long, `group` string, vectors array<array<float>>",
    )
    empty = spark.createDataFrame([], SCHEMA)
    known = {
        "modificationTime": "timestamp_seconds(length)",
        "status": "'ok'",
        "settings_id": "'s'",
        "decode_ms": "float(1)",
        "faces": "transform(vectors, v -> named_struct('top', 0, 'right', 1, 'bottom', 1, 'left', 0, 'detector', "
        "'hog', 'score', float(1), 'landmarks', array(), 'embedding', v))",
    }
    columns = [
        f"CAST({known.get(field.name, field.name if field.name in made.columns else 'NULL')} "
        f"AS {field.dataType.simpleString()}) AS `{field.name}`"
        for field in empty.schema
    ]
    made.selectExpr(*columns).write.parquet(f"{folder}/photos")
    run = {"started": "2024-01-01", "settings_id": "s", "settings": {"group_by": "parent"}, "models": {"resnet": "0"}}
    for name, document in {"run.json": run, "mean.json": run, "statistics.json": statistics}.items():
        if document is not None:
            (folder / name).write_text(json.dumps(document))
    output = FileSystem(spark, str(folder))
    write_groups(output, current_rows(spark, output, "faces"))
    return str(folder)
