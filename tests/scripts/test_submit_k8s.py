"""scripts/submit-k8s: what it asks of the API server, and how it exits. spark-submit and kubectl are the real ones."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from conftest import ROOT
from helpers import program
from kubernetes_api import Api, recording
from kubernetes_validate import validate

DRIVER = "spark-kubernetes-driver"
TMP = "/tmp"  # noqa: S108
VERSIONS = ("1.35", "1.36", "1.37")


class Submitted(NamedTuple):
    code: int
    out: str
    err: str


def status(phase: str, **state: object) -> dict[str, object]:
    """A pod's status, with the state of the driver's container and of one that a service mesh put beside it."""
    mesh = {"name": "mesh", "state": {"running": {}}}
    return {"phase": phase, "containerStatuses": [mesh, {"name": DRIVER, "state": state}] if state else []}


STARTING = status("Pending", waiting={"reason": "ContainerCreating"})
RUNNING = status("Running", running={"startedAt": "2026-01-01T00:00:00Z"})


def over(code: int, reason: str = "Error") -> dict[str, object]:
    return status("Failed" if code else "Succeeded", terminated={"exitCode": code, "reason": reason})


def path_to_kubectl() -> str:
    return os.pathsep.join([str(Path(program("kubectl")).parent), os.environ["PATH"]])


def submit(home: Path, *arguments: object) -> Submitted:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK", "KUBE"))}
    environment |= {"HOME": str(home), "KUBECONFIG": str(home / "none"), "PATH": path_to_kubectl()}
    command = [sys.executable, ROOT / "scripts" / "src" / "kubernetes" / "submit_k8s.py", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    return Submitted(done.returncode, done.stdout, done.stderr)


def to(api: Api, *options: object) -> tuple[object, ...]:
    """The arguments of a run on an endpoint."""
    name = ("--name", "facemean-1")
    image = ("--image", "registry.example/facemean:1")
    return ("--master", f"k8s://{api.url}", *image, *name, *options, "--", "/photos", "--output", "/results/out")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """One submission, whose driver fails in the end: what was sent, and what was said."""
    with recording() as api:
        api.statuses, api.log = [STARTING, RUNNING, over(3)], "photos   17 found\n"
        claims = ("--claim", "photos=/photos:ro", "--claim", "results=/results")
        home = tmp_path_factory.mktemp("home")
        yield api, submit(home, *to(api, *claims, "--s3-secret", "facemean-s3"))


@pytest.fixture(scope="module")
def pod(submitted):
    [sent] = submitted[0].sent("Pod")
    return sent


@pytest.fixture(scope="module")
def container(pod):
    return pod["spec"]["containers"][0]


@pytest.fixture(scope="module")
def properties(submitted):
    """Spark's properties as the driver gets them."""
    [text] = [m["data"]["spark.properties"] for m in submitted[0].sent("ConfigMap") if "spark.properties" in m["data"]]
    pairs = (line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in pairs}


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["Pod", "Service", "ConfigMap", "NetworkPolicy"])
def test_every_object_that_is_sent_is_valid(submitted, kind, version):
    sent = submitted[0].sent(kind)
    assert sent
    for one in sent:
        validate(one, version, strict=True)


@pytest.mark.slow
def test_the_drivers_pod_is_the_one_of_the_template(pod, container):
    template = yaml.safe_load((ROOT / "conf" / "driver-pod.yaml").read_text())
    assert template["metadata"]["labels"].items() <= pod["metadata"]["labels"].items()
    assert pod["spec"]["securityContext"] == template["spec"]["securityContext"]
    assert container["securityContext"] == template["spec"]["containers"][0]["securityContext"]
    assert pod["spec"]["enableServiceLinks"] is False
    assert len(pod["spec"]["containers"]) == 1


@pytest.mark.slow
def test_the_drivers_pod_has_its_name_account_image_and_arguments(pod, container):
    assert pod["metadata"]["name"] == "facemean-1"
    assert pod["metadata"]["labels"]["spark-role"] == "driver"
    assert pod["spec"]["serviceAccountName"] == "facemean-driver"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert (container["name"], container["image"]) == (DRIVER, "registry.example/facemean:1")
    application = "local:///opt/facemean/spark_job/__main__.py"
    assert container["args"][-5:] == [application, "run", "/photos", "--output", "/results/out"]


@pytest.mark.slow
def test_the_drivers_pod_asks_for_what_the_properties_say(container):
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "1536Mi"},
        "limits": {"memory": "1536Mi"},
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (ports["driver-rpc-port"], ports["blockmanager"], ports["spark-ui"]) == (7078, 7079, 4040)
    env = {variable["name"]: variable for variable in container["env"]}
    assert env["LC_ALL"]["value"] == "C.UTF-8"
    assert env["SPARK_DRIVER_BIND_ADDRESS"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    key = env["AWS_SECRET_ACCESS_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "facemean-s3", "key": "AWS_SECRET_ACCESS_KEY"}
    assert "value" not in key


@pytest.mark.slow
def test_only_tmp_and_the_results_can_be_written(pod, container):
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "emptyDir" in volumes[mounts[TMP]["name"]]
    assert {variable["name"]: variable.get("value") for variable in container["env"]}["SPARK_LOCAL_DIRS"] == TMP
    claim = volumes[mounts["/results"]["name"]]["persistentVolumeClaim"]
    assert claim["claimName"] == "results"
    assert not mounts["/results"].get("readOnly")
    assert mounts["/photos"]["readOnly"] is True
    others = {path for path in mounts if path not in (TMP, "/results", "/photos")}
    assert all("configMap" in volumes[mounts[path]["name"]] for path in others)


@pytest.mark.slow
def test_the_executors_get_their_template_and_what_the_file_says(submitted, properties):
    [template] = [
        text for m in submitted[0].sent("ConfigMap") for name, text in m["data"].items() if name.startswith("podspec")
    ]
    assert template.strip() == (ROOT / "conf" / "executor-pod.yaml").read_text().strip()
    assert properties["spark.kubernetes.executor.podTemplateFile"].startswith("/opt/spark/pod-template/")
    theirs = ("spark.driver.host", "podTemplateFile", "spark.master", ".conf")
    for line in (ROOT / "conf" / "kubernetes.conf").read_text().splitlines():
        if line.strip() and not line.startswith("#") and not any(word in line for word in theirs):
            name, value = line.split(None, 1)
            assert properties[name] == value


@pytest.mark.slow
def test_no_secret_of_the_run_or_the_store_is_in_an_object(submitted, properties):
    assert "spark.authenticate.secret" not in properties
    assert not re.search(
        r"spark\.hadoop\.fs\.s3a\.(access|secret)", json.dumps([r.body for r in submitted[0].requests])
    )


@pytest.mark.slow
def test_the_service_finds_the_driver_at_the_ports_that_a_policy_names(submitted, pod):
    [service] = submitted[0].sent("Service")
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {7078, 7079, 4040} <= {port["port"] for port in service["spec"]["ports"]}


@pytest.mark.slow
def test_all_that_is_sent_goes_with_the_drivers_pod(submitted):
    api = submitted[0]
    for kind in ("Service", "ConfigMap", "NetworkPolicy"):
        for one in api.sent(kind):
            [owner] = one["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"]) == ("Pod", "facemean-1")


@pytest.mark.slow
def test_the_exit_code_is_the_drivers_though_spark_submit_exits_0(submitted):
    _, done = submitted
    assert (done.code, done.out) == (3, "photos   17 found\n"), done.err
    assert f"{DRIVER} exited 3" in done.err


@pytest.mark.slow
def test_what_is_left_and_where_the_ui_is_are_told(submitted):
    api, done = submitted
    assert re.search(r"watch .* kubectl .* port-forward pod/facemean-1 4040", done.err)
    assert re.search(r"delete .* kubectl .* delete pod facemean-1", done.err)
    for one in api.sent("ConfigMap"):
        assert one["metadata"]["name"] in done.err


@pytest.mark.slow
def test_what_the_api_server_refuses_is_one_line(tmp_path):
    with recording() as api:
        refusal = 'pods "facemean-1" is forbidden: error looking up service account facemean/facemean-driver'
        api.refuses["POST .*/pods"] = (403, "Forbidden", refusal)
        done = submit(tmp_path, *to(api))
    assert done.code == 1
    assert done.err.startswith(f"submit-k8s: error: spark-submit failed: {refusal}")
    assert done.err.count("\n") == 1


def following(api: Api, tmp_path: Path, *statuses: object) -> Submitted:
    """Follow a driver that was submitted earlier."""
    api.objects["/api/v1/namespaces/facemean/pods/facemean-1"] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "facemean-1", "namespace": "facemean"},
        "spec": {"containers": [{"name": DRIVER, "image": "registry.example/facemean:1"}]},
    }
    api.statuses = list(statuses)
    code = (
        "import sys; from submit_k8s import Kubectl, FacemeanError, follow\n"
        f"kubectl = Kubectl(None, 'facemean'); kubectl.at({api.url!r})\n"
        "try: sys.exit(follow(kubectl, 'facemean-1'))\n"
        "except FacemeanError as error: sys.exit(f'error: {error}')\n"
    )
    paths = os.pathsep.join([str(ROOT / "scripts" / "src" / "kubernetes"), str(ROOT)])
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none"), "PYTHONPATH": paths}
    environment["PATH"] = path_to_kubectl()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return Submitted(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statuses", "code", "says"),
    [
        ([over(0, "Completed")], 0, "left "),
        ([over(2)], 2, "exited 2"),
        ([over(137, "OOMKilled")], 1, "spark.driver.memoryOverhead"),
        ([{"phase": "Failed", "reason": "Evicted", "message": "low on memory"}], 1, "Evicted, low on memory"),
        ([RUNNING, None], 1, "gone"),
        ([status("Pending", waiting={"reason": "ImagePullBackOff", "message": "not found"})], 1, "cannot be pulled"),
    ],
)
def test_only_a_driver_that_succeeds_is_exit_0(tmp_path, statuses, code, says):
    with recording() as api:
        done = following(api, tmp_path, *statuses)
    assert done.code == code
    assert says in done.err


@pytest.mark.slow
def test_a_driver_that_cannot_start_is_not_left_to_start_unwatched(tmp_path):
    with recording() as api:
        api.log = "nothing"
        waiting = {"reason": "CreateContainerConfigError", "message": 'secret "facemean-s3" not found'}
        done = following(api, tmp_path, status("Pending", waiting=waiting))
        assert not api.objects
    assert 'secret "facemean-s3" not found' in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--", "/photos"], 2, "--image"),
        (["--image", "facemean:1"], 2, "-- INPUT"),
        (["--image", "facemean:1", "--master", "https://127.0.0.1:9", "--", "x"], 2, "k8s://https://HOST:PORT"),
        (["--image", "facemean:1", "--claim", "photos", "--", "x"], 2, "NAME=/PATH"),
        (["--image", "facemean:1", "--name", "Face Mean", "--", "x"], 2, "--name"),
        (["--image", "facemean:1", "--conf", "spark.hadoop.fs.s3a.secret.key=x", "--", "x"], 2, "is a secret"),
        (["--image", "facemean:1", "--master", "k8s://http://127.0.0.1:9", "--", "x"], 1, "no API server answers"),
        (["--image", "facemean:1", "--", "x"], 1, "KUBECONFIG"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_sent(tmp_path, arguments, code, says):
    done = submit(tmp_path, *arguments)
    assert done.code == code
    assert done.err.count("\n") == 1
    assert says in done.err


def test_without_kubectl_it_says_where_to_get_it(tmp_path):
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    command = [
        sys.executable,
        ROOT / "scripts" / "src" / "kubernetes" / "submit_k8s.py",
        "--image",
        "facemean:1",
        "--",
        "x",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("submit-k8s: error: kubectl is not on PATH")
