"""A recording endpoint: the few routes of the Kubernetes API that spark-submit, kubectl and facemean check call.

It keeps what is sent, answers in the API server's own words, and plays the kubelet: a pod's statuses, one a look.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

DISCOVERY: dict[str, Any] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": "pods", "singularName": "pod", "kind": "Pod", "namespaced": True, "verbs": ["get", "delete"]},
            {"name": "pods/log", "singularName": "", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
        ],
    },
}


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
            case "GET" if request.path.endswith("/log"):
                return 200, self.log
            case "GET":
                return self._get(request.path)
            case "DELETE":
                self.objects.pop(request.path, None)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            case _:
                return self._put(request)

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
        if request.body["kind"] == "LocalSubjectAccessReview":
            asked = request.body["spec"]["resourceAttributes"]
            allowed = (asked["verb"], asked["resource"]) not in self.forbids
            return 201, {**request.body, "status": {"allowed": allowed}}
        name = request.body["metadata"]["name"]
        known = {"uid": "0-0", "namespace": request.path.split("/namespaces/")[1].split("/")[0]}
        stored = {**request.body, "metadata": known | request.body["metadata"]}
        if "dryRun" not in request.query:
            path = request.path if request.method == "PATCH" else f"{request.path}/{name}"
            self.objects[path] = stored
        return 201, stored


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    """The Status of a refusal, as the API server writes it."""
    told = {"status": "Failure", "message": message, "reason": reason, "code": code}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, **told}


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
