"""Download a file over HTTP: resumed after breaks, held to its MD5, and published whole or not at all.

What has arrived is in `<name>.partial`; `<name>.partial.json` says of which file that is a part: the address, the length
and the ETag (or date). The rest is asked for by `Range` with `If-Range`, so that a server whose file has changed sends
all of it (RFC 9110, 13.1.5 and 14.2). A whole file of another MD5 is fetched once more, then it is an error.
"""

import errno
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm import tqdm

from ragcun.core.errors import RagcunError, without_secrets
from ragcun.core.files import cache_folder, write_json
from ragcun.fetch.retry import BUSY, PassingError, Patience, retried, seconds_asked

logger = logging.getLogger(__name__)

_CHUNK = 2**20


def downloads_folder() -> Path:
    """Where finished and partial downloads lie: outside the pipeline's outputs, which DVC deletes before a stage."""
    return cache_folder() / "downloads"


def fetch(
    url: str, target: Path, *, label: str, remedy: str, md5: str | None = None, patience: Patience | None = None
) -> None:
    """Make `target` the file at `url`, unless it is there already and right. Processes that want one file take turns.

    Args:
        url: may hold `user:password@`, which is sent and never shown.
        label: what the file is, for messages. remedy: what to correct where the address is wrong: "check ...".
        md5: in hexadecimal; None where it is not known.

    Raises RagcunError where the file is not there, refused or not the published one, or the network or disk gives up.
    What has arrived is kept for the next call, unless it differs.
    """
    with _disk_errors_explained(target.parent), _turn(target, label):
        if not _is_there(target, md5, label):
            part = Part(target, Address(url), resumable=md5 is not None)
            _Download(part, label, remedy, patience or Patience()).run(md5)
            part.publish(target)


def _is_there(target: Path, md5: str | None, label: str) -> bool:
    if not target.exists():
        return False
    difference = _difference(target, md5)
    if difference is None:
        logger.info("%s is there already: %s", label, target)
        return True
    logger.warning("%s is downloaded again: %s was altered, %s", label, target, difference)
    target.unlink()
    return False


class Address:
    """A URL without its credentials, which are in `auth`. As text it also lacks the query, which may hold a token."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc.rpartition("@")[2]
        self.bare = urlunsplit(parts._replace(netloc=self.host))
        self.auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._shown = without_secrets(url)

    def __str__(self) -> str:
        return self._shown


class Part:
    """The part of a file that has arrived, and the note of which file it belongs to.

    resumable: without an ETag or date, too, as a hash will tell whether the halves belong together.
    """

    def __init__(self, target: Path, source: Address, *, resumable: bool) -> None:
        self.source, self.resumable = source, resumable
        self.path = target.with_name(f"{target.name}.partial")
        self._note = target.with_name(f"{target.name}.partial.json")
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            note = None
        # url, validator and bytes of the whole file; bytes is None where the server does not say.
        self.of: dict[str, Any] = note if isinstance(note, dict) else {}

    @property
    def size(self) -> int:
        """The bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def total(self) -> int | None:
        """The bytes of the whole file, where the server said."""
        return self.of.get("bytes")

    def drop_unless_usable(self) -> None:
        """Forget what cannot be added to: another address, more than the whole, or nothing to know the file by."""
        known = self.of.get("validator") or self.resumable
        fits = self.total is None or self.size <= self.total
        if not (self.size and known and fits and self.of.get("url") == str(self.source)):
            self.drop()

    def describe(self, *, validator: str | None, total: int | None) -> None:
        """Note which file this is a part of, for this process and the next."""
        self.of = {"url": str(self.source), "validator": validator, "bytes": total}
        write_json(self._note, self.of)

    def drop(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.of = {}

    def publish(self, target: Path) -> None:
        """Let the whole file take its name."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


class _Download:
    """The requests that make a part whole."""

    def __init__(self, part: Part, label: str, remedy: str, patience: Patience) -> None:
        self.part, self.label, self.remedy, self.patience = part, label, remedy, patience

    def run(self, md5: str | None) -> None:
        """Make the part the whole file. Raises RagcunError where it cannot be had, or has another MD5 twice."""
        for again in (True, False):
            self._complete()
            difference = _difference(self.part.path, md5)
            if difference is None:
                return
            self.part.drop()
            if again:
                logger.warning(
                    "%s: what came from %s is not right, %s; trying once more", self.label, self.part.source, difference
                )
        raise RagcunError(
            f"{self.label}: the file at {self.part.source} is not the one that was published: {difference}. "
            f"The server has an altered or another file; {self.remedy}"
        )

    def _complete(self) -> None:
        """Fetch what is missing. Raises RagcunError where the server refuses, or patience ends."""
        self.part.drop_unless_usable()
        if self.part.size:
            logger.info("%s: going on after the %d bytes that are there", self.label, self.part.size)
        with (
            requests.Session() as session,
            tqdm(desc=self.label, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar,
        ):
            try:
                retried(
                    lambda: self._ask(session, bar), self.patience, label=self.label, arrived=lambda: self.part.size
                )
            except PassingError as failure:
                raise self._error(
                    f"{failure}, {self.patience.attempts} times in a row", f"run again to go on, or {self.remedy}"
                ) from failure

    def _ask(self, session: requests.Session, bar: tqdm) -> None:
        """Ask once for what is missing, if anything is."""
        part = self.part
        part.drop_unless_usable()
        start = part.size
        if start and start == part.total:
            return
        # Encoded on the way, a part could not be counted in bytes of the file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if part.of.get("validator"):
                headers["If-Range"] = part.of["validator"]
        timeout = (self.patience.connect, self.patience.silence)
        with (
            self._network_errors_explained(),
            session.get(
                part.source.bare, auth=part.source.auth, headers=headers, stream=True, timeout=timeout
            ) as response,
        ):
            if not self._goes_on(response, start):
                start = 0
                part.drop()
                length = response.headers.get("Content-Length", "")
                part.describe(validator=_validator(response), total=int(length) if length.isdigit() else None)
            bar.reset(part.total)
            bar.update(start)
            self._receive(response, bar)
        if part.total not in (None, part.size):
            raise PassingError(f"{part.size} of {part.total} bytes arrived")

    def _goes_on(self, response: requests.Response, start: int) -> bool:
        """Whether the answer is the rest of the part (True) or the whole file (False). Raises where it is neither."""
        status = response.status_code
        answer = f"{status} {response.reason}"
        if status == 200:
            return False
        if status == 206 and start and self._is_the_rest(response, start):
            return True
        if status in (206, 416):
            self.part.drop()
            raise PassingError("the server's file and the part that is here do not fit")
        if status in BUSY:
            raise PassingError(f"the server answers {answer}", seconds_asked(response.headers))
        if status in (404, 410):
            raise self._error(f"there is no such file ({status})", self.remedy)
        refused = status in (401, 403, 407)
        raise self._error(
            f"the server refuses it ({answer})" if refused else f"the server answers {answer}", self.remedy
        )

    def _is_the_rest(self, response: requests.Response, start: int) -> bool:
        """Whether a 206 is the range that was asked for, of the same file; notes the file's length where it is new."""
        part = self.part
        span, _, length = response.headers.get("Content-Range", "").partition("/")
        # "*" where the server does not know it.
        total = int(length) if length.isdecimal() else part.total
        validator = part.of.get("validator")
        if not span.startswith(f"bytes {start}-") or part.total not in (None, total):
            return False
        if _validator(response) not in (None, validator):
            return False
        part.describe(validator=validator, total=total)
        return True

    def _receive(self, response: requests.Response, bar: tqdm) -> None:
        with self.part.path.open("ab") as file:
            # As it comes in: a chunk that must first be full would be lost with the connection.
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))

    @contextmanager
    def _network_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._error(
                    f"the certificate of {self.part.source.host} is not trusted",
                    "check the address, or name your proxy's certificates in REQUESTS_CA_BUNDLE",
                ) from error
            raise PassingError(self._cause(error)) from error
        except requests.RequestException as error:
            raise self._error(f"it cannot be asked for ({error})", self.remedy) from error

    def _cause(self, error: Exception) -> str:
        text, host = str(error), self.part.source.host
        if isinstance(error, requests.ConnectTimeout) or "Connect timed out" in text:
            return f"no connection to {host} within {self.patience.connect:g} s"
        if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
            return f"{host} sent nothing for {self.patience.silence:g} s"
        if "NameResolutionError" in text or "NewConnectionError" in text:
            return f"no network, or no server at {host}"
        return "the proxy cannot be reached" if "ProxyError" in text else "the connection broke"

    def _error(self, cause: str, remedy: str) -> RagcunError:
        return RagcunError(f"{self.label} cannot be downloaded from {self.part.source}: {cause}; {remedy}")


def _difference(path: Path, md5: str | None) -> str | None:
    """How the file differs from the published one; None where it does not, or no MD5 is known."""
    if md5 is None:
        return None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    return None if found == md5 else f"its MD5 is {found} instead of {md5}"


def _validator(response: requests.Response) -> str | None:
    """The ETag, or the date of the file. A weak ETag does not promise the same bytes."""
    etag = response.headers.get("ETag", "")
    return (etag if etag and not etag.startswith("W/") else None) or response.headers.get("Last-Modified")


@contextmanager
def _turn(target: Path, label: str) -> Iterator[None]:
    """This process's turn at `target`. The lock of a process that died is free."""
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s: another process downloads it; waiting", label)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, NotImplementedError) as error:
        # NotImplementedError: a file system without locks.
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = error.strerror or error if isinstance(error, OSError) else error
        remedy = "make space there" if full else "fix this"
        raise RagcunError(f"{folder}: {reason}; {remedy}, or name another folder in RAGCUN_CACHE") from error
