"""A node: the recording endpoint, on which pods run. What a pod's container says is started as a process.

No container: paths of the pod are those of a folder of this machine (places), its address is one of the loopback's.
What the image brings is said here once: its environment, and the entry point of the official Spark image.
"""

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
from kubernetes_api import Api, Request, recording

Object = dict[str, Any]


class Node(Api):
    """Pods that are made are run; a list tells of them, and a watch of what becomes of them."""

    def __init__(self, folder: Path, image: dict[str, str], places: dict[str, str]) -> None:
        super().__init__()
        self._folder, self._image, self.places = folder, image, places
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
        pod["status"] = {"phase": "Running", "podIP": f"{self._network}.{len(self.processes) + 1}"}
        self.objects[f"/api/v1/namespaces/{namespace}/pods/{name}"] = pod
        container = pod["spec"]["containers"][0]
        environment = {**self._image, "HOSTNAME": name, "SPARK_LOCAL_IP": pod["status"]["podIP"]}
        for variable in container.get("env", ()):
            environment[variable["name"]] = self._placed(_value(pod, variable))
        for key, value in environment.items():
            environment[key] = self._expanded(value, environment)
        for mount in container.get("volumeMounts", ()):
            [volume] = [v for v in pod["spec"]["volumes"] if v["name"] == mount["name"]]
            if "configMap" in volume:
                self._write(namespace, volume["configMap"]["name"], Path(self._placed(mount["mountPath"])))
        arguments = [self._expanded(self._placed(word), environment) for word in container["args"]]
        with (self._folder / f"{name}.log").open("wb") as log:
            command = entry_point(arguments, environment)
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.processes[name] = process
        self._tell("ADDED", pod)
        Thread(target=self._follow, args=(pod, process), daemon=True).start()

    def _follow(self, pod: Object, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        pod["status"]["phase"] = "Failed" if code else "Succeeded"
        ended = {"exitCode": code if code >= 0 else 128 - code, "reason": "Error" if code else "Completed"}
        name = pod["spec"]["containers"][0]["name"]
        pod["status"]["containerStatuses"] = [{"name": name, "state": {"terminated": ended}}]
        self._tell("MODIFIED", pod)

    def _tell(self, kind: str, pod: Object) -> None:
        with self._changed:
            self._events.append({"type": kind, "object": pod})
            self._changed.notify_all()

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a pod's processes a signal, where they have not ended."""
        with suppress(ProcessLookupError):
            if self.processes[name].poll() is None:
                os.killpg(self.processes[name].pid, number)

    def answer(self, request: Request) -> tuple[int, Any]:
        asked = parse_qs(request.query)
        wanted = asked.get("labelSelector", [""])[0]
        if request.method == "GET" and request.path.split("/")[-1] in ("pods", "persistentvolumeclaims"):
            self.requests.append(request)
            if asked.get("watch") == ["true"]:
                return 200, self._watch(wanted)
            found = [o for path, o in self.objects.items() if path.startswith(request.path) and _has(o, wanted)]
            return 200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": found}
        if request.method == "DELETE":
            for path, one in list(self.objects.items()):
                if path == request.path or (path.startswith(f"{request.path}/") and wanted and _has(one, wanted)):
                    self._end(path, one)
        return super().answer(request)

    def _end(self, path: str, one: Object) -> None:
        self.objects.pop(path)
        if one["kind"] == "Pod":
            self.kill(one["metadata"]["name"], signal.SIGTERM)
            self._tell("DELETED", one)

    def _watch(self, wanted: str) -> Iterator[Object]:
        told = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=told: len(self._events) > seen)
                news, told = self._events[told:], len(self._events)
            yield from (event for event in news if _has(event["object"], wanted))

    def _put(self, request: Request) -> tuple[int, Any]:
        code, stored = super()._put(request)
        if request.method == "POST" and stored["kind"] == "Pod":
            self.start(stored)
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


def entry_point(arguments: list[str], environment: dict[str, str]) -> list[str]:
    """What the entry point of the official Spark image runs: spark-submit of a driver, or an executor."""
    e = environment
    if arguments[0] == "driver":
        bind = f"spark.driver.bindAddress={e['SPARK_DRIVER_BIND_ADDRESS']}"
        return [f"{SPARK}/bin/spark-submit", "--conf", bind, "--deploy-mode", "client", *arguments[1:]]
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


def _has(one: Object, selector: str) -> bool:
    """Whether an object's labels are as a selector says, of name=value and name!=value."""
    labels = one["metadata"].get("labels", {})
    for name, differs, value in re.findall(r"([^,!=]+)(!?)==?([^,]*)", selector):
        if (labels.get(name) == value) == bool(differs):
            return False
    return True


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
