"""An HTTP/1.1 server on loopback for tests: files with ranges and ETags, a log of what was asked, and faults on demand.

    with HttpServer({"/a.zip": Response(b"...")}, faults=[Fault.SHORT_BODY, None, Fault.E503]) as server:
        fetch(server.url + "/a.zip", ...)
    assert [seen.headers.get("Range") for seen in server.log] == [None, "bytes=10-", "bytes=10-"]

The first request meets the first fault, the second one the second (None: is served well), and so on; requests after the
last are served well. `random_faults` draws such a sequence without an end.
"""

import hashlib
import random
import re
import socket
import ssl
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

_CHUNK = 2**16
_SLOW_PIECES = 10


class Fault(StrEnum):
    """What a request can meet instead of, or in, its answer."""

    E429 = "status 429"
    E500 = "status 500"
    E502 = "status 502"
    E503 = "status 503"
    RESET = "connection reset before the answer"
    STALL = "no answer for `stall` seconds"
    SHORT_BODY = "connection closed in the middle of the body"
    SLOW_BODY = "body in pieces over `slow` seconds"
    STALLED_BODY = "half of the body, then nothing for `stall` seconds"
    FLIPPED_BYTE = "one byte of the body altered"
    RANGE_IGNORED = "status 200 and the whole body, whatever the range"


_STATUS = {Fault.E429: 429, Fault.E500: 500, Fault.E502: 502, Fault.E503: 503}


@dataclass(frozen=True)
class Request:
    """What a handler sees. `path` is without the query, which is `query`."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Response:
    """A whole answer; ranges and HEAD are made from it. An ETag of the content is added unless `headers` has one.

    A header whose value is "" is not sent: `{"ETag": ""}` is an answer without ETag.
    """

    body: bytes | Path = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A line of the log. `path` as asked, with the query; `status` None where none was sent; `fault` that it met."""

    method: str
    path: str
    headers: Message
    status: int | None
    fault: Fault | None


Handler = Callable[[Request], Response | None]


def random_faults(rng: random.Random, *, share: float, kinds: Sequence[Fault] = tuple(Fault)) -> Iterator[Fault | None]:
    """Without end: a fault drawn from `kinds` with probability `share`, else None."""
    while True:
        yield rng.choice(kinds) if rng.random() < share else None


class HttpServer:
    """Serves `routes` on 127.0.0.1 while the block lasts.

    Args:
        routes: path -> answer, or a function of the request; what is not there, or None, is a 404.
        faults: one for each request in turn, None for none.
        faulty: whether a request may meet a fault; one that may not does not use one up.
        retry_after: the header of a 429 and a 503; "" for none.
        stall, slow: seconds of the faults of these names; `slow` may also be a test's wish for every body (`Fault.SLOW_BODY`).
        tls: for https.
    """

    def __init__(
        self,
        routes: Mapping[str, Response] | Handler,
        *,
        faults: Iterable[Fault | None] = (),
        faulty: Callable[[Request], bool] = lambda request: True,
        retry_after: str = "0",
        stall: float = 5.0,
        slow: float = 0.2,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handle: Handler = routes if callable(routes) else lambda request: routes.get(request.path)
        self.faulty = faulty
        self.retry_after = retry_after
        self.stall = stall
        self.slow = slow
        self.log: list[Seen] = []
        self.errors: list[BaseException] = []
        self.closing = threading.Event()
        self._faults = iter(faults)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.owner = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HttpServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        if self.errors and error is None:
            raise self.errors[0]

    @property
    def met(self) -> Counter[Fault]:
        """How often each fault was met."""
        with self._lock:
            return Counter(seen.fault for seen in self.log if seen.fault is not None)

    def mend(self) -> None:
        """Serve well from now on."""
        with self._lock:
            self._faults = iter(())

    def next_fault(self, request: Request) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            return next(self._faults, None) if self.faulty(request) else None

    def note(self, seen: Seen) -> None:
        """Add a line to the log."""
        with self._lock:
            self.log.append(seen)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: HttpServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is its own business; anything else is a defect of the test, raised at its end."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.owner.errors.append(error)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else headers and body, two small packets, wait 40 ms for each other.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the log is `HttpServer.log`."""

    @property
    def _owner(self) -> HttpServer:
        return cast(_Server, self.server).owner

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, parts.path, parse_qs(parts.query), self.headers, body)
        fault = self._owner.next_fault(request)
        if fault is Fault.RESET:
            self._note(None, fault)
            self._reset()
        elif fault is Fault.STALL:
            self._note(None, fault)
            self._owner.closing.wait(self._owner.stall)
            self.close_connection = True
        elif fault in _STATUS:
            status = _STATUS[fault]
            headers = {"Retry-After": self._owner.retry_after} if status in (429, 503) else {}
            self._send(Response(b"not now", status, headers), fault)
        else:
            self._send(self._owner.handle(request) or Response(b"there is no such thing", 404), fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer

    def _send(self, response: Response, fault: Fault | None) -> None:
        size = response.body.stat().st_size if isinstance(response.body, Path) else len(response.body)
        headers = {"Content-Type": "application/octet-stream", "ETag": _etag(response.body), **response.headers}
        status, start, stop = response.status, 0, size
        if status == 200:
            headers["Accept-Ranges"] = "bytes"
            if fault is not Fault.RANGE_IGNORED:
                status, start, stop = self._range(size, headers)
        headers.setdefault("Content-Length", str(stop - start))
        # Noted before the client has it, so that a test which got its answer finds it in the log.
        self._note(status, fault)
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(response.body, start, stop, fault)

    def _range(self, size: int, headers: dict[str, str]) -> tuple[int, int, int]:
        """Status, start and stop of what `Range` and `If-Range` ask for; adds Content-Range to `headers`."""
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        unchanged = condition is None or condition in (headers.get("ETag"), headers.get("Last-Modified"))
        if not asked or asked.groups() == ("", "") or not unchanged:
            return HTTPStatus.OK, 0, size
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            headers["Content-Range"] = f"bytes */{size}"
            return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return HTTPStatus.PARTIAL_CONTENT, start, stop

    def _send_body(self, body: bytes | Path, start: int, stop: int, fault: Fault | None) -> None:
        middle = (start + stop) // 2
        if fault in (Fault.SHORT_BODY, Fault.STALLED_BODY):
            stop = middle
            self.close_connection = True
        piece = max(1, -(-(stop - start) // _SLOW_PIECES)) if fault is Fault.SLOW_BODY else _CHUNK
        for at in range(start, stop, piece):
            content = _read(body, at, min(at + piece, stop))
            if fault is Fault.FLIPPED_BYTE and at <= middle < at + len(content):
                content = content[: middle - at] + bytes([content[middle - at] ^ 1]) + content[middle - at + 1 :]
            self.wfile.write(content)
            if fault is Fault.SLOW_BODY and self._owner.closing.wait(self._owner.slow / _SLOW_PIECES):
                break
        if fault is Fault.STALLED_BODY:
            self._owner.closing.wait(self._owner.stall)

    def _reset(self) -> None:
        # Closed with nothing left to linger for, a socket sends RST instead of a goodbye.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.socket(fileno=self.connection.detach()).close()
        self.close_connection = True

    def _note(self, status: int | None, fault: Fault | None) -> None:
        self._owner.note(Seen(self.command, self.path, self.headers, status, fault))


def _etag(body: bytes | Path) -> str:
    if isinstance(body, Path):
        stat = body.stat()
        return f'"{stat.st_size:x}-{stat.st_mtime_ns:x}"'
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _read(body: bytes | Path, start: int, stop: int) -> bytes:
    if isinstance(body, bytes):
        return body[start:stop]
    with body.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)
