"""The Job of k8s/, as kustomize builds it: its driver's own arguments, with executors that are processes."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
import yaml
from conftest import ROOT, SLOWLY, options
from helpers import kustomize
from kubelet import Node, node
from kubernetes_api import Request
from test_manifests import K8S, the

WAIT_S = 240
NAMESPACE, DRIVER = "facemean", "facemean-driver-0"


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
    job = the(objects, "Job", "facemean")
    pod = {"kind": "Pod", "apiVersion": "v1", **json.loads(json.dumps(job["spec"]["template"]))}
    pod["metadata"] |= {"name": DRIVER, "namespace": NAMESPACE, "uid": "0-0"}
    pod["spec"]["containers"][0]["args"] += options(SLOWLY)
    places = {
        "local:///opt/facemean": str(ROOT),
        "/conf": str(folder / "conf"),
        "/opt/spark/conf": str(folder / "executor-conf"),
        "/photos": str(many),
        "/results": str(folder / "results"),
    }
    cache = tmp_path_factory.mktemp("models")
    with node(folder, places, str(cache)) as one:
        one.places["k8s://https://kubernetes.default.svc:443"] = f"k8s://{one.url}"
        for found in objects:
            if found["kind"] == "ConfigMap":
                one.objects[f"/api/v1/namespaces/{NAMESPACE}/configmaps/{found['metadata']['name']}"] = found
        one.start(pod)
        driver, output, killed = one.processes[DRIVER], folder / "results" / "out", list[str]()
        deadline = time.monotonic() + WAIT_S
        while driver.poll() is None and time.monotonic() < deadline:
            if not killed and list((output / "photos").glob("part-*")):
                killed = [name for name in one.processes if name != DRIVER][:1]
                one.kill(killed[0], signal.SIGKILL)
            time.sleep(0.1)
        assert driver.poll() is not None, f"not done in {WAIT_S} s: {one.said(DRIVER)}"
        yield Ran(one, driver.returncode, output, killed)


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
