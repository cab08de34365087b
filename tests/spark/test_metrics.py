"""Metrics and the Spark UI: what a person sees of a run while it runs, asked for over HTTP as Prometheus does."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import ROOT

from spark_job import Settings, run
from spark_job.results.result import Result
from spark_job.row import FAILURES, STATUSES
from spark_job.spark.metrics import GAUGES, Gauges
from spark_job.spark.session import conf_file, read_properties

MONITORING = ROOT / "k8s" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
ALERTS = (MONITORING / "alerts.yaml").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
OWN = "metrics_facemean_driver_AccumulatorSource_"
# Prometheus' text format, as far as Spark writes it: name{labels} value.
LINE = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:\w+="[^"]*"(?:, )?)*)\} (NaN|-?[\d.]+(?:E-?\d+)?)')


def get(spark: Any, path: str) -> bytes:
    with urllib.request.urlopen(f"{spark.sparkContext.uiWebUrl}/{path}") as response:
        return response.read()


def scrape(spark: Any, path: str) -> dict[str, float]:
    """Name -> value; of several with one name, the last."""
    found: dict[str, float] = {}
    for line in filter(str.strip, get(spark, path).decode().splitlines()):
        match = LINE.fullmatch(line)
        assert match, f"not as Prometheus reads it: {line}"
        found[match[1]] = float(match[3])
    return found


def gauges(spark: Any) -> dict[str, float]:
    """The job's own gauges, by the names that spark_job.spark.metrics gives them."""
    found = scrape(spark, "metrics/prometheus/")
    return {name: found[f"{OWN}{name}_Value"] for name in GAUGES if f"{OWN}{name}_Value" in found}


def named(spark: Any) -> dict[str, list[dict[str, Any]]]:
    """What the Spark UI lists of jobs, stages and SQL executions."""
    api = f"api/v1/applications/{spark.sparkContext.applicationId}"
    paths = {"jobs": "jobs", "stages": "stages", "sql": "sql?details=false&length=100000"}
    return {kind: json.loads(get(spark, f"{api}/{path}")) for kind, path in paths.items()}


class Watched(NamedTuple):
    """A run: its result, its gauges while it ran and after, what the executors told, what the UI lists of it."""

    result: Result
    during: list[dict[str, float]]
    after: dict[str, float]
    scraped: set[str]
    executors: dict[str, float]
    listed: dict[str, list[dict[str, Any]]]


@contextmanager
def sampling(spark: Any, every_s: float = 0.1) -> Iterator[list[dict[str, float]]]:
    samples: list[dict[str, float]] = []
    stop = Event()

    def sample() -> None:
        while not stop.wait(every_s):
            samples.append(gauges(spark))

    thread = Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def watched(spark, sample, face_photos, tmp_path_factory) -> Watched:
    """A run over photos of six statuses and a damaged archive, on two cores, scraped all the while."""
    folder = tmp_path_factory.mktemp("watched")
    shutil.copytree(face_photos, folder / "in")
    for name in ("no_face.png", "truncated.jpg", "empty.jpg", "not_a_photo.jpg", "damaged.png"):
        shutil.copy(sample / "variants" / name, folder / "in")
    (folder / "in" / "damaged.tgz").write_bytes(b"no archive")
    settings = Settings(
        inputs=(str(folder / "in"),),
        output=str(folder / "out"),
        detector="hog",
        group_by="/(obama|biden)/",
        max_failed=1.0,
    )
    # By id, not by place: the UI lets go of the oldest jobs of a long session.
    keys = {"jobs": "jobId", "stages": "stageId", "sql": "id"}
    before = {
        kind: max((int(entry[keys[kind]]) for entry in entries), default=-1) for kind, entries in named(spark).items()
    }
    with sampling(spark) as during:
        result = run(settings, spark)
    news = {
        kind: [entry for entry in entries if int(entry[keys[kind]]) > before[kind]]
        for kind, entries in named(spark).items()
    }
    executors = scrape(spark, "metrics/executors/prometheus")
    scraped = set(scrape(spark, "metrics/prometheus/")) | set(executors)
    return Watched(result, during, gauges(spark), scraped, executors, news)


def test_a_resumed_run_shows_what_earlier_runs_did_and_adds_its_own(spark):
    run_ = Gauges(spark.sparkContext, listed=100, missing=40)
    told = gauges(spark)
    assert (told["photos_listed"], told["photos_done"], told["photos_earlier"]) == (100, 60, 60)
    assert told["seconds_left"] != told["seconds_left"], "nan: nothing is known yet"

    run_.statuses.add(Counter(ok=3, crashed=1))
    run_.tell(2.0, 18.0)
    told = gauges(spark)
    assert run_.done() == 4
    assert (told["photos_done"], told["photos_failed"], told["status_ok"]) == (64, 1, 3)
    assert (told["photos_per_second"], told["seconds_left"]) == (2, 18)


def test_in_the_end_the_gauges_are_the_figures_of_the_result(watched):
    photos = json.loads(Path(watched.result.output.removeprefix("file:"), "mean.json").read_text())["photos"]
    assert {status: watched.after[f"status_{status}"] for status in STATUSES} == {s: photos[s] for s in STATUSES}
    assert watched.after["photos_listed"] == watched.after["photos_done"] == photos["listed"]
    assert watched.after["photos_failed"] == sum(photos[status] for status in FAILURES) >= 5
    assert watched.after["photos_earlier"] == watched.after["seconds_left"] == 0
    # The result's speed is that of encoding with its planning, which is long for so few photos.
    assert 0.5 < watched.after["photos_per_second"] / watched.result.photos_per_second < 5


def test_while_it_runs_no_more_is_done_than_is_to_do_and_ever_more_is(watched):
    listed = watched.result.photos["listed"]
    running = [sample for sample in watched.during if sample.get("photos_listed") == listed]
    done = [sample["photos_done"] for sample in running]
    assert done == sorted(done)
    assert done[0] < listed, "nothing was seen of the run while it ran"
    assert done[-1] == listed
    # Of what is told while a sample is taken, it may have one gauge before and another after.
    pairs = pairwise([*running, running[-1]])
    assert all(0 <= sample["status_ok"] <= after["photos_done"] <= listed for sample, after in pairs)


def test_executors_tell_of_their_tasks_and_of_the_memory_of_their_python_workers(watched):
    assert watched.executors["metrics_executor_completedTasks_total"] > 0
    assert watched.executors["metrics_executor_totalCores"] == 2
    assert "metrics_executor_ProcessTreePythonRSSMemory_bytes" in watched.executors


def test_every_job_stage_and_sql_execution_says_what_it_does(watched):
    plain = re.compile(r"[a-z][a-z -]*( [\d,]+ photos[a-z ]*| of settings [0-9a-f]{16})?")
    for kind, entries in watched.listed.items():
        assert entries, kind
        for entry in entries:
            told = {entry.get("name", entry.get("description")), entry.get("description") or entry["name"]}
            assert len(told) == 1, f"{kind}: {entry}"
            assert plain.fullmatch(told.pop()), f"{kind}: {entry}"
    told = {job["name"] for job in watched.listed["jobs"]}
    listed = watched.result.photos["listed"]
    assert {
        "count the photos of the inputs",
        f"encode {listed} photos",
        "look for damaged archives",
        "write rows for photos that cannot be read",
        "count the photos by status",
        f"sum the embeddings of {watched.result.photos['ok']} photos",
        "sum the embeddings of each group",
    } <= told


def test_the_applications_name_is_dns_safe():
    assert re.fullmatch(
        r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", read_properties(conf_file("defaults.conf"))["spark.app.name"]
    )


def expressions() -> dict[str, str]:
    """Where a query stands -> the query: of each panel and variable of the dashboard, and of each alert."""
    found = {f"panel {p['id']} {t['refId']}": t["expr"] for p in DASHBOARD["panels"] for t in p["targets"]}
    variables = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    found |= {variable["name"]: variable["query"]["query"] for variable in variables}
    return found | dict(re.findall(r"- alert: (\w+)\n(?:\s+#.*\n)*\s+expr: (.+)", ALERTS))


def test_alerts_are_found_by_the_operator_and_by_a_prometheus_without_it(tmp_path):
    [command] = re.findall(r"^sed .*alerts\.yaml$", OPERATIONS, re.MULTILINE)
    subprocess.run(["sh", "-c", command.replace(">", f">{tmp_path}/")], cwd=ROOT, check=True)
    rule = yaml.safe_load(ALERTS)
    assert rule["kind"] == "PrometheusRule"
    assert yaml.safe_load((tmp_path / "facemean-alerts.yaml").read_text()) == rule["spec"]
    assert [len(group["rules"]) for group in rule["spec"]["groups"]] == [ALERTS.count("- alert:")]


def test_every_query_names_metrics_that_a_scrape_has(watched):
    queries = expressions()
    assert len(queries) == sum(len(panel["targets"]) for panel in DASHBOARD["panels"]) + 1 + ALERTS.count("- alert:")
    for where, query in queries.items():
        names = set(re.findall(r"\bmetrics_\w+", query))
        assert names, f"{where}: {query}"
        assert names <= watched.scraped, f"{where}: {names - watched.scraped}"


def test_the_dashboard_shows_every_gauge_and_draws_no_panel_over_another():
    shown = " ".join(expressions().values())
    assert [name for name in GAUGES if f"{OWN}{name}_Value" not in shown] == []
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 39
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["type"] in ("stat", "timeseries")
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_alert_and_every_gauge_is_explained():
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert alerts
    assert [name for name in alerts if f"`{name}`" not in OPERATIONS] == []
    gauges_ = [name for name in GAUGES if not name.startswith("status_")]
    assert [name for name in (*gauges_, "status_ok") if f"`{name}`" not in OPERATIONS] == []


def test_every_file_that_the_operator_is_sent_to_exists():
    named = re.findall(r"\b(?:scripts|conf|docs|k8s)/[\w./-]+\w", OPERATIONS)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_failures_are_told_in_the_words_of_the_code():
    source = " ".join(path.read_text() for path in (ROOT / "spark_job").rglob("*.py"))
    # Messages of Spark's and of Kubernetes', and what stands for something else, are not ours to compare.
    ours = [
        "not enough memory to encode it",
        "Spark's Java process ended, perhaps for want of memory",
        "the photos cannot be encoded into",
        "cannot be written to",
        "another run or compaction is writing to",
        "of the files in",
        "run again with --repair",
        "an executor has other model files than the driver",
        "listed photos have no row",
        "no face counts in any of",
    ]
    assert [words for words in ours if words not in source] == []
    assert [words for words in ours if words not in OPERATIONS] == []
