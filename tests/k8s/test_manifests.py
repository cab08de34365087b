"""k8s/, built by the real kustomize: every overlay, and every component on top of the minikube one."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from helpers import kustomize, path_to, program
from kubernetes_validate import ValidationError, validate

from spark_job.__main__ import parser
from spark_job.checks.cluster import APPLY
from spark_job.settings import check_property
from spark_job.spark.session import read_properties

K8S, CONF = ROOT / "k8s", ROOT / "conf"
OVERLAYS = sorted(folder.name for folder in (K8S / "overlays").iterdir())
COMPONENTS = sorted(folder.name for folder in (K8S / "components").iterdir())
KUBERNETES = ("1.35", "1.36", "1.37")
IMAGE = "registry.example/team/facemean:1a2b3c4d5e6f"
Object = dict[str, Any]
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """What each overlay, and each component on the minikube overlay, comes to with an image set."""
    made = {}
    for name in OVERLAYS + COMPONENTS:
        folder = tmp_path_factory.mktemp(name)
        overlay, components = (name, []) if name in OVERLAYS else ("minikube", [K8S / "components" / name])
        kustomization = {
            "resources": [os.path.relpath(K8S / "overlays" / overlay, folder.resolve())],
            "components": [os.path.relpath(component, folder.resolve()) for component in components],
            "images": [{"name": "facemean", "newName": IMAGE.split(":")[0], "newTag": IMAGE.split(":")[1]}],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        made[name] = list(yaml.safe_load_all(kustomize(folder)))
    return made


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [found for found in objects if found["kind"] in kinds]


def the(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (found for found in of_kind(objects, kind) if re.fullmatch(name, found["metadata"]["name"]))
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Where it stands, metadata and spec of each pod: those of objects, and those inside that Spark makes pods of."""
    for found in objects:
        name = f"{found['kind']} {found['metadata']['name']}"
        if found["kind"] == "Pod":
            yield name, found["metadata"], found["spec"]
        elif found["kind"] in ("Job", "Deployment"):
            yield name, found["spec"]["template"]["metadata"], found["spec"]["template"]["spec"]
        elif found["kind"] == "SparkApplication":
            for role in ("driver", "executor"):
                yield f"{name} {role}", *(found["spec"][role]["template"][part] for part in ("metadata", "spec"))
        elif found["kind"] == "ConfigMap":
            template = yaml.safe_load(found["data"]["executor-pod.yaml"])
            yield f"{name} executor-pod.yaml", template["metadata"], template["spec"]


def each_pod(built: dict[str, list[Object]]) -> list[tuple[str, Object, Object]]:
    driver = yaml.safe_load((CONF / "driver-pod.yaml").read_text())
    found = [(f"{name}: {where}", *rest) for name, objects in built.items() for where, *rest in pods(objects)]
    return [*found, ("conf/driver-pod.yaml", driver["metadata"], driver["spec"])]


def objects_once(built: dict[str, list[Object]]) -> list[Object]:
    """Each object of any overlay, once."""
    return list({json.dumps(found, sort_keys=True): found for objects in built.values() for found in objects}.values())


def test_monitoring_brings_the_dashboard_as_it_is_and_scrapes_the_drivers_pod(built):
    objects = list(yaml.safe_load_all(kustomize(K8S / "monitoring")))
    dashboard = the(objects, "ConfigMap", "facemean-dashboard-.*")
    [text] = dashboard["data"].values()
    assert json.loads(text) == json.loads((K8S / "monitoring" / "grafana-dashboard.json").read_text())
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {found["metadata"]["namespace"] for found in objects} == {"facemean"}
    monitor = the(objects, "PodMonitor", "facemean")["spec"]
    template = the(built["minikube"], "Job", "facemean")["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    assert {endpoint["portNumber"] for endpoint in monitor["podMetricsEndpoints"]} <= ports
    assert the(objects, "PrometheusRule", "facemean")["spec"]["groups"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_fits_the_schema_of_its_kind_strictly(built, version):
    templates = [yaml.safe_load((CONF / f"{role}-pod.yaml").read_text()) for role in ("driver", "executor")]
    templates += [
        yaml.safe_load(found["data"]["executor-pod.yaml"]) for found in of_kind(objects_once(built), "ConfigMap")
    ]
    for found in objects_once(built) + templates:
        if found["kind"] == "SparkApplication":  # Kubernetes has no schema of it: the next test
            continue
        try:
            assert validate(found, version, strict=True) == version
        except ValidationError as error:
            where = ".".join(map(str, error.absolute_path))
            pytest.fail(f"{found['kind']} {found['metadata'].get('name')}: {where}: {error.message}")


def test_a_misspelt_field_does_not_fit(built):
    job = json.loads(json.dumps(the(built["minikube"], "Job", "facemean")))
    job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsNonroot"] = True
    with pytest.raises(ValidationError, match="runAsNonroot"):
        validate(job, KUBERNETES[-1], strict=True)


# Of api/v1beta2/sparkapplication_types.go of kubeflow/spark-operator 2.x: the fields in use, and their types.
TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 1}
ROLE = {"cores": NUMBER, "memory": TEXT, "memoryOverhead": TEXT, "serviceAccount": TEXT, "template": {"type": "object"}}
SPARK_APPLICATION = {
    "type": {"enum": ["Python"]},
    "mode": {"enum": ["cluster"]},
    **dict.fromkeys(("sparkVersion", "image", "imagePullPolicy", "mainApplicationFile", "sparkConfigMap"), TEXT),
    "arguments": {"type": "array", "items": TEXT},
    "sparkConf": {"type": "object", "additionalProperties": TEXT},
    "timeToLiveSeconds": NUMBER,
    "restartPolicy": {
        "additionalProperties": False,
        "properties": {
            "type": {"enum": ["Never", "OnFailure", "Always"]},
            "onFailureRetries": NUMBER,
            "onFailureRetryInterval": NUMBER,
            "onSubmissionFailureRetries": NUMBER,
            "onSubmissionFailureRetryInterval": NUMBER,
        },
    },
    "driver": {"additionalProperties": False, "properties": {**ROLE, "coreRequest": TEXT}},
    "executor": {"additionalProperties": False, "properties": {**ROLE, "instances": NUMBER}},
}


def test_the_spark_application_has_the_fields_of_its_kind_and_the_properties_of_the_job(built):
    jsonschema = pytest.importorskip("jsonschema")
    spec = the(built["spark-operator"], "SparkApplication", "facemean")["spec"]
    jsonschema.validate(spec, {"additionalProperties": False, "properties": SPARK_APPLICATION})
    for role in ("driver", "executor"):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": spec[role]["template"]}
        validate(template, KUBERNETES[-1], strict=True)
    assert not of_kind(built["spark-operator"], "Job")
    assert spec["sparkVersion"] == spark_version()
    assert spec["sparkConfigMap"] == the(built["spark-operator"], "ConfigMap", "facemean-conf-.*")["metadata"]["name"]

    shared = read_properties(CONF / "kubernetes.conf")
    fields = {
        f"spark.{role}.{name}": str(spec[role][field])
        for role in ("driver", "executor")
        for name, field in (("cores", "cores"), ("memory", "memory"), ("memoryOverhead", "memoryOverhead"))
    }
    fields["spark.kubernetes.driver.request.cores"] = spec["driver"]["coreRequest"]
    of_the_operator = re.compile(
        r"spark\.(master|app\.name|eventLog\..*|driver\.cores|kubernetes\.(namespace|authenticate\..*|.*podTemplate.*"
        r"|.*volumes.*))"
    )
    told = {**spec["sparkConf"], **fields}
    expected = {name: value for name, value in shared.items() if not of_the_operator.fullmatch(name)}
    assert {name: value for name, value in told.items() if not of_the_operator.fullmatch(name)} == expected


def spark_version() -> str:
    (version,) = re.findall(r"^pyspark==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return version


def test_the_driver_is_the_pod_of_the_job(built):
    for name in ("minikube", "cloud", "history-server", "submitter"):
        container = the(built[name], "Job", "facemean")["spec"]["template"]["spec"]["containers"][0]
        variables = {variable["name"]: variable for variable in container["env"]}
        source = {
            name: found["valueFrom"]["fieldRef"]["fieldPath"]
            for name, found in variables.items()
            if "valueFrom" in found
        }
        assert source["SPARK_DRIVER_BIND_ADDRESS"] == source["POD_IP"] == "status.podIP"
        assert variables["SPARK_LOCAL_DIRS"]["value"] == "/tmp"  # noqa: S108
        assert container["image"] == variables["EXECUTOR_IMAGE"]["value"] == IMAGE

        arguments = container["command"]
        assert arguments[:2] == ["/opt/entrypoint.sh", "driver"]
        assert arguments[-1] == "local:///opt/facemean/spark_job/__main__.py"
        told = {value for option, value in pairwise(arguments) if option == "--conf"}
        assert {
            "spark.driver.host=$(POD_IP)",
            "spark.kubernetes.driver.pod.name=$(POD_NAME)",
            "spark.kubernetes.namespace=$(POD_NAMESPACE)",
            "spark.kubernetes.container.image=$(EXECUTOR_IMAGE)",
        } <= told
        assert set(re.findall(r"\$\((\w+)\)", " ".join(arguments))) <= set(variables)
        assert container["args"][0] == "run"


def test_what_is_mounted_is_where_spark_and_facemean_look(built):
    shared = read_properties(CONF / "kubernetes.conf")
    for name in ("minikube", "cloud", "history-server"):
        spec = the(built[name], "Job", "facemean")["spec"]["template"]["spec"]
        container, volumes = spec["containers"][0], {volume["name"]: volume for volume in spec["volumes"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert len(mounted) == len(volumes)
        assert mounted["/tmp"] == {"name": "spark-local-dir-1", "emptyDir": {}}  # noqa: S108
        conf = the(built[name], "ConfigMap", "facemean-conf-.*")
        assert mounted["/conf"]["configMap"]["name"] == conf["metadata"]["name"]
        arguments = container["command"]
        assert Path(arguments[arguments.index("--properties-file") + 1]).name in conf["data"]
        assert Path(shared["spark.kubernetes.executor.podTemplateFile"]).name in conf["data"]
        assert conf["data"]["spark-defaults.conf"] == (CONF / "kubernetes.conf").read_text()
        used = [argument for argument in container["args"] if argument.startswith(("/photos", "/results"))]
        assert all(f"/{path.split('/')[1]}" in mounted for path in used)
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
        assert claims <= {claim["metadata"]["name"] for claim in of_kind(built[name], "PersistentVolumeClaim")}


def test_executors_see_the_claims_that_the_driver_sees(built, tmp_path):
    (tmp_path / "overlay.conf").write_text(
        the(built["minikube"], "ConfigMap", "facemean-conf-.*")["data"]["overlay.conf"]
    )
    claims = "spark.kubernetes.executor.volumes.persistentVolumeClaim"
    properties = read_properties(tmp_path / "overlay.conf")
    container = the(built["minikube"], "Job", "facemean")["spec"]["template"]["spec"]["containers"][0]
    for mount in container["volumeMounts"]:
        if mount["name"] in ("photos", "results"):
            assert properties[f"{claims}.{mount['name']}.mount.path"] == mount["mountPath"]
            assert properties[f"{claims}.{mount['name']}.options.claimName"] == mount["name"]
            assert (
                properties.get(f"{claims}.{mount['name']}.mount.readOnly", "false")
                == str(mount.get("readOnly", False)).lower()
            )


def test_the_limit_of_the_driver_is_what_its_heap_and_overhead_take(built):
    shared = read_properties(CONF / "kubernetes.conf")
    needed = quantity(shared["spark.driver.memory"]) + quantity(shared["spark.driver.memoryOverhead"])
    resources = the(built["minikube"], "Job", "facemean")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert quantity(resources["limits"]["memory"]) == quantity(resources["requests"]["memory"]) == needed


def test_a_lost_driver_is_started_again_and_a_run_that_cannot_come_out_otherwise_is_not(built):
    for name in ("minikube", "cloud"):
        spec = the(built[name], "Job", "facemean")["spec"]
        assert spec["backoffLimit"] == 2
        assert spec["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it
        exits, disruptions = spec["podFailurePolicy"]["rules"]
        assert (exits["action"], exits["onExitCodes"]["values"]) == ("FailJob", [2, 3])
        assert exits["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
        assert disruptions["action"] == "Ignore"


def test_the_executors_of_the_cloud_are_those_of_conf_on_spot_nodes():
    shared, cloud = (
        yaml.safe_load(path.read_text())
        for path in (CONF / "executor-pod.yaml", K8S / "overlays/cloud/executor-pod.yaml")
    )
    (label,) = cloud["spec"].pop("nodeSelector").items()
    (toleration,) = cloud["spec"].pop("tolerations")
    assert (toleration["key"], toleration["value"]) == label
    assert cloud == shared


def test_the_cloud_has_as_many_executors_as_there_is_work_for():
    properties = read_properties(CONF / "kubernetes.conf") | read_properties(K8S / "overlays/cloud/cloud.conf")
    for name in ("dynamicAllocation.enabled", "dynamicAllocation.shuffleTracking.enabled", "decommission.enabled"):
        assert properties[f"spark.{name}"] == "true"
    assert "spark.executor.instances" not in properties  # it overrides initialExecutors


def test_pods_are_what_pod_security_restricted_asks_for(built):
    for where, _, spec in each_pod(built):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert {context[field] for field in ("runAsUser", "runAsGroup", "fsGroup")} == {185}, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), where
        assert {next(iter(set(volume) - {"name"})) for volume in spec.get("volumes", ())} <= {
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
        }, where
        for container in spec["containers"] + spec.get("initContainers", []):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, where
            assert own["readOnlyRootFilesystem"] is True, where
            assert own["capabilities"] == {"drop": ["ALL"]}, where
    for name, objects in built.items():
        labels = the(objects, "Namespace", "facemean")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted", name


def test_only_the_driver_has_a_token(built):
    for where, metadata, spec in each_pod(built):
        is_driver = metadata["labels"]["app.kubernetes.io/component"] == "driver"
        assert is_driver or spec["automountServiceAccountToken"] is False, where


def test_every_container_says_what_it_needs_and_what_it_may_take(built):
    checked = 0
    for name, objects in built.items():
        for where, _, spec in pods(of_kind(objects, "Job", "Deployment", "Pod")):
            for container in spec["containers"]:
                resources = container["resources"]
                assert {"cpu", "memory"} <= set(resources["requests"]), (name, where)
                assert resources["limits"]["memory"], (name, where)
                for amount in (*resources["requests"].values(), *resources["limits"].values()):
                    assert quantity(amount) > 0, (name, where)
                checked += 1
        for claim in of_kind(objects, "PersistentVolumeClaim"):
            assert quantity(claim["spec"]["resources"]["requests"]["storage"]) >= 2**30
    assert checked >= len(OVERLAYS)


def quantity(text: str) -> float:
    """A quantity of Kubernetes, or a memory size of Spark's, in bytes or cores."""
    number, unit = re.fullmatch(r"(\d+(?:\.\d+)?)([numkMGTgt]|[KMGT]i|)", text).groups()  # type: ignore[union-attr]
    sizes = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "g": 2**30, "M": 10**6, "G": 10**9, "": 1.0}
    # A small m is a thousandth in Kubernetes and a mebibyte in Spark, where cores are whole.
    return float(number) * (sizes[unit] if unit in sizes else 2**20 if float(number) >= 100 and unit == "m" else 1e-3)


def test_images_are_named_by_a_tag_that_stays(built):
    for where, _, spec in each_pod(built):
        for container in spec["containers"]:
            assert container.get("image", IMAGE) == IMAGE, where
            assert container.get("imagePullPolicy", "IfNotPresent") == "IfNotPresent", where
    assert ":latest" not in "".join(path.read_text() for path in K8S.rglob("*.yaml"))


def test_roles_are_of_one_namespace_and_have_no_wildcard(built):
    objects = objects_once(built)
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    assert len(of_kind(objects, "Role")) == 2
    for role in of_kind(objects, "Role"):
        for rule in role["rules"]:
            words = rule["apiGroups"] + rule["resources"] + rule["verbs"]
            assert "*" not in "".join(words)
            assert not {"secrets", "roles", "rolebindings", "pods/exec", "escalate", "bind", "impersonate"} & set(words)


def test_the_driver_may_do_what_the_audit_log_of_a_cluster_showed(built):
    rules = the(built["minikube"], "Role", "facemean-driver")["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    pods_ = ("create", "get", "list", "watch", "delete", "deletecollection")
    assert allowed == {
        *(("pods", verb) for verb in pods_),
        *(("configmaps", verb) for verb in ("create", "deletecollection")),
        ("services", "deletecollection"),
        *(("persistentvolumeclaims", verb) for verb in ("list", "deletecollection")),
    }


def test_every_permission_has_its_reason():
    for path in [*K8S.rglob("accounts.yaml")]:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if line.startswith("  - apiGroups:"):
                assert lines[number - 1].startswith("  #"), f"{path}:{number + 1} has no comment above"


@pytest.mark.parametrize("path", [*CONF.glob("*.conf"), *K8S.rglob("*.conf")], ids=lambda path: path.name)
def test_every_property_has_its_reason(path):
    for paragraph in path.read_text().split("\n\n"):
        lines = paragraph.strip().splitlines()
        if any(not line.startswith("#") for line in lines):
            assert lines[0].startswith("# "), f"{path}: {lines[0]} has no comment above"


def test_accounts_and_bindings_name_what_is_there(built):
    shared = read_properties(CONF / "kubernetes.conf")
    for name in ("minikube", "cloud", *COMPONENTS):
        accounts = {found["metadata"]["name"] for found in of_kind(built[name], "ServiceAccount")}
        roles = {found["metadata"]["name"] for found in of_kind(built[name], "Role")}
        used = {shared[f"spark.kubernetes.authenticate.{role}.serviceAccountName"] for role in ("driver", "executor")}
        for binding in of_kind(built[name], "RoleBinding"):
            assert binding["roleRef"]["name"] in roles
            used |= {subject["name"] for subject in binding["subjects"]}
            assert {subject["namespace"] for subject in binding["subjects"]} == {"facemean"}
        used |= {spec["serviceAccountName"] for _, _, spec in pods(of_kind(built[name], "Job"))}
        assert used == accounts
        assert shared["spark.kubernetes.namespace"] == "facemean"


def test_ports_are_those_of_the_properties_and_no_other(built):
    shared = read_properties(CONF / "kubernetes.conf")
    driver, blocks, executor, ui = (
        int(shared[name])
        for name in ("spark.driver.port", "spark.driver.blockManager.port", "spark.blockManager.port", "spark.ui.port")
    )
    objects = built["minikube"]
    job = the(objects, "Job", "facemean")["spec"]["template"]
    assert [port["containerPort"] for port in job["spec"]["containers"][0]["ports"]] == [driver, blocks, ui]
    service = the(objects, "Service", "facemean-driver")
    assert service["spec"]["ports"][0]["port"] == ui == int(service["metadata"]["annotations"]["prometheus.io/port"])
    assert service["spec"]["selector"].items() <= job["metadata"]["labels"].items()

    policies = {
        name: the(objects, "NetworkPolicy", f"facemean-{name}")["spec"] for name in ("none", "driver", "executor")
    }
    assert policies["none"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["driver"]["podSelector"]["matchLabels"].items() <= job["metadata"]["labels"].items()
    assert open_ports(policies["driver"]["ingress"]) == {driver, blocks, ui}
    assert open_ports(policies["driver"]["egress"]) == {executor, 443, 6443, 8443, 53}
    assert open_ports(policies["executor"]["ingress"]) == {executor}
    assert open_ports(policies["executor"]["egress"]) == {driver, blocks, executor, 53}
    in_the_cloud = the(built["cloud"], "NetworkPolicy", "facemean-executor")["spec"]
    assert in_the_cloud["egress"][:-1] == policies["executor"]["egress"]
    assert open_ports(in_the_cloud["egress"][-1:]) == {443}


def open_ports(rules: list[Object]) -> set[int]:
    assert all(rule["ports"] for rule in rules)  # a rule without is one for every port
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_credentials_are_a_secret_that_only_drivers_read(built):
    # Spark hands AWS_* of its driver to the executors.
    for where, metadata, spec in each_pod(built):
        for container in spec["containers"]:
            for source in container.get("envFrom", ()):
                assert source == {"secretRef": {"name": "facemean-s3", "optional": True}}, where
                assert metadata["labels"]["app.kubernetes.io/component"] == "driver", where


def test_no_secret_has_its_value_here(built):
    objects = objects_once(built)
    assert not of_kind(objects, "Secret")
    told = json.dumps(objects)
    assert not re.search(r"AKIA[0-9A-Z]{16}|secret\.key|-----BEGIN", told)
    for where, _, spec in each_pod(built):
        for container in spec["containers"]:
            for variable in container.get("env", ()):
                assert not re.search(r"(?i)secret|password|token|access_key", variable["name"]), where


def test_names_are_labels_of_dns(built):
    for found in objects_once(built):
        name = found["metadata"]["name"]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name), name
        assert found["kind"] == "Namespace" or found["metadata"]["namespace"] == "facemean", name
    # The names of executor pods begin with it, and end with 38 characters of Spark's.
    assert re.fullmatch(r"[a-z][-a-z0-9]{0,20}", read_properties(CONF / "kubernetes.conf")["spark.app.name"])


def test_the_history_server_reads_and_cleans_what_runs_leave(built):
    objects = built["history-server"]
    options = the(objects, "Deployment", "facemean-history")["spec"]["template"]["spec"]["containers"][0]["env"][1][
        "value"
    ]
    told = dict(option.removeprefix("-D").split("=") for option in options.split())
    arguments = the(objects, "Job", "facemean")["spec"]["template"]["spec"]["containers"][0]["command"]
    assert f"spark.eventLog.dir={told['spark.history.fs.logDirectory']}" in arguments
    assert "spark.eventLog.enabled=true" in arguments
    assert told["spark.history.fs.cleaner.enabled"] == "true"


def test_the_history_server_may_be_slow_on_a_busy_node(built):
    deployment = the(built["history-server"], "Deployment", "facemean-history")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    startup, liveness = (container[f"{name}Probe"] for name in ("startup", "liveness"))
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 120
    assert min(container[f"{name}Probe"]["timeoutSeconds"] for name in ("startup", "readiness", "liveness")) >= 10


def test_a_cluster_of_four_cores_holds_the_driver_two_executors_and_its_own_pods(built):
    """A run, the pod to copy by and the history server, with what minikube's own pods and calico's ask for."""
    asked_m = [1000, *2 * [1000 * int(read_properties(CONF / "kubernetes.conf")["spark.executor.cores"])]]
    for _, _, spec in pods([*of_kind(built["history-server"], "Job", "Deployment"), *of_kind(built["files"], "Pod")]):
        asked_m += [int(one["resources"]["requests"]["cpu"].removesuffix("m")) for one in spec["containers"]]
    assert len(asked_m) == 6
    assert sum(asked_m) <= 3750
    assert "minikube start --cpus 4" in DOCUMENT


def test_a_run_of_ones_own_replaces_what_is_run_and_nothing_else(built):
    example, base = (
        json.loads(json.dumps(the(built[name], "Job", "facemean")["spec"]["template"]["spec"]))
        for name in ("example", "minikube")
    )
    theirs, ours = example["containers"][0].pop("args"), base["containers"][0].pop("args")
    assert example == base
    assert theirs[0] == ours[0] == "run"
    settings = vars(parser().parse_args(theirs))
    assert (settings["output"], settings["group_by"]) == ("/results/holidays", "parent")
    assert all(check_property(pair) is None for pair in settings["conf"])


def test_submit_k8s_finds_what_it_needs_and_no_run(built):
    kinds = {(one["kind"], one["metadata"]["name"]) for one in built["submit"]}
    assert not {kind for kind, _ in kinds} & {"Job", "Pod", "SparkApplication", "Deployment"}
    accounts = {("ServiceAccount", f"facemean-{role}") for role in ("driver", "executor")}
    claims = {("PersistentVolumeClaim", name) for name in ("photos", "results")}
    policies = {("NetworkPolicy", f"facemean-{name}") for name in ("none", "driver", "executor")}
    assert {("Namespace", "facemean"), ("Role", "facemean-driver"), *accounts, *claims, *policies} <= kinds
    assert APPLY.startswith("kubectl apply -k k8s/overlays/submit ")
    assert (ROOT / "k8s/overlays/submit").is_dir()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["minikube"], "two arguments"),
        (["moon", IMAGE], "there is no overlay moon"),
        (["minikube", "facemean"], "has no tag"),
        (["minikube", "localhost:5000/facemean"], "has no tag"),
    ],
)
def test_deploy_says_what_is_wrong_with_its_arguments(arguments, told, tmp_path):
    nowhere = {**os.environ, "PATH": path_to("kubectl"), "KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run(["scripts/deploy", *arguments], cwd=ROOT, capture_output=True, text=True, env=nowhere)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_readme_names_what_is_there(built):
    """Each kubectl command of the Kubernetes section is one, and what it names is made by an overlay."""
    for folder in re.findall(r"`((?:overlays|components)/[\w-]+)`", DOCUMENT):
        assert (K8S / folder).is_dir()
    assert set(re.findall(r"`overlays/([\w-]+)`", DOCUMENT)) == set(OVERLAYS)
    assert set(re.findall(r"`components/([\w-]+)`", DOCUMENT)) == set(COMPONENTS)
    assert set(re.findall(r"^scripts/deploy (\w+)", DOCUMENT, re.MULTILINE)) <= set(OVERLAYS)
    made = {f"{found['kind'].lower()}/{found['metadata']['name']}" for found in objects_once(built)}
    commands = re.findall(r"kubectl -n (\w+) ([^`#\n]*)", DOCUMENT)
    assert len(commands) >= 6
    for namespace, command in commands:
        assert f"namespace/{namespace}" in made
        assert set(re.findall(r"\b(?:pod|job|service)/[\w-]+", command)) <= made, command
        words = command.split(" -- ")[0].split()
        told = subprocess.check_output([program("kubectl"), words[0], "--help"], text=True)
        for option in re.findall(r"--([a-z-]+)", " ".join(words)):
            assert f"--{option}=" in told, command
    in_files = the(built["files"], "Pod", "files")["spec"]["containers"][0]["volumeMounts"]
    for path in re.findall(r"(?:files:|cat )(/\w+)", DOCUMENT):
        assert path in {mount["mountPath"] for mount in in_files}
    output = the(built["minikube"], "Job", "facemean")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"cat {output[output.index('--output') + 1]}/mean.json" in DOCUMENT
