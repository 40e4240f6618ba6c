"""A download ends complete and verified, or in an error that says why; in between it never looks complete."""

import datetime
import logging
import re
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.http import downloads_folder, fetch
from ragcun.fetch.retry import Patience
from tests.downloads import BODY, MD5, QUICK, get, only_file, ranges, serve
from tests.servers.http import Fault, HttpServer, Request, Response

pytestmark = pytest.mark.sources


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "a.zip"


def test_a_file_arrives_whole_and_is_not_asked_for_again(target: Path) -> None:
    with serve() as server:
        get(server, target)
        get(server, target)
        assert ranges(server) == [None]
    # Without a server, too.
    get(server, target)
    assert target.read_bytes() == BODY
    assert only_file(target)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.FLIPPED_BYTE], ids=lambda f: f.name)
def test_each_fault_is_overcome(target: Path, fault: Fault) -> None:
    with serve(fault, fault) as server:
        get(server, target)
        assert server.met[fault] >= 1
    assert target.read_bytes() == BODY
    assert only_file(target)


def test_after_a_break_only_the_rest_is_asked_for_if_the_file_is_the_same(target: Path) -> None:
    with serve(Fault.SHORT_BODY, Fault.RESET, Fault.STALLED_BODY) as server:
        get(server, target)
        assert ranges(server) == [None, "bytes=150000-", "bytes=150000-", "bytes=225000-"]
        etag = f'"{MD5}"'
        assert [seen.headers.get("If-Range") for seen in server.log] == [None, etag, etag, etag]
        assert [seen.status for seen in server.log] == [200, None, 206, 206]
        assert {seen.headers["Accept-Encoding"] for seen in server.log} == {"identity"}, "else a part is not the file's"
    assert target.read_bytes() == BODY


def test_a_file_that_changes_between_two_tries_is_fetched_whole(target: Path) -> None:
    answers = [Response(BODY[::-1]), Response(BODY)]
    with HttpServer(lambda request: answers.pop(0), faults=[Fault.SHORT_BODY]) as server:
        get(server, target)
        assert [seen.status for seen in server.log] == [200, 200]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("by_hash", [True, False])
def test_without_a_validator_only_a_hash_allows_to_go_on(target: Path, by_hash: bool) -> None:
    with HttpServer({"/a.zip": Response(BODY, headers={"ETag": ""})}, faults=[Fault.SHORT_BODY]) as server:
        get(server, target, md5=MD5 if by_hash else None)
        assert ranges(server) == [None, "bytes=150000-" if by_hash else None]
    assert target.read_bytes() == BODY


def test_a_weak_etag_is_no_validator_and_a_date_is_one(target: Path) -> None:
    headers = {"ETag": 'W/"1"', "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    with HttpServer({"/a.zip": Response(BODY, headers=headers)}, faults=[Fault.SHORT_BODY]) as server:
        get(server, target)
        assert server.log[1].headers["If-Range"] == headers["Last-Modified"]
        assert server.log[1].status == 206
    assert target.read_bytes() == BODY


def test_a_server_that_sends_another_range_is_not_believed(target: Path) -> None:
    def shifted(request: Request) -> Response:
        if "Range" in request.headers:
            headers = {"ETag": f'"{MD5}"', "Content-Range": "bytes 149000-298999/300000"}
            return Response(BODY[149_000:299_000], 206, headers)
        return Response(BODY)

    with HttpServer(shifted, faults=[Fault.SHORT_BODY]) as server:
        get(server, target, md5=None)
        assert ranges(server) == [None, "bytes=150000-", None]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("says_so", [True, False])
def test_a_rest_that_ends_early_is_noticed_by_its_length_where_no_hash_is_known(
    target: Path, known_length: bool, says_so: bool
) -> None:
    """The server sends a shorter range than asked for, and says so in its length and range or breaks off."""

    def answer(request: Request) -> Response:
        headers = {"ETag": f'"{MD5}"'}
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if asked is None:
            if known_length:
                return Response(BODY, headers=headers)
            # In chunks, a body's length is not said before its end.
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
            return Response(chunks, headers={**headers, "Content-Length": "", "Transfer-Encoding": "chunked"})
        start = int(asked[1])
        stop = min(start + 60_000, len(BODY))
        if not says_so:
            headers |= {"Content-Length": "", "Connection": "close"}
        last = stop - 1 if says_so else len(BODY) - 1
        return Response(BODY[start:stop], 206, {**headers, "Content-Range": f"bytes {start}-{last}/{len(BODY)}"})

    with HttpServer(answer, faults=[Fault.SHORT_BODY]) as server:
        get(server, target, md5=None)
        assert {seen.status for seen in server.log} == {200, 206}
        assert len(server.log) > 2
    assert target.read_bytes() == BODY
    assert only_file(target)


def test_a_rest_of_a_file_of_another_length_is_not_added(target: Path) -> None:
    def answer(request: Request) -> Response:
        headers = {"ETag": f'"{MD5}"'}
        if "Range" in request.headers and request.headers["Range"] != "bytes=0-":
            return Response(BODY[150_000:], 206, {**headers, "Content-Range": "bytes 150000-299999/300001"})
        return Response(BODY, headers=headers)

    with HttpServer(answer, faults=[Fault.SHORT_BODY]) as server:
        get(server, target, md5=None)
        assert ranges(server) == [None, "bytes=150000-", None]
    assert target.read_bytes() == BODY


def test_a_body_without_a_length_is_taken_whole(target: Path, tmp_path: Path) -> None:
    # An answer whose length nobody says ends with its connection.
    with HttpServer({"/a.zip": Response(BODY, headers={"Content-Length": "", "Connection": "close"})}) as server:
        get(server, target)
    assert target.read_bytes() == BODY


def test_a_flipped_byte_is_noticed_and_the_file_fetched_once_more(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(Fault.FLIPPED_BYTE) as server:
        get(server, target)
        assert ranges(server) == [None, None]
    assert target.read_bytes() == BODY
    assert "its MD5 is" in caplog.text
    assert "trying once more" in caplog.text


def test_another_file_than_the_published_one_is_an_error_and_never_has_the_name(target: Path) -> None:
    message = rf"its MD5 is [0-9a-f]{{32}} instead of {MD5}"
    with (
        HttpServer({"/a.zip": Response(BODY[::-1])}) as server,
        pytest.raises(
            RagcunError, match=rf"a\.zip is not the one that was published: {message}\. The server has .*; check"
        ),
    ):
        get(server, target)
    assert [seen.status for seen in server.log] == [200, 200], "once, and once more from the start"
    assert [path.name for path in target.parent.iterdir()] == ["a.zip.lock"]


def test_a_finished_file_that_was_altered_is_fetched_anew(target: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve() as server:
        get(server, target)
        target.write_bytes(BODY[::-1])
        get(server, target)
        assert len(server.log) == 2
    assert target.read_bytes() == BODY
    assert "a.zip was altered, its MD5 is" in caplog.text


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, r"there is no such file \(404\); check data\.beir_url"),
        (403, r"the server refuses it \(403 Forbidden\); check data\.beir_url"),
        (400, r"the server answers 400 Bad Request; check data\.beir_url"),
    ],
)
def test_what_will_not_change_is_not_tried_again(target: Path, status: int, message: str) -> None:
    with (
        HttpServer({"/a.zip": Response(b"<html>", status)}) as server,
        pytest.raises(RagcunError, match=rf"the archive cannot be downloaded from {server.url}/a\.zip: {message}"),
    ):
        get(server, target)
    assert len(server.log) == 1
    assert not target.exists()


HOPELESS = {
    Fault.E503: "the server answers 503 Service Unavailable",
    Fault.RESET: "the connection broke",
    Fault.STALL: r"127\.0\.0\.1:\d+ sent nothing for 0\.3 s",
}


@pytest.mark.parametrize("fault", HOPELESS, ids=lambda fault: fault.name)
def test_tries_without_a_new_byte_are_bounded(target: Path, fault: Fault) -> None:
    with (
        serve(Fault.SHORT_BODY, *[fault] * 10) as server,
        pytest.raises(RagcunError, match=rf"{HOPELESS[fault]}, 3 times in a row; run again to go on"),
    ):
        get(server, target)
    assert len(server.log) == 4
    assert not target.exists()
    with serve() as server:
        get(server, target)
    assert target.read_bytes() == BODY


def test_a_server_that_always_begins_anew_and_breaks_off_is_given_up(target: Path) -> None:
    with (
        HttpServer({"/a.zip": Response(BODY, headers={"ETag": ""})}, faults=[Fault.SHORT_BODY] * 20) as server,
        pytest.raises(RagcunError, match="the connection broke, 3 times in a row"),
    ):
        get(server, target, md5=None)
    assert len(server.log) == 4


def test_each_new_byte_gives_new_patience(target: Path) -> None:
    faults = [Fault.SHORT_BODY, Fault.E500, Fault.RESET] * 5
    with serve(*faults) as server:
        get(server, target)
        assert len(server.log) == len(faults) + 1 > QUICK.attempts
    assert target.read_bytes() == BODY


def test_the_servers_wish_to_wait_is_heeded_and_bounded(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    in_an_hour = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    wishes = iter(["2", in_an_hour.strftime("%a, %d %b %Y %H:%M:%S GMT"), "soon", ""])

    def busy(request: Request) -> Response:
        wish = next(wishes, None)
        return Response(BODY) if wish is None else Response(b"", 429, {"Retry-After": wish})

    with HttpServer(busy) as server:
        get(server, target, patience=Patience(first_wait=8, longest_wait=120))
    assert waits[:2] == [2, 120]
    assert 16 <= waits[2] <= 48, "third failure in a row, nothing understood: 8 s twice doubled, and some chance"
    assert 32 <= waits[3] <= 96


def test_credentials_are_sent_and_appear_nowhere(target: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(Fault.E500, Fault.SHORT_BODY) as server:
        url = server.url.replace("//", "//reader:s%40cret@")
        options: dict[str, Any] = {"label": "the archive", "remedy": "check", "patience": QUICK}
        with pytest.raises(RagcunError) as wrong:
            fetch(f"{url}/b.zip?token=s3cret", target, **options)
        fetch(f"{url}/a.zip", target, md5=MD5, **options)
        assert {seen.headers["Authorization"] for seen in server.log} == {"Basic cmVhZGVyOnNAY3JldA=="}
    with pytest.raises(RagcunError) as gone:
        fetch(f"{url}/c.zip", target.with_name("c.zip"), **options)
    texts = [caplog.text, str(wrong.value), str(gone.value), *(path.name for path in target.parent.iterdir())]
    assert "127.0.0.1" in texts[0], "else nothing was logged"
    # urllib3 itself logs what it asks for, with the query, below the level that anyone sees.
    texts[0] = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("ragcun"))
    assert not [text for text in texts if "cret" in text or "reader" in text]


def test_no_network_a_wrong_address_and_a_strange_certificate_are_told_apart(target: Path, tmp_path: Path) -> None:
    with serve() as server:
        pass
    with pytest.raises(RagcunError, match=r"no network, or no server at 127\.0\.0\.1:\d+, 3 times in a row; run again"):
        get(server, target)
    with pytest.raises(RagcunError, match=r"it cannot be asked for \(.*\); check data\.beir_url"):
        fetch("htp://nowhere/a.zip", target, label="the archive", remedy="check data.beir_url")
    with (
        serve(tls=self_signed(tmp_path)) as server,
        pytest.raises(
            RagcunError, match=r"the certificate of 127\.0\.0\.1:\d+ is not trusted; check .*REQUESTS_CA_BUNDLE"
        ),
    ):
        get(server, target)


def self_signed(folder: Path) -> ssl.SSLContext:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    subprocess.run([*command, "-keyout", folder / "key", "-out", folder / "pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key")
    return context


def test_a_full_disk_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.parent.mkdir()
    # Writing to this device fails as on a full disk.
    target.with_name("a.zip.partial").symlink_to("/dev/full")
    monkeypatch.setattr(Path, "unlink", lambda *args, **options: None)
    message = rf"{target.parent}: No space left on device; make space there, or .*RAGCUN_CACHE"
    with serve() as server, pytest.raises(RagcunError, match=message):
        get(server, target)
    assert not target.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RagcunError, match=r"file/sub: .*; fix this, or name another folder in RAGCUN_CACHE"):
        fetch("http://127.0.0.1:9/a", tmp_path / "file" / "sub" / "a", label="the archive", remedy="check")


def test_downloads_lie_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path))
    assert downloads_folder() == tmp_path / "downloads"
