"""The Job of k8s/, as kustomize builds it: its driver's own arguments, with executors that are processes."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
import yaml
from conftest import ROOT, SLOWLY, options
from helpers import kustomize
from kubelet import Node, node, pod_of
from kubernetes_api import Request
from test_manifests import K8S, the

WAIT_S = 240
NAMESPACE, DRIVER = "facemean", "facemean-0"


class Ran(NamedTuple):
    """A run of the Job: the node that it ran on, its exit code, its results, and how many executors were killed."""

    node: Node
    code: int
    output: Path
    killed: list[str]


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(kustomize(K8S / "overlays" / "minikube"))]


@pytest.fixture(scope="module")
def ran(objects, many, tmp_path_factory) -> Any:
    """The Job's pod run to its end, with an executor killed in the middle."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "results").mkdir()
    output, killed = folder / "results" / "out", list[str]()

    def kill_an_executor(one: Node) -> None:
        if not killed and list((output / "photos").glob("part-*")):
            killed.append(next(name for name in one.processes if name != DRIVER))
            one.kill(killed[0], signal.SIGKILL)

    with job_node(objects, folder, many) as one:
        code = driver_of(one, objects, kill_an_executor, *options(SLOWLY))
        yield Ran(one, code, output, killed)


@contextmanager
def job_node(objects: list[dict[str, Any]], folder: Path, photos: Path) -> Iterator[Node]:
    """A node with the objects' configuration, whose claims are this photos' folder and folder/results."""
    places = {
        "local:///opt/facemean": str(ROOT),
        "/conf": str(folder / "conf"),
        "/opt/spark/conf": str(folder / "executor-conf"),
        "/photos": str(photos),
        "/results": str(folder / "results"),
    }
    with node(folder, places, os.environ["FACEMEAN_CACHE"]) as one:
        one.places["k8s://https://kubernetes.default.svc:443"] = f"k8s://{one.url}"
        for found in objects:
            if found["kind"] == "ConfigMap":
                one.objects[f"/api/v1/namespaces/{NAMESPACE}/configmaps/{found['metadata']['name']}"] = found
        yield one


def driver_of(one: Node, objects: list[dict[str, Any]], meanwhile: Callable[[Node], None], *more: str) -> int:
    """Run the Job's pod, with more arguments, to its end; meanwhile is called again and again. The exit code."""
    pod = pod_of(the(objects, "Job", "facemean"))
    pod["spec"]["containers"][0]["args"] += more
    one.start(pod)
    driver, deadline = one.processes[DRIVER], time.monotonic() + WAIT_S
    while driver.poll() is None and time.monotonic() < deadline:
        meanwhile(one)
        time.sleep(0.1)
    assert driver.poll() is not None, f"not done in {WAIT_S} s: {one.said(DRIVER)}"
    return int(driver.returncode)


def waiting_for(what: Callable[[Node], bool], then: Callable[[Node], None]) -> Callable[[Node], None]:
    """Once: then, as soon as what holds."""
    done = list[bool]()

    def look(one: Node) -> None:
        if not done and what(one):
            done.append(True)
            then(one)

    return look


@pytest.mark.slow
def test_a_driver_pod_that_is_told_to_go_exits_130_with_its_line_and_leaves_no_executor(objects, many, tmp_path):
    (tmp_path / "results").mkdir()
    encoding = waiting_for(lambda one: "\nwatch " in one.said(DRIVER), lambda one: one.kill(DRIVER, signal.SIGTERM))
    with job_node(objects, tmp_path, many) as one:
        code = driver_of(one, objects, encoding, *options(SLOWLY))
        said = one.said(DRIVER)
        assert (code, said.splitlines()[-1]) == (130, "facemean: stopped: the same command goes on from here"), said
        assert "ERROR" not in said
        assert [path for path in one.objects if "-exec-" in path] == []


@pytest.mark.slow
def test_a_run_whose_executors_do_not_come_says_why_and_ends(objects, many, tmp_path):
    says = 'no node takes it: persistentvolumeclaim "photos" not found'
    pending = {"type": "PodScheduled", "status": "False", "message": says.partition(": ")[2]}
    (tmp_path / "results").mkdir()
    with job_node(objects, tmp_path, many) as one:
        one.refused["executor"] = {"phase": "Pending", "conditions": [pending]}
        conf = ("spark.facemean.executorsTimeout=25s", "spark.scheduler.maxRegisteredResourcesWaitingTime=1s")
        code = driver_of(one, objects, lambda one: None, *(word for pair in conf for word in ("--conf", pair)))
        said = one.said(DRIVER)
    waits, error = [line for line in said.splitlines() if says in line]
    assert re.match(r"waits    no executor: pod facemean-\S+-exec-1 and 1 more: ", waits), said
    assert re.match(r"facemean: error: none came in 25 s: pod facemean-", error), said
    assert code == 2  # which the Job does not try again
    assert not list((tmp_path / "results" / "out").glob("photos/part-*"))


@pytest.mark.slow
def test_the_jobs_own_arguments_give_local_modes_mean_though_an_executor_is_killed(ran, mean_of_many):
    assert ran.code == 0, ran.node.said(DRIVER)
    assert len(ran.killed) == 1
    document = json.loads((ran.output / "mean.json").read_text())
    assert document["mean_sha256"] == mean_of_many["mean_sha256"]
    assert document["photos"] == mean_of_many["photos"]


@pytest.mark.slow
def test_two_executors_work_and_the_one_that_is_killed_is_replaced(ran):
    executors = [pod for pod in ran.node.sent("Pod") if pod["metadata"]["labels"]["spark-role"] == "executor"]
    assert len(executors) >= 3
    assert [pod for pod in executors if pod["metadata"]["name"] == ran.killed[0]]
    assert "cores: 2" in ran.node.said(DRIVER)


@pytest.mark.slow
def test_nothing_is_left_behind(ran):
    left = [path for path in ran.node.objects if path.split("/")[-1] not in (DRIVER, "facemean-conf")]
    assert [path for path in left if "/configmaps/facemean-conf-" not in path] == []


def permission(request: Request) -> tuple[str, str]:
    """Resource and verb that a request takes, as the API server asks its roles for them."""
    match = re.fullmatch(r"/api/v1/namespaces/[^/]+/(\w+)(/[^/]+)?", request.path)
    assert match, request
    verbs = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete", "GET": "get"}
    verb = verbs[request.method]
    if not match[2] and verb == "get":
        verb = "watch" if parse_qs(request.query).get("watch") == ["true"] else "list"
    return match[1], verb + "collection" * (verb == "delete" and not match[2])


@pytest.mark.slow
def test_the_driver_asks_for_what_its_role_allows_and_its_role_allows_no_more(ran, objects):
    role = the(objects, "Role", "facemean-driver")
    allowed = {(what, verb) for rule in role["rules"] for what in rule["resources"] for verb in rule["verbs"]}
    asked = {permission(request) for request in ran.node.requests if request.path.startswith("/api/v1/")}
    assert asked <= allowed, asked - allowed
    assert allowed <= asked, allowed - asked
