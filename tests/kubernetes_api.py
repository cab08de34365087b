"""A recording endpoint: the few routes of the Kubernetes API that spark-submit, kubectl and facemean check call.

It keeps what is sent, answers in the API server's own words, and plays the kubelet: a pod's statuses, one a look.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

# The kinds that k8s/ and Spark make, by group and version; all but namespaces are of a namespace.
KINDS = {
    "api/v1": {
        "namespaces": "Namespace", "pods": "Pod", "services": "Service", "serviceaccounts": "ServiceAccount",
        "configmaps": "ConfigMap", "secrets": "Secret", "persistentvolumeclaims": "PersistentVolumeClaim",
        "events": "Event",
    },
    "apis/apps/v1": {"deployments": "Deployment"},
    "apis/batch/v1": {"jobs": "Job"},
    "apis/networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "apis/rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding"},
    "apis/sparkoperator.k8s.io/v1beta2": {"sparkapplications": "SparkApplication"},
}  # fmt: skip
VERBS = ["create", "delete", "get", "list", "patch", "watch"]


def discovery() -> dict[str, Any]:
    """What clients ask first, by path: versions, groups, their kinds, and that fields are checked by the server."""
    groups, paths, answers = [], {}, {}
    for root, kinds in KINDS.items():
        *group, version = root.split("/")[1:]
        resources = [
            {"name": n, "singularName": k.lower(), "kind": k, "namespaced": n != "namespaces", "verbs": VERBS}
            for n, k in kinds.items()
        ]
        if root == "api/v1":
            resources.append(
                {"name": "pods/log", "singularName": "", "kind": "Pod", "namespaced": True, "verbs": ["get"]}
            )
        else:
            one = {"groupVersion": f"{group[0]}/{version}", "version": version}
            groups.append({"name": group[0], "versions": [one], "preferredVersion": one})
        name = "/".join((*group, version))
        answers[f"/{root}"] = {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
        paths[root] = {"serverRelativeURL": f"/openapi/v3/{root}"}
        answers[f"/openapi/v3/{root}"] = {"openapi": "3.0.0", "info": {"title": name, "version": version}, "paths": {
            f"/{root}/{n}/{{name}}": {"patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {},
                "x-kubernetes-group-version-kind": {"group": "".join(group), "version": version, "kind": k},
            }} for n, k in kinds.items()
        }}  # fmt: skip
    return answers | {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        "/openapi/v3": {"paths": paths},
    }


DISCOVERY = discovery()
PLURALS = {plural for kinds in KINDS.values() for plural in kinds}


class Request(NamedTuple):
    method: str
    path: str
    query: str
    body: Any


class Api:
    """What was sent, what there is, and what a test lays down beforehand."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.objects: dict[str, Any] = {}  # by path
        self.statuses: list[Any] = []  # of any pod, one for each look at it; the last stays; None: it is gone
        self.log = ""
        self.forbids: set[tuple[str, str]] = set()  # verb and resource, to any service account
        self.refuses: dict[str, tuple[int, str, str]] = {}  # "METHOD /path-regex" -> code, reason, message

    def sent(self, kind: str) -> list[Any]:
        """The objects of a kind, as they were sent."""
        return [r.body for r in self.requests if r.body and r.body.get("kind") == kind and "dryRun" not in r.query]

    def answer(self, request: Request) -> tuple[int, Any]:
        self.requests.append(request)
        for what, (code, reason, message) in self.refuses.items():
            if re.fullmatch(what, f"{request.method} {request.path}"):
                return code, failure(code, reason, message)
        match request.method:
            case "GET" if request.path in DISCOVERY:
                return 200, DISCOVERY[request.path]
            case "GET" if request.path.split("/")[-1] in PLURALS:
                return 200, self._list(request)
            case "GET" if request.path.endswith("/log"):
                return 200, self.log
            case "GET":
                return self._get(request.path)
            case "DELETE":
                self.objects.pop(request.path, None)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            case _:
                return self._put(request)

    def _list(self, request: Request) -> Any:
        """The objects that the selectors of a request name."""
        asked = parse_qs(request.query)
        found = [one for path, one in self.objects.items() if path.rpartition("/")[0] == request.path]
        if found and found[0].get("kind") == "Pod" and self.statuses:
            found = [{**one, "status": self.statuses[0]} for one in found if self.statuses[0]]
        chosen = [
            one
            for one in found
            if has(one["metadata"].get("labels", {}), asked.get("labelSelector", [""])[0])
            and has(fields(one), asked.get("fieldSelector", [""])[0])
        ]
        return {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": chosen}

    def _get(self, path: str) -> tuple[int, Any]:
        found = self.objects.get(path)
        if found and found.get("kind") == "Pod" and self.statuses:
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            found = status and {**found, "status": status}
        if not found:
            kind, name = path.split("/")[-2:]
            return 404, failure(404, "NotFound", f'{kind} "{name}" not found')
        return 200, found

    def _put(self, request: Request) -> tuple[int, Any]:
        if request.body.get("kind") == "LocalSubjectAccessReview":
            asked = request.body["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in self.forbids
            return 201, {**request.body, "status": {"allowed": allowed}}
        patches = request.method == "PATCH"
        path = request.path if patches else f"{request.path}/{request.body['metadata']['name']}"
        known = {"uid": "0-0"}
        if "/namespaces/" in request.path:
            known["namespace"] = request.path.split("/namespaces/")[1].split("/")[0]
        stored = filled_in(merged(self.objects.get(path, {}) if patches else {}, request.body))
        stored["metadata"] = known | stored["metadata"]
        if "dryRun" not in request.query:
            self.objects[path] = stored
        return 200 if patches else 201, stored


def has(found: dict[str, Any], selector: str) -> bool:
    """Whether labels or fields are as a selector says, of name=value and name!=value."""
    pairs = re.findall(r"([^,!=]+)(!?)==?([^,]*)", selector)
    return all((str(found.get(name)) == value) != bool(differs) for name, differs, value in pairs)


def fields(one: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of an object that are no lists: {"metadata.name": ...}."""
    told = {}
    for name, value in one.items():
        told |= fields(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return told


def merged(old: Any, new: Any) -> Any:
    """An object with a patch, whose lists replace."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: merged(old.get(name), value) for name, value in new.items()}


def filled_in(body: Any) -> Any:
    """What the API server adds to what is sent: of a port of a network policy, its protocol."""
    body = json.loads(json.dumps(body))
    if body["kind"] == "NetworkPolicy":
        for rule in (*body["spec"].get("ingress", ()), *body["spec"].get("egress", ())):
            for port in rule.get("ports", ()):
                port.setdefault("protocol", "TCP")
    return body


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    """The Status of a refusal, as the API server writes it."""
    told = {"status": "Failure", "message": message, "reason": reason, "code": code}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, **told}


def kubeconfig(folder: Path, url: str) -> str:
    """The path of a configuration of kubectl, whose one cluster is at this address."""
    path = folder / "kubeconfig"
    clusters = [{"name": "here", "cluster": {"server": url}}]
    contexts = [{"name": "here", "context": {"cluster": "here"}}]
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "here"}
    path.write_text(json.dumps(config | {"clusters": clusters, "contexts": contexts}))
    return str(path)


@contextmanager
def recording(api: Api | None = None) -> Iterator[Api]:
    """An endpoint on loopback while the body runs."""
    api = api or Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            if "Upgrade" in self.headers:  # the client then watches by plain HTTP
                return self.send_error(503, "no web sockets here")
            read = json.loads(body) if body else None
            code, answer = api.answer(Request(self.command, url.path, url.query, read))
            if isinstance(answer, Iterator):
                return self.stream(answer)
            text = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def stream(self, events: Iterator[Any]) -> None:
            """What a watch is told, a line each, for as long as it listens."""
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError):
                for event in events:
                    self.wfile.write(json.dumps(event).encode() + b"\n")

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield api
        server.shutdown()
