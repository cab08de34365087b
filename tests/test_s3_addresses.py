"""A table of addresses in a bucket: inventories, a store that fails in all the ways that stores fail, and keys."""

import gzip
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_faults import TIMES, faults
from s3_server import put

from spark_job import run
from spark_job.errors import OutputError
from spark_job.inputs.stores import store_properties

pytestmark = pytest.mark.slow
ODD_NAMES = ("two  words.jpg", "100%.jpg", "50%20.jpg", "#1.jpg", "a+b&c=d;e.jpg", "who?.jpg", "[a]{b}.jpg", "写真.jpg")
SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"


@pytest.fixture
def bucket(s3, request):
    """A bucket of the test's own: its folder on the server."""
    folder = s3.folder / request.node.originalname.replace("_", "-")[:60].strip("-")
    folder.mkdir()
    return folder


@pytest.fixture
def set_property(spark):
    conf, names = spark.sparkContext._jsc.hadoopConfiguration(), []

    def set_one(name, value):
        names.append(name)
        conf.set(name, value)

    yield set_one
    for name in names:
        conf.unset(name)


def inventory(folder: Path) -> list[tuple[str, int, datetime]]:
    """Key, size and time, in whole seconds, of each object."""
    files = [path for path in sorted(folder.rglob("*.*")) if path.is_file()]
    times = [datetime.fromtimestamp(int(path.stat().st_mtime), UTC) for path in files]
    return [(str(path.relative_to(folder)), path.stat().st_size, time) for path, time in zip(files, times, strict=True)]


def copy_to(folder: Path, photos: Path) -> None:
    for path in photos.rglob("*.*"):
        (folder / path.relative_to(photos)).parent.mkdir(exist_ok=True)
        (folder / path.relative_to(photos)).write_bytes(path.read_bytes())


def rows_of(spark, output):
    return {Path(row.path).name: (row.status, row.message) for row in spark.read.parquet(f"{output}/photos").collect()}


def test_the_inventory_of_a_bucket_by_its_manifest_has_the_rows_of_a_listing(
    spark, store, settings, bucket, face_photos, undisturbed
):
    copy_to(bucket, face_photos)
    for name in ODD_NAMES:
        (bucket / name).write_bytes(b"no photo")
    (bucket / "notes.md").write_text("no photo either")
    held = inventory(bucket)
    lines = [
        f'"{bucket.name}","{quote_plus(key, safe="/")}",v,{word},"false","{size}","{when:%Y-%m-%dT%H:%M:%S.000Z}",,'
        for key, size, when in held
        for word in ("true", "false")
    ]
    lines.append(f'"{bucket.name}","deleted.jpg","v","true","true","","2024-01-01T00:00:00.000Z","",""')
    files = {"inventory/data/a.csv.gz": lines[:5], "inventory/data/b.csv.gz": lines[5:]}
    put(spark, "results", {name: gzip.compress("\n".join(part).encode()) for name, part in files.items()})
    manifest = {
        "sourceBucket": bucket.name,
        "destinationBucket": "arn:aws:s3:::results",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": [{"key": name, "size": 1, "MD5checksum": ""} for name in files],
    }
    put(spark, "results", {"inventory/2024-01-01T00-00Z/manifest.json": json.dumps(manifest).encode()})
    chosen = settings("s3a://results/inventory/2024-01-01T00-00Z/manifest.json", group_by="parent")
    result = run(chosen, spark)
    assert result.photos["listed"] == len(ODD_NAMES) + undisturbed.photos["listed"]
    assert result.photos["unsupported"] == len(ODD_NAMES)
    assert result.skipped == 1
    assert result.mean_sha256 == undisturbed.mean_sha256
    listed = run(settings(f"s3a://{bucket.name}/"), spark)
    assert (listed.encoded, listed.mean_sha256) == (0, result.mean_sha256)


def test_an_inventory_in_parquet_and_a_list_of_names_are_one_collection(
    spark, store, settings, bucket, face_photos, undisturbed, tmp_path
):
    copy_to(bucket, face_photos)
    keys, sizes, times = zip(*inventory(bucket), strict=True)
    columns = {"bucket": [bucket.name] * len(keys), "key": keys, "size": sizes}
    columns["last_modified_date"] = pa.array(times, pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table(columns), tmp_path / "inventory.parquet")
    names = "".join(f"{key}\ns3://{bucket.name}/{key}\n" for key in keys)
    put(spark, bucket.name, {"names.txt": names.encode()})
    chosen = settings(tmp_path / "inventory.parquet", f"s3a://{bucket.name}/names.txt")
    result = run(chosen, spark)
    assert (result.mean_sha256, result.count) == (undisturbed.mean_sha256, undisturbed.count)
    # Only a replaced one is asked for again.
    os.utime(bucket / keys[0], (1e9, 1e9))
    assert run(chosen, spark).encoded == 1


def test_whatever_a_store_does_is_a_row_and_the_others_count(
    spark, store, settings, bucket, face_photos, undisturbed, set_property, tmp_path
):
    copy_to(bucket, face_photos)
    photo = (bucket / "biden" / "biden.jpg").read_bytes()
    names = ["hang-1", "hang-2", "stall-1", "drip-1", "down-1", "busy-1", "cut-1", "archived-1"]
    for name in names:
        (bucket / f"{name}.jpg").write_bytes(photo)
    (bucket / "cut-1.jpg").write_bytes(photo * 20)  # more than a socket holds
    (bucket / "busy-1.jpg").write_bytes(b"no photo")
    refused = store.folder / "wrongkey"
    refused.mkdir(exist_ok=True)
    (refused / "refused.jpg").write_bytes(photo)
    set_property("fs.s3a.bucket.wrongkey.secret.key", "wrong")
    lines = [f"s3a://{bucket.name}/{key},{size},{when:%Y-%m-%dT%H:%M:%SZ}" for key, size, when in inventory(bucket)]
    lines += [f"s3://{bucket.name}/gone.jpg,5,2024-01-01", f"s3://wrongkey/refused.jpg,{len(photo)},2024-01-01"]
    lines += ["s3://nobucket/a.jpg,5,2024-01-01", f"s3://{bucket.name}//empty/part.jpg,5,2024-01-01"]
    (tmp_path / "list.csv").write_text("\n".join(["uri,size,modificationTime", *lines]))
    with faults(store.endpoint) as faulty:
        set_property(f"fs.s3a.bucket.{bucket.name}.endpoint", faulty.endpoint)
        chosen = settings(tmp_path / "list.csv", photo_timeout=12.0)
        begun = time.monotonic()
        result = run(chosen, spark)
        assert time.monotonic() - begun < 240
        assert faulty.asked["HEAD busy"] == TIMES + 1
        assert faulty.asked["HEAD hang"] > 2, "asked again"
    rows = rows_of(spark, chosen.output)
    assert faulty.asked["GET archived"] == 1, (rows["archived-1.jpg"], dict(faulty.asked))
    late = "it did not come in the 12 s"
    says = {
        "hang-1.jpg": late, "hang-2.jpg": late, "stall-1.jpg": late, "drip-1.jpg": late,
        "down-1.jpg": f"{late} that --photo-timeout allows: its store last said UNKNOWN (HTTP status 503)",
        "archived-1.jpg": "its store ",
        "gone.jpg": "there is nothing at its address",
        "a.jpg": "there is nothing at its address",
        "refused.jpg": "its store refuses it",
    }  # fmt: skip
    for name, message in says.items():
        assert rows[name][0] == "unreadable", name
        assert rows[name][1].startswith(message), (name, rows[name])
    assert rows["part.jpg"][0] == "unsupported"
    assert rows["busy-1.jpg"][0] == "unsupported", "no photo, but read"
    assert rows["cut-1.jpg"][0] == "ok", "read once more"
    assert result.photos["ok"] == undisturbed.count + 1
    written = b"".join(path.read_bytes() for path in Path(chosen.output).rglob("*") if path.is_file())
    assert store.secret.encode() not in written

    # The store is well again: what was late comes, and what is settled is not asked for.
    spark.sparkContext._jsc.hadoopConfiguration().unset(f"fs.s3a.bucket.{bucket.name}.endpoint")
    again = run(chosen, spark)
    assert again.photos["ok"] == undisturbed.count + 1 + 6
    assert again.encoded == 10


def test_a_store_that_is_away_ends_the_run_in_a_line_and_soon(
    spark, store, settings, bucket, face_photos, set_property, tmp_path
):
    set_property(f"fs.s3a.bucket.{bucket.name}.endpoint", "http://127.0.0.1:9")
    lines = [f"s3://{bucket.name}/{i}.jpg,5,2024-01-01" for i in range(2000)]
    (tmp_path / "list.csv").write_text("\n".join(["uri,size,modificationTime", *lines]))
    chosen = settings(tmp_path / "list.csv", photo_timeout=1.0)
    with pytest.raises(OutputError, match=r"no store answers: of 32 photos in a row none came; .*NETWORK_CONNECTION"):
        run(chosen, spark)


def test_keys_of_a_credential_file_are_the_workers_too(spark, store, set_property, tmp_path):
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    secret = conf.get("fs.s3a.secret.key")
    conf.unset("fs.s3a.secret.key")
    path = f"localjceks://file{tmp_path}/keys.jceks"
    set_property("hadoop.security.credential.provider.path", path)
    jvm = spark.sparkContext._jvm
    provider = jvm.org.apache.hadoop.security.alias.CredentialProviderFactory.getProviders(conf)[0]
    characters = spark.sparkContext._gateway.new_array(jvm.char, len(secret))
    for i, character in enumerate(secret):
        characters[i] = character
    provider.createCredentialEntry("fs.s3a.secret.key", characters)
    provider.flush()
    try:
        assert store_properties(spark)["fs.s3a.secret.key"] == store.secret
    finally:
        conf.set("fs.s3a.secret.key", secret)
