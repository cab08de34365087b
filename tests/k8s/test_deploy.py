"""scripts/deploy and the commands of docs/kubernetes.md, with the real kubectl, on an endpoint that runs the pods."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from helpers import path_to
from kubelet import Node, node
from kubernetes_api import kubeconfig

IMAGE = "registry.example/team/facemean:1a2b3c4d5e6f"
SPACE = "/api/v1/namespaces/facemean"
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()
COMMANDS = [line for line in DOCUMENT.split("```sh\n")[1].split("```")[0].splitlines() if line]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster of one node, where kubectl goes."""
    for name in ("photos", "results", "models"):
        (tmp_path / name).mkdir()
    places = {
        "local:///opt/facemean": str(ROOT),
        "/conf": str(tmp_path / "conf"),
        "/opt/spark/conf": str(tmp_path / "executor-conf"),
        "/photos": str(tmp_path / "photos"),
        "/results": str(tmp_path / "results"),
    }
    with node(tmp_path, places, os.environ["FACEMEAN_CACHE"]) as one:
        one.places["k8s://https://kubernetes.default.svc:443"] = f"k8s://{one.url}"
        monkeypatch.setenv("KUBECONFIG", kubeconfig(tmp_path, one.url))
        monkeypatch.setenv("PATH", path_to("kubectl"))
        monkeypatch.setenv("HOME", str(tmp_path))
        yield one


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "image": IMAGE, **variables}
    return subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)


def pending(**status: object) -> dict[str, object]:
    return {"phase": "Pending", **status}


def waiting(reason: str, message: str = "") -> dict[str, object]:
    state = {"waiting": {"reason": reason, "message": message}}
    return pending(containerStatuses=[{"name": "spark-kubernetes-driver", "state": state}])


@pytest.mark.slow
def test_the_readmes_commands_end_in_a_mean(cluster, tmp_path, face_photos):
    """Those that take a container (minikube, an image, cp, exec) are done by hand, in their place."""
    for line in COMMANDS:
        command = line.partition("  #")[0].rstrip()
        if " cp sample files:/photos" in command:
            shutil.copytree(face_photos, tmp_path / "photos" / "sample")
        elif command.startswith(("scripts/deploy", "kubectl")) and " exec " not in command:
            done = shell(command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            for what in re.findall(r"`([^`]+)`", line.partition("# ")[2]):
                assert what in done.stdout + done.stderr, (command, done.stdout, done.stderr)
    assert json.loads((tmp_path / "results" / "out" / "mean.json").read_text())["count"] == 6


@pytest.mark.slow
def test_what_did_not_change_is_not_reported_as_configured(cluster):
    cluster.makes_pods = False
    for overlay, unchanged in (("files", 0), ("minikube", 3), ("minikube", 13), ("submit", 11)):
        done = shell(f"kubectl apply -k k8s/overlays/{overlay}")
        words = [line.split()[-1] for line in done.stdout.splitlines()]
        assert (words.count("configured"), words.count("unchanged")) == (0, unchanged), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "event", "says"),
    [
        (waiting("ImagePullBackOff", "Back-off pulling image"), "", "cannot be pulled (ImagePullBackOff: Back-off"),
        (
            pending(conditions=[{"type": "PodScheduled", "status": "False", "message": 'claim "photos" not found'}]),
            "",
            'did not start in 5 s: no node takes it: claim "photos" not found',
        ),
        (waiting("ContainerCreating"), 'MountVolume.SetUp failed: configmap "x" not found', 'configmap "x" not found'),
    ],
    ids=["image", "claim", "mount"],
)
def test_a_driver_that_cannot_start_is_told_and_taken_back(cluster, status, event, says):
    cluster.refused["driver"] = status
    about = {"kind": "Pod", "name": "facemean-0"}
    metadata = {"name": "one", "namespace": "facemean"}
    one = {"kind": "Event", "apiVersion": "v1", "metadata": metadata, "type": "Warning", "involvedObject": about}
    cluster.objects[f"{SPACE}/events/one"] = {**one, "message": event}
    started = time.monotonic()
    done = shell('scripts/deploy minikube "$image"', START_TIMEOUT_S="5")
    assert done.returncode == 1
    assert time.monotonic() - started < 60
    assert says in done.stderr
    assert done.stderr.splitlines()[-1].endswith(". Job facemean was deleted, with its pod")
    assert not [path for path in cluster.objects if "/jobs/" in path or "/pods/" in path]


@pytest.mark.slow
def test_a_job_whose_pods_are_refused_says_why(cluster):
    cluster.makes_pods = False
    about = {"kind": "Job", "name": "facemean"}
    metadata = {"name": "one", "namespace": "facemean"}
    one = {"kind": "Event", "apiVersion": "v1", "metadata": metadata, "type": "Warning", "involvedObject": about}
    cluster.objects[f"{SPACE}/events/one"] = {**one, "message": 'pods "facemean-" is forbidden: exceeded quota: team'}
    done = shell('scripts/deploy minikube "$image"', START_TIMEOUT_S="3")
    assert done.returncode == 1
    assert "did not start in 3 s: pods" in done.stderr
    assert "exceeded quota: team" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Job", "SparkApplication"])
def test_a_second_deploy_runs_once_more(cluster, tmp_path, kind):
    cluster.makes_pods = False
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    components = ["spark-operator"] if kind == "SparkApplication" else []
    kustomization = {
        "resources": [os.path.relpath(ROOT / "k8s/overlays/minikube", overlay.resolve())],
        "components": [os.path.relpath(ROOT / "k8s/components" / name, overlay.resolve()) for name in components],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (path,) = [
        f"/apis/{group}/namespaces/facemean/{name}/facemean"
        for group, name in (("batch/v1", "jobs"), ("sparkoperator.k8s.io/v1beta2", "sparkapplications"))
        if name == f"{kind.lower()}s"
    ]
    cluster.objects[path] = {"kind": kind, "metadata": {"name": "facemean", "namespace": "facemean", "uid": "1"}}
    done = shell(f'scripts/deploy {overlay} "$image"', START_TIMEOUT_S="1")
    asked = [(r.method, r.path) for r in cluster.requests if r.method in ("DELETE", "POST")]
    assert asked.index(("DELETE", path)) < asked.index(("POST", path.rpartition("/")[0])), done.stderr
    (made,) = cluster.sent(kind)
    assert IMAGE in json.dumps(made)


def test_a_pod_to_copy_by_is_waited_for(cluster: Node, tmp_path: Path):
    done = shell('scripts/deploy files "$image"')
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "deploy: runs    pod files")
