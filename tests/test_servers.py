"""The test server keeps to HTTP where it is not told to misbehave, and misbehaves as told."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.servers.http import Fault, HttpServer, Request, Response, random_faults

pytestmark = pytest.mark.sources

BODY = bytes(range(200))


def test_get_and_head_have_the_same_headers_and_a_404_is_one() -> None:
    with HttpServer({"/a": Response(BODY, headers={"X-Mine": "1"})}) as server, requests.Session() as session:
        got, head = session.get(server.url + "/a?b=c"), session.head(server.url + "/a")
        assert (got.content, head.content) == (BODY, b"")
        for name in ("Content-Length", "ETag", "X-Mine", "Accept-Ranges"):
            assert got.headers[name] == head.headers[name]
        assert session.get(server.url + "/b").status_code == 404
        assert [(seen.method, seen.path, seen.status) for seen in server.log] == [
            ("GET", "/a?b=c", 200),
            ("HEAD", "/a", 200),
            ("GET", "/b", 404),
        ]


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "part", "content_range"),
    [
        ("bytes=10-19", 206, BODY[10:20], "bytes 10-19/200"),
        ("bytes=10-", 206, BODY[10:], "bytes 10-199/200"),
        ("bytes=-10", 206, BODY[-10:], "bytes 190-199/200"),
        ("bytes=190-999", 206, BODY[190:], "bytes 190-199/200"),
        ("bytes=200-", 416, b"", "bytes */200"),
        ("bytes=0-1,5-6", 200, BODY, None),
        ("lines=1-2", 200, BODY, None),
    ],
)
def test_ranges(tmp_path: Path, on_disk: bool, asked: str, status: int, part: bytes, content_range: str | None) -> None:
    (tmp_path / "a").write_bytes(BODY)
    with HttpServer({"/a": Response(tmp_path / "a" if on_disk else BODY)}) as server:
        got = requests.get(server.url + "/a", headers={"Range": asked}, timeout=5)
    assert (got.status_code, got.content, got.headers.get("Content-Range")) == (status, part, content_range)


def test_if_range_gives_the_whole_once_the_content_changed() -> None:
    routes = {"/a": Response(BODY)}
    with HttpServer(routes) as server:
        tag = requests.head(server.url + "/a", timeout=5).headers["ETag"]
        headers = {"Range": "bytes=10-", "If-Range": tag}
        assert requests.get(server.url + "/a", headers=headers, timeout=5).status_code == 206
        routes["/a"] = Response(BODY[::-1])
        got = requests.get(server.url + "/a", headers=headers, timeout=5)
    assert (got.status_code, got.content) == (200, BODY[::-1])


def test_a_function_sees_the_whole_request() -> None:
    def echo(request: Request) -> Response | None:
        text = f"{request.method} {request.path} {request.query} {request.headers['X-Mine']} {request.body!r}"
        return Response(text.encode(), status=201)

    with HttpServer(echo) as server:
        got = requests.post(server.url + "/a?b=c", data=b"d", headers={"X-Mine": "e"}, timeout=5)
    assert (got.status_code, got.text) == (201, "POST /a {'b': ['c']} e b'd'")


def test_an_error_of_the_function_is_the_tests_own() -> None:
    def broken(request: Request) -> Response | None:
        raise KeyError("defect")

    with pytest.raises(KeyError, match="defect"), HttpServer(broken) as server, pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=5)


FAULTS: dict[Fault, Callable[[requests.Response | Exception], bool]] = {
    Fault.E429: lambda got: got.status_code == 429 and got.headers["Retry-After"] == "7",
    Fault.E500: lambda got: got.status_code == 500 and "Retry-After" not in got.headers,
    Fault.E502: lambda got: got.status_code == 502,
    Fault.E503: lambda got: got.status_code == 503 and got.headers["Retry-After"] == "7",
    Fault.RESET: lambda got: isinstance(got, requests.ConnectionError) and "reset" in str(got),
    Fault.STALL: lambda got: isinstance(got, requests.ReadTimeout),
    Fault.SHORT_BODY: lambda got: (
        isinstance(got, requests.exceptions.ChunkedEncodingError) and "95 bytes read" in str(got)
    ),
    Fault.SLOW_BODY: lambda got: got.content == BODY[10:] and got.status_code == 206,
    Fault.STALLED_BODY: lambda got: isinstance(got, requests.ConnectionError) and "timed out" in str(got),
    Fault.FLIPPED_BYTE: lambda got: sum(a != b for a, b in zip(got.content, BODY[10:], strict=True)) == 1,
    Fault.RANGE_IGNORED: lambda got: got.content == BODY and got.status_code == 200,
}


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_each_fault_is_what_it_says_and_the_next_request_is_served(fault: Fault) -> None:
    got: requests.Response | Exception
    with HttpServer({"/a": Response(BODY)}, faults=[fault], retry_after="7", stall=2) as server:
        try:
            got = requests.get(server.url + "/a", headers={"Range": "bytes=10-"}, timeout=0.2)
        except requests.RequestException as error:
            got = error
        assert FAULTS[fault](got)
        assert requests.get(server.url + "/a", timeout=5).content == BODY
        assert [seen.fault for seen in server.log] == [fault, None]
        assert server.met == {fault: 1}


def test_requests_that_may_not_meet_a_fault_do_not_use_it_up() -> None:
    with HttpServer(
        {"/a": Response(BODY)}, faults=[Fault.E500], faulty=lambda request: request.method == "GET"
    ) as server:
        assert requests.head(server.url + "/a", timeout=5).status_code == 200
        assert requests.get(server.url + "/a", timeout=5).status_code == 500


def test_random_faults_are_the_seeds_and_of_every_kind() -> None:
    one, two = (random_faults(random.Random(3), share=0.5) for _ in range(2))
    drawn = [next(one) for _ in range(300)]
    assert drawn == [next(two) for _ in range(300)]
    assert set(drawn) == {None, *Fault}
