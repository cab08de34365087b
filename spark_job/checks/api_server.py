"""API server: Kubernetes, asked through Spark's own client; and the pod that Spark would make an executor of."""

import json
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext

from spark_job.errors import PreflightError
from spark_job.spark.session import logging_option

PREFIX = "k8s://"


class Refusal(Exception):  # noqa: N818
    """The API server's answer where it is no: its HTTP status and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiServer:
    """The API server at one master URL, as it answers this user.

    conf: Spark's properties of a run there. reached: whether it has answered; nothing else is asked of it before.
    """

    def __init__(self, master: str, conf: dict[str, str]) -> None:
        self.url = api_url(master)
        self.namespace = conf["spark.kubernetes.namespace"]
        self.reached = False
        self._conf = conf

    def close(self) -> None:
        """End the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def version(self) -> str:
        """Its version. Raises PreflightError where nothing answers that is one."""
        try:
            answer = self.call("GET", "/version") or {}
        except Refusal as refusal:
            raise PreflightError(_unreached(self.url, refusal)) from None
        if "gitVersion" not in answer:
            raise PreflightError(f"{self.url} answers, but is no Kubernetes API server: kubectl cluster-info names it")
        self.reached = True
        return str(answer["gitVersion"])

    def pods(self, rest: str = "") -> str:
        """The path of the namespace's pods, or of one."""
        return f"/api/v1/namespaces/{self.namespace}/pods{rest}"

    def seen(self, path: str) -> dict[str, Any] | None:
        """An object, None where there is none, and {} where this user may not look."""
        try:
            found: dict[str, Any] | None = self.call("GET", path)
            return found
        except Refusal as refusal:
            if refusal.code != 403:
                raise PreflightError(f"the API server does not tell of {path}: {refusal}") from None
            return {}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The API server's answer to a request, None for a 404. Raises Refusal."""
        if path != "/version" and not self.reached:
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

    def executor_pod(self) -> dict[str, Any]:
        """The pod of an executor, as Spark makes it. Raises PreflightError where Spark makes none."""
        if not self.reached:
            raise PreflightError("not looked at: no API server answers")
        try:
            pod: dict[str, Any] = json.loads(json.dumps(self._executor))
        except Py4JJavaError as error:
            raise PreflightError(
                f"Spark makes no pod of these properties: {error.java_exception.getMessage()}"
            ) from None
        return pod

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
        return factory.createKubernetesClient(self.url, some(self.namespace), context, kind, self._java_conf, none)

    @cached_property
    def _executor(self) -> dict[str, Any]:
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


def _scala(package: Any, name: str) -> Any:
    """A Scala object."""
    return getattr(getattr(package, f"{name}$"), "MODULE$")
