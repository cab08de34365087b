"""Stores: photos read one by one by their addresses, with pyarrow's file systems, in Spark's workers.

Of s3a:// a worker knows what Hadoop does: endpoint and keys come from the same properties, also those of one bucket
(fs.s3a.bucket.NAME.*), and where no key is set, from Amazon's own chain. Messages name no address: it may be hashed.
"""

import contextlib
import errno
import functools
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
from pyspark.sql import SparkSession

from spark_job.errors import PhotoError
from spark_job.inputs.ahead import LateError

T = TypeVar("T")

S3A, OF_BUCKET = "fs.s3a.", "fs.s3a.bucket."
KEYS = ("access.key", "secret.key", "session.token")
PROPERTIES = (
    *KEYS,
    "endpoint",
    "endpoint.region",
    "path.style.access",
    "connection.ssl.enabled",
    "aws.credentials.provider",
)
ADDRESS = re.compile(r"(?s)([a-z0-9]+):(?://([^/]*))?/?(.*)")
TRANSIENT = re.compile(
    r"AWS Error (?:NETWORK_CONNECTION|SERVICE_UNAVAILABLE|SLOW_DOWN|INTERNAL_FAILURE|THROTTLING|REQUEST_TIMEOUT)"
    r"|HTTP status (?:408|429|5\d\d)"
)
REFUSED = re.compile(
    r"AWS Error (?:ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|SIGNATURE_DOES_NOT_MATCH|"
    r"MISSING_AUTHENTICATION_TOKEN)|HTTP status 40[13]"
)
SAYS = re.compile(r"AWS Error (\w+(?: \(HTTP status \d+\))?|\[code \d+\])")
TRIES = 4  # in the time of one photo, of a store that takes a request and then says no more
CONNECTIONS = 64  # to a store; AT_ONCE, and those that were given up and hang on
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0

GONE = "there is nothing at its address"
NO_ADDRESS = (
    "its address is none that is read: s3://BUCKET/KEY, gs://BUCKET/NAME, or a file below the folder of its table"
)
NOT_TOLD = "neither its table nor, when it was listed, its store said how large it is"

Properties = Mapping[str, str]
Opened = Callable[[str], tuple[pafs.FileSystem, str]]


def store_properties(spark: SparkSession) -> dict[str, str]:
    """What a worker must know of s3a:// to read from it, the keys among it: not to be shown."""
    context: Any = spark.sparkContext
    conf = context._jsc.hadoopConfiguration()
    of_buckets = [f"{OF_BUCKET}{name}" for name in conf.getPropsWithPrefix(OF_BUCKET) if name.endswith(PROPERTIES)]
    found = {}
    for name in [*(f"{S3A}{name}" for name in PROPERTIES), *of_buckets]:
        value = conf.getPassword(name) if name.endswith(KEYS) else conf.getTrimmed(name)  # may be in a credential file
        if value:
            found[name] = value if isinstance(value, str) else "".join(value)
    return found


def opener(properties: Properties, timeout_s: float) -> Opened:
    """What gives the file system of an address, and the path there. It raises PhotoError."""
    with_own = {name.removeprefix(OF_BUCKET).removesuffix(f".{end}") for name, end in _ends(properties)}

    @functools.cache
    def in_bucket(bucket: str) -> pafs.S3FileSystem:
        for other in with_own:  # before a request is under way: see _s3
            with contextlib.suppress(OSError):
                _s3(**_s3_options(other, properties, timeout_s / TRIES))
        return _s3(**_s3_options(bucket, properties, timeout_s / TRIES))

    def opened(address: str) -> tuple[pafs.FileSystem, str]:
        found = ADDRESS.fullmatch(address)
        if found is None:
            raise PhotoError("unsupported", NO_ADDRESS)
        scheme, authority, path = found.groups()
        if scheme == "s3a":
            return in_bucket(authority), f"{authority}/{path}"
        if scheme == "gs":
            return _gcs(), f"{authority}/{path}"
        if scheme == "hdfs":
            return _hdfs(authority), f"/{path}"
        if scheme == "file":
            return pafs.LocalFileSystem(), f"/{path}"
        raise PhotoError("unsupported", NO_ADDRESS)

    return opened


def _ends(properties: Properties) -> Iterator[tuple[str, str]]:
    """The properties that are of one bucket, each with the name that it has for all buckets."""
    for name in properties:
        if name.startswith(OF_BUCKET):
            yield name, next(end for end in PROPERTIES if name.endswith(f".{end}"))


def _s3_options(bucket: str, properties: Properties, timeout_s: float) -> dict[str, Any]:
    """What S3FileSystem takes, for one bucket."""

    def of(name: str) -> str | None:
        return properties.get(f"{OF_BUCKET}{bucket}.{name}") or properties.get(f"{S3A}{name}")

    scheme, _, endpoint = (of("endpoint") or "").rpartition("://")
    is_amazon = not endpoint or "amazonaws.com" in endpoint
    return {
        **{name.replace(".", "_"): of(name) for name in KEYS},
        "anonymous": "Anonymous" in (of("aws.credentials.provider") or ""),
        "region": of("endpoint.region") or (_region(bucket) if is_amazon else "us-east-1"),
        "endpoint_override": endpoint.rstrip("/") or None,
        "scheme": scheme or ("http" if of("connection.ssl.enabled") == "false" else "https"),
        "force_virtual_addressing": bool(endpoint) and of("path.style.access") != "true",
        "request_timeout": timeout_s,
        "connect_timeout": timeout_s,
    }


# Each is made once in a process: pyarrow makes none while a request of another is under way, and begins no request
# while one waits to be made, so that a read that hangs would hold up all that come after it.
@functools.cache
def _s3(**options: Any) -> pafs.S3FileSystem:
    pa.set_io_thread_count(CONNECTIONS)  # as many connections may be open
    # patiently tries again, until a photo's time is over.
    return pafs.S3FileSystem(**options, retry_strategy=pafs.AwsDefaultS3RetryStrategy(max_attempts=0))


@functools.cache
def _region(bucket: str) -> str:
    return str(pafs.resolve_s3_region(bucket))


@functools.cache
def _gcs() -> pafs.GcsFileSystem:
    return pafs.GcsFileSystem()


@functools.cache
def _hdfs(authority: str) -> pafs.HadoopFileSystem:
    host, _, port = authority.partition(":")
    return pafs.HadoopFileSystem(host or "default", int(port or 0))


def read(opened: Opened, address: str, length: int) -> bytes:
    """The bytes of a photo, of that length; none is read where it has another by now. Raises PhotoError, OSError."""
    store, path = opened(address)
    _check_is_file(store, path)
    with store.open_input_file(path) as file:
        if length < 0:
            raise PhotoError("unreadable", NOT_TOLD)
        if (size := file.size()) != length:
            raise PhotoError("unreadable", f"it had {length:,} bytes when it was listed, and has {size:,}")
        return bytes(file.read(length)) if length else b""


def ask(opened: Opened, address: str) -> tuple[int, int]:
    """The length of a photo, and when it was changed, microseconds since 1970. Raises PhotoError, OSError."""
    store, path = opened(address)
    told = store.get_file_info(path)
    if told.type != pafs.FileType.File:
        raise PhotoError("unreadable", GONE)
    return told.size, (told.mtime_ns or 0) // 10**6 * 1000  # ms, as Spark's listing has it


def _check_is_file(store: pafs.FileSystem, path: str) -> None:
    """A pipe would be waited for without end."""
    if isinstance(store, pafs.LocalFileSystem) and os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise PhotoError("unsupported", "it is a folder, a pipe, a socket or a device, and no file")


def patiently(work: Callable[[], T], deadline: float, timeout_s: float) -> T:
    """What work gives, which is done again where a store is busy or away. Raises PhotoError.

    deadline: by time.monotonic, timeout_s after the beginning.
    """
    pause = PAUSE_S
    while True:
        try:
            return work()
        except (OSError, pa.ArrowException) as error:
            last = _transient(error)
        pause = min(2 * pause, LONGEST_PAUSE_S)
        wait = pause * random.uniform(0.5, 1)  # noqa: S311
        if time.monotonic() + wait > deadline:
            raise LateError(timeout_s, last)
        time.sleep(wait)


def _transient(error: Exception) -> str:
    """What a store says that is busy or away, in a word. Raises the PhotoError of any other error."""
    text = str(error)
    says = SAYS.search(text)
    if TRANSIENT.search(text):
        return says[1] if says else type(error).__name__
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        raise PhotoError("unreadable", GONE) from None
    if number in (errno.EACCES, errno.EPERM) or REFUSED.search(text):
        raise PhotoError("unreadable", "its store refuses it: may this user, or these keys, read it?") from None
    if "Empty path component" in text:
        raise PhotoError("unsupported", "its name has an empty part, as in a//b, and cannot be asked for") from None
    told = says[1] if says else os.strerror(number) if number else type(error).__name__
    raise PhotoError("unreadable", f"its store does not give it: {told}") from None
