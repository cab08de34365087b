"""Cluster: what a run on Kubernetes would stumble over, found before one starts there.

The API server is asked through Spark's own client, and the pod that is tried is the executor that Spark would make of
the same properties: what is right here is right there.
"""

import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext

from spark_job.errors import PreflightError
from spark_job.pods import IMAGE, ended, stuck, waits_for
from spark_job.session import conf_file, logging_option, read_properties
from spark_job.settings import Settings

PREFIX = "k8s://"
ACCOUNT = "spark.kubernetes.authenticate.{}.serviceAccountName"
TRIAL_S, POLL_S = 300.0, 1.0
APPLY = "kubectl apply -k on a folder of k8s/overlays makes it"
# github.com/distribution/reference: a host with a port, lower-case names, a tag, a digest.
REFERENCE = r"(?:[\w.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"


class Refusal(Exception):  # noqa: N818
    """The API server's answer where it is no: its HTTP status and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cluster:
    """The cluster at one master URL, as its API server answers this user."""

    def __init__(self, settings: Settings, master: str) -> None:
        self._conf = read_properties(conf_file("kubernetes.conf"))
        for role in ("driver", "executor"):
            self._conf[f"spark.kubernetes.{role}.podTemplateFile"] = str(conf_file(f"{role}-pod.yaml"))
        self._conf |= dict(pair.split("=", 1) for pair in settings.conf)
        self._url = api_url(master)
        self._namespace = self._conf["spark.kubernetes.namespace"]
        self._reached = False

    def checks(self) -> dict[str, Callable[[], str]]:
        """A name for each check, in the order in which they make sense."""
        return {
            "api": self._api_server,
            "image": self._image,
            "accounts": self._accounts,
            "secrets": self._secrets,
            "admission": self._admission,
            "pod": self._trial,
        }

    def close(self) -> None:
        """End the connections to the API server."""
        if "_client" in self.__dict__:
            self._client.close()

    def _api_server(self) -> str:
        try:
            answer = self._call("GET", "/version") or {}
        except Refusal as refusal:
            raise PreflightError(_unreached(self._url, refusal)) from None
        if "gitVersion" not in answer:
            raise PreflightError(f"{self._url} answers, but is no Kubernetes API server: kubectl cluster-info names it")
        self._reached = True
        return f"{self._url} is Kubernetes {answer['gitVersion']}"

    def _image(self) -> str:
        image = self._conf.get(IMAGE)
        if not image:
            raise PreflightError(f"no image is named: --conf {IMAGE}=REGISTRY/facemean:TAG")
        if not re.fullmatch(REFERENCE, image):
            raise PreflightError(f"{IMAGE} {image!r} is no image reference: REGISTRY/facemean:TAG, in lower case")
        return image

    def _accounts(self) -> str:
        space = f"/api/v1/namespaces/{self._namespace}"
        if self._seen(space) is None:
            raise PreflightError(
                f"there is no namespace {self._namespace}: {APPLY}; spark.kubernetes.namespace names it"
            )
        told = []
        for role in ("driver", "executor"):
            name = self._conf[ACCOUNT.format(role)]
            found = self._seen(f"{space}/serviceaccounts/{name}")
            if found is None:
                named = f"{ACCOUNT.format(role)} names it"
                raise PreflightError(f"namespace {self._namespace} has no service account {name}: {APPLY}; {named}")
            told.append(name if found else f"{name} (not seen: this user may not look)")
        return ", ".join(told)

    def _secrets(self) -> str:
        told = []
        for name, key in self._secrets_wanted():
            found = self._seen(f"/api/v1/namespaces/{self._namespace}/secrets/{name}")
            if found is None or (found and key and key not in found.get("data", {})):
                missing = f"secret {name} has no key {key}" if found else f"there is no secret {name}"
                raise PreflightError(
                    f"{missing} in namespace {self._namespace}: kubectl --namespace {self._namespace} create secret "
                    f"generic {name} --from-env-file=FILE makes it"
                )
            told.append(name if found else f"{name} (not seen: this user may not look)")
        return ", ".join(dict.fromkeys(told)) or "none is asked for"

    def _secrets_wanted(self) -> set[tuple[str, str]]:
        """Name and key ("" for all) of each secret that the properties name."""
        wanted = {(name.strip(), "") for name in self._conf.get(f"{IMAGE}.pullSecrets", "").split(",") if name.strip()}
        for property_, value in self._conf.items():
            if found := re.match(r"spark\.kubernetes\.(?:driver|executor)\.(secretKeyRef|secrets)\.(.+)", property_):
                name, _, key = value.partition(":") if found[1] == "secretKeyRef" else (found[2], "", "")
                wanted.add((name, key))
        return wanted

    def _admission(self) -> str:
        """A dry run: the pods pass every check of the API server's, and none is made."""
        for role in ("executor", "driver"):
            pod = self._pod_of(role)
            try:
                self._call("POST", self._pods("?dryRun=All"), pod)
            except Refusal as refusal:
                raise PreflightError(
                    f"the API server would refuse the {role}'s pod: {_remedied(str(refusal))}"
                ) from None
        return f"pods of both accounts would be let into namespace {self._namespace}"

    def _trial(self) -> str:
        """An executor's pod that runs facemean check in place of the executor."""
        pod = self._pod_of("executor")
        name = pod["metadata"]["name"]
        try:
            self._call("POST", self._pods(), pod)
        except Refusal as refusal:
            raise PreflightError(f"the API server refuses a pod: {_remedied(str(refusal))}") from None
        try:
            return self._outcome(name)
        finally:
            with suppress(Refusal):
                self._call("DELETE", self._pods(f"/{name}?gracePeriodSeconds=0"))

    def _outcome(self, name: str) -> str:
        deadline, seen = time.monotonic() + TRIAL_S, ""
        while time.monotonic() < deadline:
            pod = self._call("GET", self._pods(f"/{name}"))
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

    def _pods(self, rest: str = "") -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods{rest}"

    def _seen(self, path: str) -> dict[str, Any] | None:
        """An object, None where there is none, and {} where this user may not look."""
        try:
            found: dict[str, Any] | None = self._call("GET", path)
            return found
        except Refusal as refusal:
            if refusal.code != 403:
                raise PreflightError(f"the API server does not tell of {path}: {refusal}") from None
            return {}

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """The API server's answer to a request, None for a 404. Raises Refusal."""
        if path != "/version" and not self._reached:
            raise PreflightError("not looked at: no API server answers")
        try:
            answer = self._client.raw(path) if method == "GET" else self._client.raw(path, method, json.dumps(body))
            return None if answer is None else json.loads(answer)
        except Py4JJavaError as error:
            exception = error.java_exception
            status = getattr(exception, "getStatus", lambda: None)()
            if status is not None and status.getMessage():
                raise Refusal(exception.getCode(), status.getMessage()) from None
            while exception.getCause() is not None:
                exception = exception.getCause()
            raise Refusal(0, f"{exception.getClass().getSimpleName()}: {exception.getMessage()}"[:200]) from None
        except ValueError:
            return {}  # an answer, and no JSON

    @cached_property
    def _jvm(self) -> Any:
        # Spark's Java process, without a Spark context: that would start a driver here.
        context: Any = SparkContext
        context._ensure_initialized(conf=SparkConf().set("spark.driver.extraJavaOptions", logging_option()))
        jvm: Any = context._jvm
        jvm.java.lang.System.setProperty("kubernetes.request.retry.backoffLimit", "1")  # not for minutes
        return jvm

    @cached_property
    def _java_conf(self) -> Any:
        # A driver's address, which the pod must name and does not call; and no secret of a run.
        extra = {"spark.driver.host": "none", "spark.app.id": "check", "spark.authenticate": "false"}
        conf = self._jvm.org.apache.spark.SparkConf(False)
        for name, value in {**self._conf, **extra, "spark.kubernetes.executor.disableConfigMap": "true"}.items():
            conf.set(name, value)
        return conf

    @cached_property
    def _client(self) -> Any:
        factory = self._jvm.org.apache.spark.deploy.k8s.SparkKubernetesClientFactory
        kinds = _scala(self._jvm.org.apache.spark.deploy.k8s, "SparkKubernetesClientFactory$ClientType")
        context = "spark.kubernetes.authenticate.submission"
        some, none = self._jvm.scala.Some, self._jvm.scala.Option.empty()
        kind = kinds.Submission()
        return factory.createKubernetesClient(self._url, some(self._namespace), context, kind, self._java_conf, none)

    @cached_property
    def _executor(self) -> dict[str, Any]:
        """The pod of an executor, as Spark makes it."""
        spark, none = self._jvm.org.apache.spark, self._jvm.scala.Option.empty()
        secret_file = getattr(_scala(spark, "SecurityManager"), "$lessinit$greater$default$3")()
        profiles = _scala(spark.resource, "ResourceProfile")
        profiles.clearDefaultProfile()  # of a session that this process may have: it is another's
        made = spark.scheduler.cluster.k8s.KubernetesExecutorBuilder().buildFromFeatures(
            spark.deploy.k8s.KubernetesConf.createExecutorConf(self._java_conf, "1", "check", none, 0),
            spark.SecurityManager(self._java_conf, none, secret_file),
            self._client,
            profiles.getOrCreateDefaultProfile(self._java_conf),
        )
        profiles.clearDefaultProfile()
        as_json = self._jvm.io.fabric8.kubernetes.client.utils.Serialization.asJson
        pod: dict[str, Any] = json.loads(as_json(made.pod().pod()))
        pod["spec"].setdefault("containers", []).insert(0, json.loads(as_json(made.pod().container())))
        return pod

    def _pod_of(self, role: str) -> dict[str, Any]:
        """An executor's pod under the account of a role, that runs facemean check and then ends."""
        self._image()
        if not self._reached:
            raise PreflightError("not looked at: no API server answers")
        try:
            pod: dict[str, Any] = json.loads(json.dumps(self._executor))
        except Py4JJavaError as error:
            raise PreflightError(
                f"Spark makes no pod of these properties: {error.java_exception.getMessage()}"
            ) from None
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


def api_url(master: str) -> str:
    """k8s://host:port -> https://host:port"""
    address = master.removeprefix(PREFIX)
    return address if "://" in address else f"https://{address}"


def _unreached(url: str, refusal: Refusal) -> str:
    if refusal.code == 401:
        return f"{url} does not know this user ({refusal}): log in to the cluster again; see kubectl auth whoami"
    if refusal.code:
        return f"{url} refuses: {refusal}"
    if "certif" in str(refusal).lower() or "PKIX" in str(refusal):
        return f"{url} shows a certificate that is not trusted ({refusal}): set KUBECONFIG to that cluster's"
    return (
        f"no API server answers at {url} ({refusal}): kubectl cluster-info tells the address, --master {PREFIX}ADDRESS"
    )


REMEDIES = {
    "serviceaccount": f"make the account: {APPLY}",
    "PodSecurity": "use conf/driver-pod.yaml and conf/executor-pod.yaml as templates",
    "exceeded quota": "ask for less (spark.executor.memory, memoryOverhead, cores), or raise the quota",
    "cannot create resource": "this user may not make pods: ask for the submitter's role of k8s/",
}


def _remedied(message: str) -> str:
    remedies = [remedy for words, remedy in REMEDIES.items() if words in message]
    return f"{message}: {remedies[0]}" if remedies else message


def _scala(package: Any, name: str) -> Any:
    """A Scala object."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")
