"""facemean check --master k8s://...: against an endpoint that answers in the API server's own words."""

import json
import socket

import pytest
import yaml
from conftest import ROOT
from kubernetes_api import recording

from spark_job.__main__ import main
from spark_job.checks.api_server import api_url
from spark_job.checks.cluster import RIGHTS
from spark_job.checks.objects import named

IMAGE = "spark.kubernetes.container.image=registry.example/facemean:1"
SPACE = "/api/v1/namespaces/facemean"
CLAIM = "spark.kubernetes.{}.volumes.persistentVolumeClaim.{}.options.claimName={}"
KEY = "spark.kubernetes.executor.secretKeyRef.AWS_ACCESS_KEY_ID=facemean-s3:AWS_ACCESS_KEY_ID"


def waiting(reason: str, message: str) -> dict[str, object]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "spark-kubernetes-executor", "state": state}]}


def failed(message: str) -> dict[str, object]:
    state = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    return {"phase": "Failed", "containerStatuses": [{"name": "spark-kubernetes-executor", "state": state}]}


@pytest.fixture
def api(spark, monkeypatch, tmp_path):
    """A cluster on which all is well. (spark: its Java process serves these tests too.)"""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("spark_job.checks.cluster.POLL_S", 0.01)
    with recording() as api:
        api.objects[SPACE] = {"kind": "Namespace"}
        for role in ("driver", "executor"):
            api.objects[f"{SPACE}/serviceaccounts/facemean-{role}"] = {"kind": "ServiceAccount"}
        api.objects[f"{SPACE}/secrets/facemean-s3"] = {"kind": "Secret", "data": {"AWS_ACCESS_KEY_ID": "c2VjcmV0"}}
        api.statuses = [{"phase": "Pending"}, {"phase": "Running"}, {"phase": "Succeeded"}]
        yield api


@pytest.fixture
def check(api, capsys):
    """The exit code of facemean check, and what it says of each thing: ("ok" or "FAILED", text) by name."""

    def run(*conf: str, master: str = "") -> tuple[int, dict[str, tuple[str, str]]]:
        options = [word for pair in conf for word in ("--conf", pair)]
        code = main(["check", "--master", master or f"k8s://{api.url}", *options])
        lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
        return code, {name: (word, text) for word, name, text in lines}

    return run


def test_a_cluster_on_which_a_run_can_work_is_ok_and_nothing_is_left_there(api, check):
    code, told = check(IMAGE, KEY)
    assert (code, [name for name, (word, _) in told.items() if word != "ok"]) == (0, []), told
    assert "1.36.0" in told["api"][1]
    assert not [path for path in api.objects if "/pods/" in path]


def test_the_pod_that_is_tried_is_an_executor_of_the_template(api, check):
    check(IMAGE, KEY)
    [pod] = api.sent("Pod")
    [container] = pod["spec"]["containers"]
    assert container["command"] == ["facemean", "check", "--master", "local[1]"]
    assert container["resources"]["limits"] == {"memory": "1500Mi"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 185
    assert pod["spec"]["serviceAccountName"] == "facemean-executor"
    assert "spark-role" not in pod["metadata"]["labels"]
    [key] = [variable for variable in container["env"] if variable["name"] == "AWS_ACCESS_KEY_ID"]
    assert key["valueFrom"]["secretKeyRef"]["name"] == "facemean-s3"
    assert "c2VjcmV0" not in json.dumps(pod)


def test_admission_is_asked_in_a_dry_run_under_both_accounts(api, check):
    check(IMAGE)
    dry = [r.body["spec"]["serviceAccountName"] for r in api.requests if r.method == "POST" and "dryRun=All" in r.query]
    assert dry == ["facemean-executor", "facemean-driver"]


def test_a_wrong_master_url_is_found_and_nothing_else_is_guessed(check):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code, told = check(IMAGE, master=f"k8s://http://127.0.0.1:{unused.getsockname()[1]}")
    assert code == 1
    assert told["api"][0] == "FAILED"
    assert "Connection refused" in told["api"][1]
    assert "kubectl cluster-info" in told["api"][1]
    assert told["pod"] == ("FAILED", "not looked at: no API server answers")


def test_an_address_that_speaks_no_tls_is_found(api, check):
    code, told = check(IMAGE, master=f"k8s://{api.url.removeprefix('http://')}")
    assert code == 1
    assert "no API server answers at https://127.0.0.1" in told["api"][1]


@pytest.mark.parametrize(
    ("refused", "answer", "name", "says"),
    [
        ("GET /version", (401, "Unauthorized", "Unauthorized"), "api", "does not know this user"),
        (f"GET {SPACE}", (404, "NotFound", 'namespaces "facemean" not found'), "accounts", "no namespace facemean"),
        (
            "GET .*/serviceaccounts/facemean-driver",
            (404, "NotFound", 'serviceaccounts "facemean-driver" not found'),
            "accounts",
            "no service account facemean-driver: kubectl apply -k",
        ),
        (
            "GET .*/secrets/facemean-s3",
            (404, "NotFound", 'secrets "facemean-s3" not found'),
            "secrets",
            "no secret facemean-s3 in namespace facemean: kubectl",
        ),
        (
            "POST .*/pods",
            (403, "Forbidden", 'error looking up service account facemean/x: serviceaccount "x" not found'),
            "admission",
            "make the account",
        ),
        (
            "POST .*/pods",
            (403, "Forbidden", 'pods "facemean-check" is forbidden: violates PodSecurity "restricted:latest"'),
            "admission",
            "conf/executor-pod.yaml",
        ),
        (
            "POST .*/pods",
            (403, "Forbidden", 'pods is forbidden: User "jane" cannot create resource "pods" in API group ""'),
            "admission",
            "the submitter's role",
        ),
        (
            "POST .*/pods",
            (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: team, requested: memory=1500Mi'),
            "admission",
            "ask for less",
        ),
    ],
)
def test_what_the_api_server_refuses_is_told_with_its_remedy(api, check, refused, answer, name, says):
    api.refuses[refused] = answer
    code, told = check(IMAGE, KEY)
    assert code == 1
    assert told[name][0] == "FAILED"
    assert says in told[name][1]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (waiting("ImagePullBackOff", 'Back-off pulling image "registry.example/facemean:1"'), "pullSecrets"),
        (waiting("InvalidImageName", "couldn't parse image name"), "cannot be pulled"),
        (waiting("CreateContainerConfigError", 'secret "facemean-s3" not found'), 'secret "facemean-s3" not found'),
        (failed("FAILED models     the model file is damaged"), "the model file is damaged"),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        (None, "was deleted"),
    ],
)
def test_what_the_node_makes_of_the_pod_is_told_and_the_pod_is_taken_back(api, check, status, says):
    api.statuses = [{"phase": "Pending"}, status]
    code, told = check(IMAGE)
    assert (code, told["pod"][0]) == (1, "FAILED")
    assert says in told["pod"][1]
    assert not [path for path in api.objects if "/pods/" in path]


def test_a_pod_that_no_node_takes_is_told_in_the_schedulers_words(api, check, monkeypatch):
    monkeypatch.setattr("spark_job.checks.cluster.TRIAL_S", 0.3)
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/3 nodes are available: 3 Insufficient memory.",
    }
    api.statuses = [{"phase": "Pending", "conditions": [unschedulable]}]
    code, told = check(IMAGE)
    assert code == 1
    assert "3 Insufficient memory" in told["pod"][1]


@pytest.mark.parametrize(
    ("conf", "name", "says"),
    [
        (CLAIM.format("executor", "photos", "photos"), "claims", "no claim photos in namespace facemean: kubectl"),
        (CLAIM.format("driver", "results", "out"), "claims", "no claim out in namespace facemean"),
        ("spark.kubernetes.executor.secrets.login=/etc/login", "secrets", "no secret login"),
        ("spark.kubernetes.container.image.pullSecrets=one,two", "secrets", "no secret one"),
        ("spark.kubernetes.hadoop.configMapName=hadoop", "configmaps", "no config map hadoop"),
    ],
)
def test_an_object_that_the_properties_name_is_asked_for_and_no_pod_waits_for_it(api, check, conf, name, says):
    code, told = check(IMAGE, conf)
    assert (code, told[name][0]) == (1, "FAILED")
    assert says in told[name][1]
    assert told["pod"][1].startswith("not tried, since it would not start: there is no ")
    assert all(r.query for r in api.requests if r.method == "POST" and r.path.endswith("/pods"))  # dry runs


def test_a_claim_that_is_there_is_ok(api, check):
    api.objects[f"{SPACE}/persistentvolumeclaims/photos"] = {"kind": "PersistentVolumeClaim"}
    claim = CLAIM.format("executor", "photos", "photos")
    code, told = check(IMAGE, claim, claim.split("options")[0] + "mount.path=/photos")
    assert (code, told["claims"]) == (0, ("ok", "photos"))


def test_claims_that_spark_makes_are_not_looked_for():
    made = [CLAIM.format("executor", name, name) for name in ("OnDemand", "claim-SPARK_EXECUTOR_ID")]
    assert named(dict(pair.split("=") for pair in made), "persistentvolumeclaims") == set()


def test_without_a_claim_in_the_properties_it_says_that_none_is_looked_for(api, check):
    code, told = check(IMAGE)
    assert (code, told["claims"][0]) == (0, "ok")
    assert "none is named" in told["claims"][1]


def test_a_key_that_the_secret_lacks_is_named(api, check):
    api.objects[f"{SPACE}/secrets/facemean-s3"]["data"] = {"other": "x"}
    code, told = check(IMAGE, KEY)
    assert code == 1
    assert "secret facemean-s3 has no key AWS_ACCESS_KEY_ID" in told["secrets"][1]


def test_a_secret_that_this_user_may_not_read_is_left_to_the_pod(api, check):
    api.refuses["GET .*/(secrets|serviceaccounts)/.*"] = (403, "Forbidden", "secrets is forbidden: User cannot get")
    code, told = check(IMAGE, KEY)
    assert code == 0
    assert "facemean-s3 (not seen" in told["secrets"][1]


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ((), "no image is named"),
        (("spark.kubernetes.container.image=Registry.example/FaceMean",), "no image reference"),
        (("spark.kubernetes.container.image=facemean:1 2",), "no image reference"),
    ],
)
def test_an_image_that_cannot_be_one_is_found_before_a_pod_is_made(api, check, conf, says):
    code, told = check(*conf)
    assert (code, told["image"][0]) == (1, "FAILED")
    assert says in told["image"][1]
    assert not api.sent("Pod")


@pytest.mark.parametrize("image", ["facemean", "localhost:5000/a/b_c:1.0-x", f"ghcr.io/A/b@sha256:{'0' * 64}".lower()])
def test_an_image_reference_may_be_short_or_long(check, image):
    code, _ = check(f"spark.kubernetes.container.image={image}")
    assert code == 0


@pytest.mark.parametrize(
    ("master", "url"),
    [("k8s://https://host:6443", "https://host:6443"), ("k8s://host:6443", "https://host:6443")],
)
def test_a_master_without_a_scheme_is_https_as_for_spark(master, url):
    assert api_url(master) == url


def test_a_driver_that_may_not_make_executors_is_told_before_it_starts(api, check):
    api.forbids = {("create", "pods")}
    code, told = check(IMAGE)
    assert code == 1
    assert told["rights"][0] == "FAILED"
    assert "facemean-driver may not create pods" in told["rights"][1]


def test_a_user_who_may_not_ask_for_the_drivers_rights_is_told_so_and_nothing_fails(api, check):
    path = "/apis/authorization.k8s.io/v1/namespaces/facemean/localsubjectaccessreviews"
    api.refuses = {f"POST {path}": (403, "Forbidden", "localsubjectaccessreviews is forbidden")}
    code, told = check(IMAGE)
    assert (code, told["rights"][0]) == (0, "ok")
    assert "not seen" in told["rights"][1]


def test_the_rights_that_are_asked_for_are_of_the_drivers_role():
    role = yaml.safe_load_all((ROOT / "k8s" / "access" / "accounts.yaml").read_text())
    rules = next(found for found in role if found["kind"] == "Role")["rules"]
    assert {(verb, what) for rule in rules for what in rule["resources"] for verb in rule["verbs"]} >= set(RIGHTS)
