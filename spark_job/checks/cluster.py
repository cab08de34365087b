"""Cluster: what a run on Kubernetes would stumble over, found before one starts there.

The API server is asked through Spark's own client, and the pod that is tried is the executor that Spark would make of
the same properties: what is right here is right there.
"""

import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from spark_job.checks.api_server import ApiServer, Refusal
from spark_job.checks.objects import look
from spark_job.errors import PreflightError
from spark_job.settings import Settings
from spark_job.spark.pods import IMAGE, ended, stuck, waits_for
from spark_job.spark.session import conf_file, read_properties

ACCOUNT = "spark.kubernetes.authenticate.{}.serviceAccountName"
# Without any of these a driver does not start, or its executors do not: of the role of k8s/access, the verbs that a run
# cannot do without.
RIGHTS = [(verb, "pods") for verb in ("create", "get", "list", "watch", "delete")] + [("create", "configmaps")]
TRIAL_S, POLL_S = 300.0, 1.0
APPLY = "kubectl apply -k k8s/overlays/submit makes it"
CLAIM = "spark.kubernetes.executor.volumes.persistentVolumeClaim.NAME.options.claimName=NAME"
# github.com/distribution/reference: a host with a port, lower-case names, a tag, a digest.
REFERENCE = r"(?:[\w.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"


class Cluster:
    """The cluster at one master URL, as its API server answers this user."""

    def __init__(self, settings: Settings, master: str) -> None:
        self._conf = read_properties(conf_file("kubernetes.conf"))
        for role in ("driver", "executor"):
            self._conf[f"spark.kubernetes.{role}.podTemplateFile"] = str(conf_file(f"{role}-pod.yaml"))
        self._conf |= dict(pair.split("=", 1) for pair in settings.conf)
        self._api = ApiServer(master, self._conf)
        self._namespace = self._api.namespace
        self._missing: list[str] = []

    def checks(self) -> dict[str, Callable[[], str]]:
        """A name for each check, in the order in which they make sense."""
        return {
            "api": self._api_server,
            "image": self._image,
            "accounts": self._accounts,
            "rights": self._rights,
            "claims": self._claims,
            "secrets": self._secrets,
            "configmaps": self._config_maps,
            "admission": self._admission,
            "pod": self._trial,
        }

    def close(self) -> None:
        """End the connections to the API server."""
        self._api.close()

    def _api_server(self) -> str:
        return f"{self._api.url} is Kubernetes {self._api.version()}"

    def _image(self) -> str:
        image = self._conf.get(IMAGE)
        if not image:
            raise PreflightError(f"no image is named: --conf {IMAGE}=REGISTRY/facemean:TAG")
        if not re.fullmatch(REFERENCE, image):
            raise PreflightError(f"{IMAGE} {image!r} is no image reference: REGISTRY/facemean:TAG, in lower case")
        return image

    def _accounts(self) -> str:
        space = f"/api/v1/namespaces/{self._namespace}"
        if self._api.seen(space) is None:
            raise PreflightError(
                f"there is no namespace {self._namespace}: {APPLY}; spark.kubernetes.namespace names it"
            )
        told = []
        for role in ("driver", "executor"):
            name = self._conf[ACCOUNT.format(role)]
            found = self._api.seen(f"{space}/serviceaccounts/{name}")
            if found is None:
                named = f"{ACCOUNT.format(role)} names it"
                raise PreflightError(f"namespace {self._namespace} has no service account {name}: {APPLY}; {named}")
            told.append(name if found else f"{name} (not seen: this user may not look)")
        return ", ".join(told)

    def _rights(self) -> str:
        """Whether the driver's account may do what a run cannot do without."""
        name = self._conf[ACCOUNT.format("driver")]
        path = f"/apis/authorization.k8s.io/v1/namespaces/{self._namespace}/localsubjectaccessreviews"
        for verb, resource in RIGHTS:
            asked = {"namespace": self._namespace, "verb": verb, "resource": resource}
            user = f"system:serviceaccount:{self._namespace}:{name}"
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "LocalSubjectAccessReview",
                "metadata": {"namespace": self._namespace},
                "spec": {"user": user, "resourceAttributes": asked},
            }
            try:
                answer = self._api.call("POST", path, review) or {}
            except Refusal as refusal:
                return f"not seen: this user may not ask what {name} may do ({refusal.code})"
            if not answer.get("status", {}).get("allowed"):
                raise PreflightError(f"service account {name} may not {verb} {resource}: {APPLY}, with its role")
        return f"{name} may make, watch and delete executors"

    def _claims(self) -> str:
        remedy = f"{APPLY}, where it is photos or results; else make it, or name another"
        return self._looked("persistentvolumeclaims", remedy) or (
            f"none is named: where photos or results are in claims, name each as the run does, --conf {CLAIM}"
        )

    def _secrets(self) -> str:
        remedy = f"kubectl --namespace {self._namespace} create secret generic {{}} --from-env-file=FILE makes it"
        return self._looked("secrets", remedy) or "none is named"

    def _config_maps(self) -> str:
        remedy = f"kubectl --namespace {self._namespace} create configmap {{}} --from-file=FILE makes it"
        return self._looked("configmaps", remedy) or "none is named"

    def _looked(self, kind: str, remedy: str) -> str:
        try:
            return look(self._api, self._conf, kind, remedy)
        except PreflightError as error:
            if self._api.reached:
                self._missing.append(str(error).partition(":")[0])
            raise

    def _admission(self) -> str:
        """A dry run: the pods pass every check of the API server's, and none is made."""
        for role in ("executor", "driver"):
            pod = self._pod_of(role)
            try:
                self._api.call("POST", self._api.pods("?dryRun=All"), pod)
            except Refusal as refusal:
                raise PreflightError(
                    f"the API server would refuse the {role}'s pod: {_remedied(str(refusal))}"
                ) from None
        return f"pods of both accounts would be let into namespace {self._namespace}"

    def _trial(self) -> str:
        """An executor's pod that runs facemean check in place of the executor."""
        if self._missing:
            raise PreflightError(f"not tried, since it would not start: {self._missing[0]}")
        pod = self._pod_of("executor")
        name = pod["metadata"]["name"]
        try:
            self._api.call("POST", self._api.pods(), pod)
        except Refusal as refusal:
            raise PreflightError(f"the API server refuses a pod: {_remedied(str(refusal))}") from None
        try:
            return self._outcome(name)
        finally:
            with suppress(Refusal):
                self._api.call("DELETE", self._api.pods(f"/{name}?gracePeriodSeconds=0"))

    def _outcome(self, name: str) -> str:
        deadline, seen = time.monotonic() + TRIAL_S, ""
        while time.monotonic() < deadline:
            pod = self._api.call("GET", self._api.pods(f"/{name}"))
            if pod is None:
                raise PreflightError(f"pod {name} was deleted before it ended")
            if trouble := stuck(pod):
                raise PreflightError(trouble)
            phase = pod.get("status", {}).get("phase")
            if phase == "Succeeded":
                return f"facemean check was well in a pod on node {pod['spec'].get('nodeName', '?')}"
            if phase == "Failed":
                raise PreflightError(f"facemean check failed in a pod: {ended(pod)}")
            seen = waits_for(pod) or phase or ""
            time.sleep(POLL_S)
        raise PreflightError(f"a pod did not end in {TRIAL_S:.0f} s: {seen}; kubectl describe nodes shows what is free")

    def _pod_of(self, role: str) -> dict[str, Any]:
        """An executor's pod under the account of a role, that runs facemean check and then ends."""
        self._image()
        pod = self._api.executor_pod()
        account = self._conf[ACCOUNT.format(role)]
        labels = {k: v for k, v in pod["metadata"].get("labels", {}).items() if not k.startswith("spark-")}
        labels["app.kubernetes.io/component"] = "check"
        pod["metadata"] = {"name": f"facemean-check-{secrets.token_hex(4)}", "labels": labels}
        pod["spec"] |= {"serviceAccount": account, "serviceAccountName": account, "activeDeadlineSeconds": int(TRIAL_S)}
        pod["spec"].pop("hostname", None)
        container = pod["spec"]["containers"][0]
        container |= {"command": ["facemean", "check", "--master", "local[1]"], "args": [], "ports": []}
        container["terminationMessagePolicy"] = "FallbackToLogsOnError"
        container.pop("lifecycle", None)
        return pod


REMEDIES = {
    "serviceaccount": f"make the account: {APPLY}",
    "PodSecurity": "use conf/driver-pod.yaml and conf/executor-pod.yaml as templates",
    "exceeded quota": "ask for less (spark.executor.memory, memoryOverhead, cores), or raise the quota",
    "cannot create resource": "this user may not make pods: ask for the submitter's role of k8s/",
}


def _remedied(message: str) -> str:
    remedies = [remedy for words, remedy in REMEDIES.items() if words in message]
    return f"{message}: {remedies[0]}" if remedies else message
