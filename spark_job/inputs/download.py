"""Download: an archive given as an http(s) URL -> a local file, fetched once into a cache."""

import hashlib
import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import pooch
import requests

from spark_job import cache
from spark_job.errors import InputError
from spark_job.inputs.kinds import IS_ARCHIVE
from spark_job.settings import Settings, is_url

ATTEMPTS = 5
TIMEOUT_S = 30
CHUNK_BYTES = 2**16
# Shows, while its body runs, how many of so many there are: (what, total, count so far).
Progress = Callable[[str, int, Callable[[], int]], AbstractContextManager[None]]


def fetch(settings: Settings, progress: Progress) -> tuple[str, ...]:
    """The inputs, with each http(s) URL of an archive downloaded and replaced by its local path.

    progress: shows a download.
    Raises InputError where one is no archive, cannot be had, or has another checksum than --checksum.
    """
    return tuple(_local(text, settings.checksum, progress) if is_url(text) else text for text in settings.inputs)


def _local(url: str, checksum: str | None, progress: Progress) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not re.search(IS_ARCHIVE, name):
        raise InputError(f"input {url!r} is no archive (tar, tar.gz, tgz, zip): only archives are downloaded")
    # Each URL has a folder of its own: archives of one name do not meet.
    folder = cache.writable_folder() / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16]
    pooch.get_logger().setLevel(logging.ERROR)
    try:
        return str(pooch.retrieve(url, checksum, name, folder, downloader=_resuming(folder / f"{name}.part", progress)))
    except ValueError as error:  # pooch's word for another checksum
        raise InputError(f"input {url!r}: {str(error).splitlines()[0]}") from None
    except (requests.RequestException, OSError) as error:
        raise InputError(f"input {url!r} cannot be downloaded: {error}: run again to continue where it broke") from None


def _resuming(part: Path, progress: Progress) -> Callable[[str, Any, Any], None]:
    """A downloader for pooch that goes on where an earlier attempt or run broke off."""

    def download(url: str, output_file: Any, _: Any) -> None:
        for attempt in range(ATTEMPTS):
            try:
                _append(url, part, progress)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == ATTEMPTS - 1:
                    raise
        part.replace(output_file)

    return download


def _append(url: str, part: Path, progress: Progress) -> None:
    """Fetch what part lacks; all of it where the server's file is another than the one that part is of."""
    validator = part.with_suffix(".etag")
    have = part.stat().st_size if part.exists() and validator.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": validator.read_text()} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial
        have = have if resumed else 0
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        validator.write_text(tag) if tag else validator.unlink(missing_ok=True)
        total = have + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file, progress("bytes", total, file.tell):
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
