"""A node: the recording endpoint, on which pods run. What a pod's container says is started as a process.

No container: paths of the pod are those of a folder of this machine (places), its address is one of the loopback's.
What the image brings is said here once: its environment, and the entry point of the official Spark image.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs

from helpers import SPARK
from kubernetes_api import Api, Request, failure, has, recording

ENTRY_POINT = "/opt/entrypoint.sh"
OF_JOB = "batch.kubernetes.io/job-name"
Object = dict[str, Any]


class Node(Api):
    """Pods that are made are run, and those of Jobs; a watch tells of what becomes of them.

    refused: by spark-role, the status that a pod has for ever which this node does not start. makes_pods: of Jobs.
    """

    def __init__(self, folder: Path, image: dict[str, str], places: dict[str, str]) -> None:
        super().__init__()
        self._folder, self._image, self.places = folder, image, places
        self.refused: dict[str, Object] = {}
        self.makes_pods = True
        self.processes: dict[str, subprocess.Popen[bytes]] = {}  # by the pod's name
        # A network of this test's own, so that pods may have the ports that their properties fix.
        self._network = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"  # noqa: S311
        self._changed = Condition()
        self._events: list[Object] = []

    def said(self, name: str) -> str:
        """The log of a pod."""
        return (self._folder / f"{name}.log").read_text()

    def start(self, pod: Object) -> None:
        """Take up a pod as if it had been sent, and run it. Names, addresses and files are as a kubelet makes them."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self.objects[f"/api/v1/namespaces/{namespace}/pods/{name}"] = pod
        if status := self.refused.get(pod["metadata"]["labels"].get("spark-role", "")):
            pod["status"] = status
            return self._tell("ADDED", pod)
        container = pod["spec"]["containers"][0]
        running = {"name": container["name"], "ready": True, "state": {"running": {}}}
        pod["status"] = {
            "phase": "Running",
            "podIP": f"{self._network}.{len(self.processes) + 1}",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [running],
        }
        environment = {**self._image, "HOSTNAME": name, "SPARK_LOCAL_IP": pod["status"]["podIP"]}
        for variable in container.get("env", ()):
            environment[variable["name"]] = self._placed(_value(pod, variable))
        for key, value in environment.items():
            environment[key] = self._expanded(value, environment)
        for mount in container.get("volumeMounts", ()):
            [volume] = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
            if "configMap" in volume:
                self._write(namespace, volume["configMap"]["name"], Path(self._placed(mount["mountPath"])))
        words = [*container.get("command", [ENTRY_POINT]), *container.get("args", ())]
        arguments = [self._expanded(self._placed(word), environment) for word in words]
        with (self._folder / f"{name}.log").open("wb") as log:
            command = entry_point(arguments, environment)
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.processes[name] = process
        self._tell("ADDED", pod)
        Thread(target=self._follow, args=(pod, process), daemon=True).start()
        return None

    def _follow(self, pod: Object, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        ended = {"exitCode": code if code >= 0 else 128 - code, "reason": "Error" if code else "Completed"}
        name = pod["spec"]["containers"][0]["name"]
        pod["status"]["containerStatuses"] = [{"name": name, "state": {"terminated": ended}}]
        self._tell("MODIFIED", pod)
        for job in (one for one in self.objects.values() if one["kind"] == "Job" and _owns(one, pod)):
            over = {"type": "Failed" if code else "Complete", "status": "True", "message": "a pod of it has ended"}
            job["status"] = {"conditions": [over]}

    def _tell(self, kind: str, pod: Object) -> None:
        with self._changed:
            self._events.append({"type": kind, "object": pod})
            self._changed.notify_all()

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a pod's processes a signal, where they have not ended: SIGTERM to the first, as its init does."""
        with suppress(ProcessLookupError, KeyError):  # KeyError: one that this node refused
            if self.processes[name].poll() is None:
                send = os.kill if number == signal.SIGTERM else os.killpg
                send(self.processes[name].pid, number)

    def answer(self, request: Request) -> tuple[int, Any]:
        asked = parse_qs(request.query)
        wanted = asked.get("labelSelector", [""])[0]
        if asked.get("watch") in (["true"], ["1"]):
            self.requests.append(request)
            if "sendInitialEvents" in asked:  # a client that hears this lists first, as an old API server makes it
                return 422, failure(422, "Invalid", "sendInitialEvents is forbidden for watch")
            return 200, self._watch(wanted)
        if request.path.endswith("/log"):
            self.requests.append(request)
            name = request.path.split("/")[-2]
            if asked.get("follow") == ["true"]:
                self.processes[name].wait()
            return 200, self.said(name)
        if request.method == "DELETE":
            for path, one in list(self.objects.items()):
                within = (
                    path.startswith(f"{request.path}/") and wanted and has(one["metadata"].get("labels", {}), wanted)
                )
                if path == request.path or within:
                    self._end(path, one)
        return super().answer(request)

    def _end(self, path: str, one: Object) -> None:
        self.objects.pop(path, None)
        if one["kind"] == "Pod":
            self.kill(one["metadata"]["name"], signal.SIGTERM)
            self._tell("DELETED", one)
        for other, pod in list(self.objects.items()):
            if one["kind"] == "Job" and _owns(one, pod):
                self._end(other, pod)

    def _watch(self, wanted: str) -> Iterator[Object]:
        told = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=told: len(self._events) > seen)
                news, told = self._events[told:], len(self._events)
            yield from (event for event in news if has(event["object"]["metadata"].get("labels", {}), wanted))

    def _put(self, request: Request) -> tuple[int, Any]:
        code, stored = super()._put(request)
        if request.method == "POST" and "dryRun" not in request.query:
            if stored["kind"] == "Pod":
                self.start(stored)
            if stored["kind"] == "Job" and self.makes_pods:
                stored["spec"]["selector"] = {"matchLabels": {OF_JOB: stored["metadata"]["name"]}}
                self.start(pod_of(stored))
        return code, stored

    def _write(self, namespace: str, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for key, text in self.objects[f"/api/v1/namespaces/{namespace}/configmaps/{name}"]["data"].items():
            (folder / key).write_text(self._placed(text))

    def _placed(self, text: str) -> str:
        for place, here in self.places.items():
            text = re.sub(rf"(?<!\w){re.escape(place)}\b", here, text)
        return text

    def _expanded(self, text: str, environment: dict[str, str]) -> str:
        """$(NAME) -> the variable, as Kubernetes does."""
        for name, value in environment.items():
            text = text.replace(f"$({name})", value)
        return text


def pod_of(job: Object) -> Object:
    """The pod that a Job makes."""
    pod: Object = {"kind": "Pod", "apiVersion": "v1", **json.loads(json.dumps(job["spec"]["template"]))}
    name, labels = job["metadata"]["name"], pod["metadata"]["labels"]
    labels[OF_JOB] = name
    pod["metadata"] |= {"name": f"{name}-0", "namespace": job["metadata"]["namespace"], "uid": "0-0"}
    return pod


def _owns(job: Object, pod: Object) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(OF_JOB) == job["metadata"]["name"])


def entry_point(arguments: list[str], environment: dict[str, str]) -> list[str]:
    """What a container runs: a program, or by the entry point of the official Spark image a driver or an executor."""
    e = environment
    if arguments[0] != ENTRY_POINT:
        return arguments
    if arguments[1] == "driver":
        bind = f"spark.driver.bindAddress={e['SPARK_DRIVER_BIND_ADDRESS']}"
        return [f"{SPARK}/bin/spark-submit", "--conf", bind, "--deploy-mode", "client", *arguments[2:]]
    options = sorted((k for k in e if k.startswith("SPARK_JAVA_OPT_")), key=lambda k: int(k.split("_")[3]))
    heap = e["SPARK_EXECUTOR_MEMORY"]
    command = ["java", *(e[name] for name in options), f"-Xms{heap}", f"-Xmx{heap}"]
    command += ["-cp", f"{e.get('SPARK_CONF_DIR', '')}:{SPARK}/jars/*"]
    command += ["org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"]
    for option, name in (
        ("driver-url", "DRIVER_URL"), ("executor-id", "EXECUTOR_ID"), ("cores", "EXECUTOR_CORES"),
        ("app-id", "APPLICATION_ID"), ("hostname", "EXECUTOR_POD_IP"), ("resourceProfileId", "RESOURCE_PROFILE_ID"),
        ("podName", "EXECUTOR_POD_NAME"),
    ):  # fmt: skip
        command += [f"--{option}", e[f"SPARK_{name}"]]
    return command


def _value(pod: Object, variable: Object) -> str:
    if "value" in variable:
        return str(variable["value"])
    value: Any = pod
    for key in variable["valueFrom"]["fieldRef"]["fieldPath"].split("."):
        value = value[key]
    return str(value)


@contextmanager
def node(folder: Path, places: dict[str, str], cache: str) -> Iterator[Node]:
    """A node while the body runs; places: of pods -> of this machine; cache: that of the image's models."""
    image = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "KUBECONFIG": "/nonexistent",
        "SPARK_HOME": str(SPARK),
        "PYSPARK_PYTHON": sys.executable,
        "FACEMEAN_CACHE": cache,
        "LC_ALL": "C.UTF-8",
    }
    one = Node(folder, image, places)
    with recording(one):
        try:
            yield one
        finally:
            for name in one.processes:
                one.kill(name, signal.SIGKILL)
