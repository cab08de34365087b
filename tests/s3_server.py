"""The S3 server of the tests, with the buckets that they share."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, SPARK, fetched, skip
from s3 import s3_server

from spark_job.spark.hadoop import FileSystem


@pytest.fixture(scope="session")  # Hadoop keeps for a bucket the endpoint that it first had
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server with the buckets photos and results: see s3_server."""
    if not list((SPARK / "jars").glob("hadoop-aws-*.jar")):
        skip("s3a:// needs jars that Spark has not", "scripts/jars conf/s3-jars.txt")
    (jar,) = fetched("tests/s3-server.txt", ROOT / "build" / "s3-server").glob("s3proxy-*.jar")
    with s3_server(jar, tmp_path_factory.mktemp("s3")) as state:
        for bucket in ("photos", "results", "odd-photos", "odd-results"):
            (state.folder / bucket).mkdir()
        yield state


@pytest.fixture
def store(spark, s3) -> Iterator[SimpleNamespace]:
    """The server, as the session of the tests reaches it."""
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    keys = {"fs.s3a.access.key": s3.key, "fs.s3a.secret.key": s3.secret}
    for name, value in {**s3.properties, **keys}.items():
        conf.set(name, value)
    yield s3
    for name in {**s3.properties, **keys}:
        conf.unset(name)


def put(spark, bucket: str, files: dict[str, Path | bytes]) -> None:
    """Put objects into a bucket, by name."""
    folder = FileSystem(spark, f"s3a://{bucket}")
    for name, content in files.items():
        folder.replace_file(name, content if isinstance(content, bytes) else content.read_bytes())
