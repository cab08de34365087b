"""Addresses: a run over very many photos of a bucket, by its inventory, that is killed. See scripts/addresses."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from faults import ROOT, parts
from many import crops_of_faces
from s3 import s3_server

KEY = ["path", "length", "modificationTime"]
A_FOLDER, A_TABLE = 1000, 100_000
# What costs next to nothing to encode: of each so many, one is a face, and the others are bytes of no photo.
ONE_FACE_IN = 128
FACES, OTHERS = 64, 64  # contents, each under many names
OTHER_BYTES = 1000
MANIFEST, BESIDE = "inventory/2026-01-01T01-00Z/manifest.json", "inventory.parquet"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1_000_000, help="how many (default 1,000,000)")
    parser.add_argument("--kills", type=int, default=3, help="how often the run is killed (default 3)")
    chosen = parser.parse_args()
    (jar,) = (ROOT / "build" / "s3-server").glob("s3proxy-*.jar")
    with tempfile.TemporaryDirectory() as folder, s3_server(jar, Path(folder)) as store:
        return 0 if compared(store, Path(folder), chosen.photos, chosen.kills) else 1


def compared(store: SimpleNamespace, scratch: Path, photos: int, kills: int) -> bool:
    """Whether a run over the inventory, killed so often, comes to what an undisturbed one does. It is told."""
    with told("photos and their inventory are written"):
        write(store, photos)
    environment = os.environ | {"AWS_ACCESS_KEY_ID": store.key, "AWS_SECRET_ACCESS_KEY": store.secret}
    conf = [f"--conf=spark.hadoop.{name}={value}" for name, value in store.properties.items()]
    # By addresses, too, but of the server's own files: it would have to answer two million requests more.
    beside = [str(store.folder / "photos" / BESIDE), f"--output={scratch / 'undisturbed'}"]
    with told("undisturbed, from the disk"):
        expected = finished(command(*beside), environment)
    disturbed = command(f"s3a://inventories/{MANIFEST}", f"--output={scratch / 'killed'}", *conf)
    for i in range(kills):
        with told(f"until it is killed for the {i + 1}. time"):
            killed(disturbed, environment, scratch / "killed", photos * (i + 1) // (kills + 1))
    with told("until it is done"):
        seen = finished(disturbed, environment)
    rows = ds.dataset(scratch / "killed" / "photos", format="parquet").to_table(columns=KEY)
    once = len(rows.group_by(KEY).aggregate([]))
    print(f"{seen['photos']}, encoded by the last run: {seen['encoded']:,}; rows: {len(rows):,}, of photos: {once:,}")
    print(f"mean of {seen['count']:,} faces: {seen['mean_sha256']}; undisturbed: {expected['mean_sha256']}")
    well = seen["mean_sha256"] == expected["mean_sha256"] and seen["photos"] == expected["photos"] and once == photos
    print("all well" if well else "NOT WELL")
    return well


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print how long the body took."""
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:>6.0f} s  {what}", flush=True)


# ---- photos ----


def write(store: SimpleNamespace, count: int) -> None:
    """So many objects in the bucket photos, links to few contents, and its inventory in the bucket inventories."""
    photos = store.folder / "photos"
    (photos / "contents").mkdir(parents=True)
    crops = crops_of_faces(one_whole_in=1)
    contents = [_content(photos, f"face{i}", photo) for i, photo in enumerate(islice(crops, FACES))]
    contents += [_content(photos, f"other{i}", bytes([i]) * OTHER_BYTES) for i in range(OTHERS)]
    (store.folder / "inventories").mkdir()
    host = store.endpoint.removeprefix("http://")
    bucket = pafs.SubTreeFileSystem(
        "inventories",
        pafs.S3FileSystem(access_key=store.key, secret_key=store.secret, endpoint_override=host, scheme="http"),
    )
    files, tables = [], []
    for first in range(0, count, A_TABLE):
        rows = list(_linked(photos, contents, range(first, min(first + A_TABLE, count))))
        tables.append(pa.Table.from_pylist(rows))
        files.append({"key": f"data/{first // A_TABLE}.parquet"})
        pq.write_table(tables[-1], files[-1]["key"], filesystem=bucket)
    manifest = {"destinationBucket": "arn:aws:s3:::inventories", "fileFormat": "Parquet", "fileSchema": "message {}"}
    with bucket.open_output_stream(MANIFEST) as file:
        file.write(json.dumps({**manifest, "files": files}).encode())
    pq.write_table(pa.concat_tables(tables).drop_columns(["bucket"]).rename_columns({"key": "uri"}), photos / BESIDE)


def _content(photos: Path, name: str, content: bytes) -> Path:
    path = photos / "contents" / name
    path.write_bytes(content)
    return path


def _linked(photos: Path, contents: list[Path], numbers: range) -> Iterator[dict[str, Any]]:
    """The rows of the inventory for photos of these numbers, which are made."""
    told = [path.stat() for path in contents]
    for i in numbers:
        key = f"{i // A_FOLDER:04}/{i:07}.jpg"
        which = i // ONE_FACE_IN % FACES if i % ONE_FACE_IN == 0 else FACES + i % OTHERS
        if i % A_FOLDER == 0:
            (photos / key).parent.mkdir()
        (photos / key).hardlink_to(contents[which])
        when = datetime.fromtimestamp(int(told[which].st_mtime), UTC)
        yield {"bucket": "photos", "key": key, "size": told[which].st_size, "last_modified_date": when}


# ---- runs ----


def command(*arguments: str) -> list[str]:
    settings = ["--detector=hog", "--max-failed=1", "--conf=spark.ui.enabled=false", "--conf=spark.driver.memory=1g"]
    return [sys.executable, "-m", "spark_job", "run", *arguments, *settings]


def finished(run: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """What a run to its end says."""
    done = subprocess.run([*run, "--json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def killed(run: list[str], environment: dict[str, str], output: Path, enough: int) -> None:
    """Kill a run, with all its processes, once there are so many rows."""
    rows = dict[str, int]()
    with subprocess.Popen([*run, "--quiet"], cwd=ROOT, env=environment, start_new_session=True) as process:
        while process.poll() is None and sum(rows.values()) < enough:
            time.sleep(1)
            for name in parts(output) - rows.keys():
                rows[name] = pq.ParquetFile(output / "photos" / name).metadata.num_rows
        if process.poll() is not None:
            sys.exit(f"addresses: the run ended with exit code {process.returncode} before it was killed")
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
