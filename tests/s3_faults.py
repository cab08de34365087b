"""Faults between a client and an S3 server: what an object's name says is done to the requests for it."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

HANGS_S = 30
TIMES = 3  # that a busy server says so, before it answers


@contextmanager
def faults(endpoint: str) -> Iterator[SimpleNamespace]:
    """A server before another: its endpoint, and how often it was asked for what.

    hang: no answer; stall: half of the object, and no more; drip: a byte at a time; busy: 503, some times; down: 503;
    archived: 403, as of what lies in Glacier; cut: the connection is closed in the middle, once.
    """
    asked, ends = Counter[str](), threading.Event()
    server = http.client.urlsplit(endpoint).netloc

    class Between(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            fault = self.path.rsplit("/", 1)[-1].split("-")[0]
            asked[f"{self.command} {fault}"] += 1
            with suppress(OSError):
                if fault == "hang":
                    ends.wait(HANGS_S)
                    self.close_connection = True
                elif fault == "down" or (fault == "busy" and asked["HEAD busy"] <= TIMES):
                    self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
                elif fault == "archived" and self.command == "GET":
                    self.answer(403, b"<Error><Code>InvalidObjectState</Code><Message>m</Message></Error>")
                else:
                    self.forward(fault if self.command == "GET" else "")

        def forward(self, fault: str) -> None:
            behind = http.client.HTTPConnection(server)
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                behind.putheader(name, value)
            behind.endheaders()
            told = behind.getresponse()
            content = told.read()
            self.send_response(told.status)
            for name, value in told.getheaders():
                self.send_header(name, value)
            self.end_headers()
            if fault == "drip":
                for i in range(len(content)):
                    self.wfile.write(content[i : i + 1])
                    if ends.wait(0.2):
                        return
            half = len(content) // 2
            self.wfile.write(content[:half])
            if fault == "stall" or (fault == "cut" and asked["GET cut"] == 1):
                ends.wait(HANGS_S if fault == "stall" else 0)
                self.close_connection = True
                return
            self.wfile.write(content[half:])

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # by default five connections wait, and the next are not answered

    between = Server(("127.0.0.1", 0), Between)
    threading.Thread(target=between.serve_forever, daemon=True).start()
    try:
        yield SimpleNamespace(endpoint=f"http://127.0.0.1:{between.server_port}", asked=asked)
    finally:
        ends.set()
        between.shutdown()
        between.server_close()
