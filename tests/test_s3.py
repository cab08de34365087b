"""Object storage: a run from and to a real S3 server, with keys that stand nowhere, and errors that say what to do."""

import dataclasses
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bomb_archives import lying_zip, sparse_tar, zeros_tgz
from conftest import FAST, ROOT
from helpers import SPARK, wait_for
from py4j.protocol import Py4JJavaError
from s3_server import put

from spark_job import Settings, compact, run
from spark_job.__main__ import main
from spark_job.errors import OutputError
from spark_job.results.report.report import report
from spark_job.results.result import Result, document
from spark_job.spark.hadoop import FileSystem, reason
from spark_job.table.lock import lease

pytestmark = pytest.mark.slow
ODD_NAMES = (
    "two  words.jpg",
    "100%.jpg",
    "50%20.jpg",
    "#1.jpg",
    "a+b&c=d;e.jpg",
    "who?.jpg",
    "[a]{b}.jpg",
    "a:b.jpg",
    'it\'s "quoted".jpg',
    "zażółć 写真.jpg",
    "line\nend.jpg",
    "_DSC0001.JPG",
)


@pytest.fixture
def output(spark, store, request) -> FileSystem:
    folder = FileSystem(spark, f"s3a://results/{request.node.name}")
    folder.make()
    return folder


def environment_page(ui: str) -> str:
    """What Spark's UI shows of its properties, and Hadoop's."""
    with urllib.request.urlopen(f"{ui}/api/v1/applications") as answer:
        (application,) = json.load(answer)
    with urllib.request.urlopen(f"{ui}/api/v1/applications/{application['id']}/environment") as answer:
        return str(answer.read().decode())


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "spark_job", "run", *map(str, arguments)]


@pytest.fixture(scope="module")
def local(spark, sample, tmp_path_factory) -> Result:
    """What a run on the sample gives in local mode."""
    return run(Settings(inputs=(str(sample),), output=str(tmp_path_factory.mktemp("local")), **FAST), spark)


def test_photos_and_archives_in_the_bucket_give_the_mean_of_local_mode(spark, store, settings, sample, local, tmp_path):
    for i, path in enumerate(sorted(sample.rglob("*.*"))):
        if not path.is_file():
            continue
        if i % 3 == 0:
            put(spark, "photos", {f"mixed/{path.relative_to(sample)}": path})
        elif i % 3 == 1:
            with tarfile.open(tmp_path / "a.tar", "a") as archive:
                archive.add(path, path.name)
        else:
            with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
                archive.write(path, path.name)
    tgz = gzip.compress((tmp_path / "a.tar").read_bytes(), 1)
    put(spark, "photos", {"archives/a.tgz": tgz, "archives/b.zip": tmp_path / "b.zip"})
    inputs = "s3a://photos/mixed", "s3a://photos/archives/a.tgz", "s3a://photos/archives/*.zip"
    chosen = settings(*inputs, output="s3a://results/mixed", group_by="parent")
    remote = run(chosen, spark)
    assert remote.photos == local.photos
    assert remote.mean_sha256 == local.mean_sha256
    results = store.folder / "results" / "mixed"
    assert json.loads((results / "mean.json").read_text())["mean_sha256"] == local.mean_sha256
    names = {"mean.json", "mean.npy", "run.json", "standing.json", "statistics.json", "listing", "photos", "groups"}
    # Of the objects: the server keeps them on a disk, where a folder that has become empty may stay for a while.
    assert {path.relative_to(results).parts[0] for path in results.rglob("*") if path.is_file()} == names
    assert (results / "groups" / "_SUCCESS").exists()
    made = report("s3a://results/mixed")
    assert (made.photos_read, made.photos_gone) == (local.photos["listed"], 0)
    assert (results / "report.html").stat().st_size == made.bytes
    assert run(chosen, spark).mean_sha256 == local.mean_sha256
    assert (results / "report.html").exists(), "nothing has changed, and all stands as it is"


def test_keys_with_odd_names_are_photos_too_and_a_bucket_is_a_folder(spark, store, settings, face_photos):
    put(spark, "odd-photos", {"face.jpg": next(face_photos.rglob("obama.jpg")), "empty.jpg": b""})
    put(spark, "odd-photos", {f"odd/{name}": b"no photo" for name in ODD_NAMES})
    chosen = settings("s3a://odd-photos", output="s3a://odd-results/")
    result = run(chosen, spark)
    rows = {row.path: row.status for row in spark.read.parquet("s3a://odd-results/photos").collect()}
    expected = {f"s3a://odd-photos/odd/{name}": "unsupported" for name in ODD_NAMES}
    assert rows == {**expected, "s3a://odd-photos/face.jpg": "ok", "s3a://odd-photos/empty.jpg": "empty"}
    assert result.photos["listed"] == len(ODD_NAMES) + 2
    again = run(chosen, spark)
    assert (again.encoded, again.mean_sha256) == (0, result.mean_sha256)


def test_bombs_in_a_bucket_are_refused_before_java_opens_them(spark, store, settings, photos, tmp_path):
    bombs = (
        sparse_tar(tmp_path / "sparse.tar"),
        zeros_tgz(tmp_path / "zeros.tgz", 17),
        lying_zip(tmp_path / "l.zip", 40),
    )
    put(spark, "photos", {f"bombs/{path.name}": path for path in bombs})
    put(spark, "photos", {"bombs/good.zip": Path(shutil.make_archive(str(tmp_path / "good"), "zip", photos))})
    result = run(settings("s3a://photos/bombs"), spark)
    rows = spark.read.parquet(f"{result.output}/photos").where("status != 'ok'").collect()
    assert {row.path: row.status for row in rows} == {f"s3a://photos/bombs/{path.name}": "too_large" for path in bombs}
    assert all(row.message.startswith("the archive is not opened") for row in rows)
    assert result.count == 6


def test_an_output_in_a_bucket_is_compacted_also_by_the_next_where_it_broke_off(
    spark, store, settings, face_photos, monkeypatch
):
    put(spark, "photos", {f"some/{path.name}": path for path in face_photos.rglob("*.*")})
    chosen = settings("s3a://photos/some", output="s3a://results/some")
    first = run(chosen, spark)
    run(dataclasses.replace(chosen, upsample=1), spark)

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "remove_files", break_off)
        with pytest.raises(KeyboardInterrupt):
            compact(chosen.output, spark=spark)
    again = run(chosen, spark)
    assert (again.encoded, again.mean_sha256) == (0, first.mean_sha256)
    done = compact(chosen.output, drop_stale=True, spark=spark)
    assert done["rows"] == {"kept": 6, "gone": 0, "replaced": 0, "other_settings": 6, "duplicate": 0}
    assert done["files"] == {"before": 1, "after": 1}
    assert run(chosen, spark).mean_sha256 == first.mean_sha256


def test_of_several_that_create_a_file_at_once_one_does(output):
    with ThreadPoolExecutor(8) as threads:
        for i in range(4):
            made = list(threads.map(lambda who, i=i: output.create(f"lock{i}", str(who).encode()), range(8)))
            assert made.count(True) == 1
            assert output.read(f"lock{i}") == str(made.index(True)).encode()


def test_a_second_run_in_the_bucket_is_refused_and_a_dead_ones_lock_is_taken(output):
    with (
        lease(output, renewed_every_s=1),
        pytest.raises(OutputError, match="another run"),
        lease(output, renewed_every_s=1),
    ):
        pass
    assert output.create(".facemean.lock", b"of a run that died")
    with lease(output, renewed_every_s=0.5, stale_s=2):
        pass
    assert output.children() == []


def test_a_reader_of_a_result_that_is_replaced_sees_the_old_one_or_the_new_one_or_that_it_changed(output):
    contents = [bytes([65 + i]) * 200_000 for i in range(12)]
    output.replace_file("mean.json", contents[0])
    seen, told, done = set(), [], threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(output.read("mean.json"))
            except Py4JJavaError as error:
                told.append(reason(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for content in contents[1:]:
            output.replace_file("mean.json", content)  # in the middle of a read, since there is always one
            wait_for(lambda content=content: content in seen, "the new one is read")
    finally:
        done.set()
        reader.join()
    assert seen <= set(contents)
    assert all("Status Code: 412" in text or "changed" in text for text in told)


def test_a_run_killed_on_the_way_goes_on_in_the_bucket_and_the_secret_stands_nowhere(
    spark, s3, store, sample, local, tmp_path
):
    put(spark, "photos", {f"killed/{path.relative_to(sample)}": path for path in sample.rglob("*.*") if path.is_file()})
    log = {"enabled": "true", "dir": tmp_path.as_uri(), "compress": "false"}
    properties = {f"spark.eventLog.{name}": value for name, value in log.items()}
    properties |= {f"spark.hadoop.{name}": value for name, value in s3.properties.items()}
    conf = [word for name, value in properties.items() for word in ("--conf", f"{name}={value}")]
    inputs = ["s3a://photos/killed", "--output", "s3a://results/killed", "--detector", "hog", "--max-failed", "1"]
    arguments = command(*inputs, "--master", "local[2]", *conf)
    environment = os.environ | {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}
    photos, said = s3.folder / "results" / "killed" / "photos", tmp_path / "said"
    with said.open("w") as file:
        outputs = {"stdout": file, "stderr": file}
        killed = subprocess.Popen(arguments, cwd=ROOT, env=environment, start_new_session=True, **outputs)
        try:
            wait_for(lambda: "watch " in said.read_text() or killed.poll() is not None, "the run has begun")
            shown = environment_page(*re.findall(r"^watch +(http\S+)", said.read_text(), re.MULTILINE))
            wait_for(lambda: list(photos.glob("part-*")) or killed.poll() is not None, "a task is done")
        finally:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
    assert not (s3.folder / "results" / "killed" / "mean.json").exists()

    done = subprocess.run([*arguments, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert 0 < told["encoded"] < told["photos"]["listed"]
    assert told["mean_sha256"] == local.mean_sha256

    assert "fs.s3a.secret.key" in shown
    paths = [*tmp_path.rglob("*"), *(s3.folder / "results").rglob("*")]
    written = [path.read_bytes() for path in paths if path.is_file()]
    assert any(b"SparkListenerApplicationEnd" in content for content in written)
    for text in (*written, shown.encode(), done.stdout.encode(), done.stderr.encode()):
        assert s3.secret.encode() not in text
        assert s3.key.encode() not in text


def test_a_password_in_an_input_is_not_in_mean_json(local):
    settings = dataclasses.replace(local.settings, inputs=("http://me:hush@host/a.tgz",))
    assert document(dataclasses.replace(local, settings=settings))["inputs"] == ["http://***@host/a.tgz"]


@pytest.mark.parametrize(
    ("arguments", "properties", "says"),
    [
        (["s3a://nobucket/photos", "--output", "OUT"], {}, "no such bucket at this endpoint: .*fs.s3a.endpoint"),
        (["PHOTOS", "--output", "s3a://nobucket/out"], {}, "no such bucket at this endpoint"),
        (["s3a://photos/nothing", "--output", "OUT"], {}, "does not exist"),
        (
            ["s3a://wrongkey/photos", "--output", "OUT"],
            {"fs.s3a.bucket.wrongkey.secret.key": "wrong"},
            "the store refuses it: .*AWS_ACCESS_KEY_ID",
        ),
        (
            ["s3a://nobody/photos", "--output", "OUT"],
            {"fs.s3a.bucket.nobody.endpoint": "http://127.0.0.1:9"},
            "no store answers there: .*fs.s3a.endpoint",
        ),
        (
            ["s3a://nokey/photos", "--output", "OUT"],
            {
                "fs.s3a.bucket.nokey.access.key": "",
                "fs.s3a.bucket.nokey.secret.key": "",
                "fs.s3a.bucket.nokey.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
            },
            "no key was found: .*AWS_SECRET_ACCESS_KEY",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_store_that_cannot_be_used_is_one_line_with_the_remedy_and_soon(
    spark, store, capsys, face_photos, tmp_path, arguments, properties, says
):
    conf = spark.sparkContext._jsc.hadoopConfiguration()
    for name, value in properties.items():
        conf.set(name, value)
    begun = time.monotonic()
    names = {"PHOTOS": str(face_photos), "OUT": str(tmp_path / "out")}
    code = main(["run", *(names.get(argument, argument) for argument in arguments)])
    err = capsys.readouterr().err
    assert code == 2
    assert re.fullmatch(rf"facemean: error: [^\n]*{says}[^\n]*\n", err)
    assert time.monotonic() - begun < 20
    assert not (tmp_path / "out").exists()


def test_without_its_jars_s3a_says_how_to_get_them(tmp_path):
    spark = tmp_path / "spark"
    (spark / "jars").mkdir(parents=True)
    for path in SPARK.iterdir():
        if path.name != "jars":
            (spark / path.name).symlink_to(path)
    for path in (SPARK / "jars").glob("*.jar"):
        if not path.name.startswith("hadoop-aws-"):
            (spark / "jars" / path.name).symlink_to(path)
    environment = os.environ | {"SPARK_HOME": str(spark)}
    arguments = command("s3a://photos/a", "--output", tmp_path / "out", "--master", "local[1]")
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search(r"^facemean: error: .*not found: .*scripts/jars conf/s3-jars\.txt", done.stderr, re.MULTILINE)
