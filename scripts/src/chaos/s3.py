"""S3: a real S3 server on this machine, S3Proxy, which checks Amazon's signatures and keeps each bucket as a folder."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

STARTS_S = 240


@contextmanager
def s3_server(jar: Path, scratch: Path) -> Iterator[SimpleNamespace]:
    """A server that runs while the body does: its folder, endpoint, key and secret, and Hadoop's properties for it."""
    (scratch / "buckets").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    state = SimpleNamespace(folder=scratch / "buckets", endpoint=f"http://127.0.0.1:{port}")
    state.key, state.secret = "KEY" + secrets.token_hex(8), secrets.token_hex(20)
    properties = {
        "s3proxy.endpoint": state.endpoint,
        "s3proxy.authorization": "aws-v4",
        "s3proxy.identity": state.key,
        "s3proxy.credential": state.secret,
        "jclouds.provider": "filesystem-nio2",
        "jclouds.filesystem.basedir": state.folder,
    }
    state.properties = {
        "fs.s3a.endpoint": state.endpoint,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
    }
    (scratch / "properties").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    with (scratch / "log").open("w") as log:
        command = ["java", "-jar", str(jar), "--properties", str(scratch / "properties")]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + STARTS_S
        while not (f":{port}" in (scratch / "log").read_text() and _listens(port)):
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"the S3 server did not start: see {scratch / 'log'}")
            time.sleep(0.05)
        yield state
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
