"""An archive behind a URL is fetched once, resumed where it broke off, and checked."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from spark_job.console import Console
from spark_job.errors import InputError
from spark_job.inputs.download import fetch

CONTENT = bytes(range(256)) * 40_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A local HTTP server that knows ranges; it breaks off after break_after bytes of a response, if set."""
    monkeypatch.setenv("FACEMEAN_CACHE", str(tmp_path / "cache"))
    state = SimpleNamespace(content=CONTENT, etag='"1"', break_after=[], asked=[], status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first = 0
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if asked and self.headers.get("If-Range") == state.etag:
                first = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(state.status if not first else 206)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(state.content) - first))
            self.end_headers()
            body = state.content[first:]
            self.wfile.write(body[: state.break_after.pop(0)] if state.break_after else body)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/some/photos.tgz"
    yield state
    http.shutdown()


def fetched(settings, server, **options) -> bytes:
    (path,) = fetch(settings(server.url, **options), Console(quiet=True).progress)
    assert Path(path).name == "photos.tgz"
    return Path(path).read_bytes()


def test_an_archive_is_fetched_once(settings, server):
    checksum = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"
    assert fetched(settings, server, checksum=checksum) == CONTENT
    assert fetched(settings, server, checksum=checksum) == CONTENT
    assert server.asked == [None]


def test_a_download_that_breaks_off_is_resumed(settings, server):
    server.break_after = [1_000_000, 3_000_000]
    assert fetched(settings, server) == CONTENT
    assert server.asked[0] is None
    assert len(server.asked) == 3
    assert all(asked and asked.startswith("bytes=") for asked in server.asked[1:])


def test_a_later_run_resumes_what_an_earlier_one_left(settings, server):
    server.break_after = [500_000] * 5
    with pytest.raises(InputError, match="run again"):
        fetched(settings, server)
    assert fetched(settings, server) == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(settings, server):
    server.break_after = [500_000] * 5
    with pytest.raises(InputError):
        fetched(settings, server)
    server.content, server.etag = CONTENT[::-1], '"2"'
    assert fetched(settings, server) == CONTENT[::-1]


def test_another_checksum_is_refused_and_not_kept(settings, server):
    with pytest.raises(InputError, match="hash"):
        fetched(settings, server, checksum="sha256:" + "0" * 64)
    good = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert fetched(settings, server, checksum=good) == CONTENT


def test_a_missing_file_is_named(settings, server):
    server.status = 404
    with pytest.raises(InputError, match=r"photos\.tgz.*404"):
        fetched(settings, server)


def test_inputs_that_are_no_urls_stay_as_they_are(settings):
    assert fetch(settings("a", "s3a://b/c.tgz"), Console(quiet=True).progress) == ("a", "s3a://b/c.tgz")
