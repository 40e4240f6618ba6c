"""One file over HTTP, in parts: what has arrived is kept, and the rest is asked for, until it is whole.

What arrives is appended to `<name>.partial`; `<name>.partial.json` says of which file that is a part: the address, and
the ETag (or date) that the server gave. The rest is asked for by `Range` with `If-Range`, so that a server whose file has
changed sends the whole of it (RFC 9110, 13.1.5 and 14.2).

Waits double from one failure to the next and vary at random; a server's Retry-After is heeded. A failure after which more
of the file is there than ever before does not count: it ends when several tries in a row brought nothing.
"""

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import urllib3
from tqdm import tqdm

from ragcun.core.errors import RagcunError, without_secrets
from ragcun.core.files import write_json

logger = logging.getLogger(__name__)

_CHUNK = 2**20
_BUSY = (408, 425, 429, 500, 502, 503, 504)
# A generator of its own: the waits must not shift what the seeded ones draw.
_jitter = random.Random()


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try.

    attempts: in a row, without a new byte. first_wait: after the first failure, then doubled up to longest_wait, which
    also bounds a server's Retry-After. connect, silence: without a connection, and without a byte on one.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    connect: float = 20.0
    silence: float = 60.0


class Address:
    """A URL, its credentials apart. As text it is without them and without the query, which may hold a token."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc.rpartition("@")[2]
        self.bare = urlunsplit(parts._replace(netloc=self.host))
        self.auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._shown = without_secrets(url)

    def __str__(self) -> str:
        return self._shown


class _Broken(Exception):
    """A try failed in a way that the next one may not; `wait` is what the server asks for."""

    def __init__(self, cause: str, wait: float | None = None) -> None:
        super().__init__(cause)
        self.wait = wait


class Part:
    """What has arrived of a file, and how to get the rest.

    Args:
        size: of the whole, where it is known.
        needs_validator: a part without one is dropped; False where a hash will tell whether the halves belong together.
    """

    def __init__(
        self,
        target: Path,
        source: Address,
        *,
        label: str,
        remedy: str,
        patience: Patience,
        size: int | None = None,
        needs_validator: bool = True,
    ) -> None:
        self.target, self.source, self.label, self.remedy, self.patience = target, source, label, remedy, patience
        self.expected, self.needs_validator = size, needs_validator
        self.path = target.with_name(f"{target.name}.partial")
        self.note = target.with_name(f"{target.name}.partial.json")
        # url, validator and bytes of the file this is a part of.
        self.of = self._read_note()
        if not self._may_continue():
            self.drop()

    def complete(self) -> str | None:
        """Fetch what is missing. Returns why this cannot be the right file where that shows before it is whole.

        Raises RagcunError where the server refuses, or `patience.attempts` tries in a row brought nothing new.
        """
        if self.size:
            logger.info("%s: going on after the %d bytes that are there", self.label, self.size)
        most, fruitless = self.size, 0
        with (
            requests.Session() as session,
            tqdm(desc=self.label, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar,
        ):
            while self.of.get("bytes") is None or self.size != self.of["bytes"]:
                try:
                    return self._ask(session, bar)
                except _Broken as broken:
                    fruitless = 0 if self.size > most else fruitless + 1
                    most = max(most, self.size)
                    if fruitless >= self.patience.attempts:
                        raise self._error(
                            f"{broken}, {fruitless} times in a row", f"run again to go on, or {self.remedy}"
                        ) from broken
                    self._wait(broken, fruitless)
        return None

    def publish(self) -> None:
        """Let the part, which is whole and right, take its name."""
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)

    def drop(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.of = {}

    @property
    def size(self) -> int:
        """The bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _ask(self, session: requests.Session, bar: tqdm) -> str | None:
        """One request for what is missing; returns as `complete` does."""
        # Encoded on the way, a part could not be counted in bytes of the file.
        headers = {"Accept-Encoding": "identity"}
        if not self._may_continue():
            self.drop()
        start = self.size
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.of.get("validator"):
                headers["If-Range"] = self.of["validator"]
        with (
            self._network_errors_explained(),
            session.get(
                self.source.bare,
                auth=self.source.auth,
                headers=headers,
                stream=True,
                timeout=(self.patience.connect, self.patience.silence),
            ) as response,
        ):
            if not self._goes_on(response, start):
                start = self._start_anew(response)
            total = self.of["bytes"]
            if total is not None and self.expected not in (None, total):
                return f"it has {total} bytes instead of {self.expected}"
            bar.reset(total)
            bar.update(start)
            self._receive(response, bar)
        if total is not None and self.size != total:
            raise _Broken(f"{self.size} of {total} bytes arrived")
        return None

    def _goes_on(self, response: requests.Response, start: int) -> bool:
        """Whether the answer is the rest of the part; False where it is the whole file. Raises where it is neither."""
        status = response.status_code
        if status == 206 and start:
            span, _, length = response.headers.get("Content-Range", "").partition("/")
            # "*" where the server does not know it.
            total = int(length) if length.isdecimal() else self.of.get("bytes")
            same = _validator(response) in (None, self.of.get("validator")) and self.of.get("bytes") in (None, total)
            if span.startswith(f"bytes {start}-") and same:
                if self.of.get("bytes") is None:
                    self._note({**self.of, "bytes": total})
                return True
        elif status == 200:
            return False
        if status in (206, 416):
            # Not the range asked for, or of another file: nothing can be added to this part.
            self.drop()
            raise _Broken("the server's file and the part that is here do not fit")
        if status in _BUSY:
            raise _Broken(f"the server answers {status} {response.reason}", self._asked_to_wait(response))
        if status in (404, 410):
            raise self._error(f"there is no such file ({status})", self.remedy)
        if status in (401, 403, 407):
            raise self._error(f"the server refuses it ({status} {response.reason})", self.remedy)
        raise self._error(f"the server answers {status} {response.reason}", self.remedy)

    def _start_anew(self, response: requests.Response) -> int:
        """Forget the part, and note what the answer is the whole of."""
        self.drop()
        length = response.headers.get("Content-Length", "")
        self._note(
            {
                "url": str(self.source),
                "validator": _validator(response),
                "bytes": int(length) if length.isdigit() else None,
            }
        )
        return 0

    def _note(self, of: dict[str, Any]) -> None:
        """Keep what the part is a part of, for this process and the next."""
        self.of = of
        write_json(self.note, of)

    def _receive(self, response: requests.Response, bar: tqdm) -> None:
        with self.path.open("ab") as file:
            # As it comes in: a chunk that must first be full would be lost with the connection.
            while chunk := response.raw.read1(_CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))

    def _wait(self, broken: _Broken, fruitless: int) -> None:
        wait = broken.wait
        if wait is None:
            wait = self.patience.first_wait * 2 ** max(0, fruitless - 1) * _jitter.uniform(0.5, 1.5)
        wait = min(wait, self.patience.longest_wait)
        logger.warning("%s: %s; trying again in %.1f s", self.label, broken, wait)
        time.sleep(wait)

    def _asked_to_wait(self, response: requests.Response) -> float | None:
        try:
            return urllib3.Retry().get_retry_after(response.raw)
        except urllib3.exceptions.InvalidHeader:
            return None

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _may_continue(self) -> bool:
        known = self.of.get("validator") or not self.needs_validator
        fits = self.of.get("bytes") is None or self.size <= self.of["bytes"]
        return bool(self.size and known and fits and self.of.get("url") == str(self.source))

    @contextmanager
    def _network_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._error(
                    f"the certificate of {self.source.host} is not trusted",
                    "check the address, or name your proxy's certificates in REQUESTS_CA_BUNDLE",
                ) from error
            raise _Broken(self._cause(error)) from error
        except requests.RequestException as error:
            raise self._error(f"it cannot be asked for ({error})", self.remedy) from error

    def _cause(self, error: Exception) -> str:
        text = str(error)
        if isinstance(error, requests.ConnectTimeout) or "Connect timed out" in text:
            return f"no connection to {self.source.host} within {self.patience.connect:g} s"
        if isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
            return f"{self.source.host} sent nothing for {self.patience.silence:g} s"
        if "NameResolutionError" in text or "NewConnectionError" in text:
            return f"no network, or no server at {self.source.host}"
        if "ProxyError" in text:
            return "the proxy cannot be reached"
        return "the connection broke"

    def _error(self, cause: str, remedy: str) -> RagcunError:
        return RagcunError(f"{self.label} cannot be downloaded from {self.source}: {cause}; {remedy}")


def _validator(response: requests.Response) -> str | None:
    """The ETag, or the date of the file. A weak ETag does not promise the same bytes."""
    etag = response.headers.get("ETag", "")
    return (etag if etag and not etag.startswith("W/") else None) or response.headers.get("Last-Modified")
