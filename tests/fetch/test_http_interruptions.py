"""Downloads that are killed, that several processes want at once, and two hundred with random faults."""

import hashlib
import logging
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.retry import Patience
from tests.downloads import BODY, MD5, get, only_file, ranges, serve
from tests.servers.http import Fault, HttpServer, Response, random_faults

pytestmark = pytest.mark.sources


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "a.zip"


SCRIPT = f"""
import sys
from pathlib import Path
from ragcun.fetch.http import fetch
from ragcun.fetch.retry import Patience
fetch(sys.argv[1], Path(sys.argv[2]), label="it", remedy="check", md5="{MD5}", patience=Patience(first_wait=0.01))
"""


def start(server: HttpServer, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, f"{server.url}/a.zip", str(target)])


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.005)


def test_a_killed_download_never_looks_complete_and_the_next_one_asks_for_the_rest(target: Path) -> None:
    partial = target.with_name("a.zip.partial")
    with serve(Fault.SLOW_BODY, slow=20) as server:
        process = start(server, target)
        wait_until(lambda: partial.exists() and partial.stat().st_size > 0)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        arrived = partial.stat().st_size
        assert 0 < arrived < len(BODY)
        assert not target.exists()
        assert BODY.startswith(partial.read_bytes())
        assert start(server, target).wait() == 0
        assert ranges(server) == [None, f"bytes={arrived}-"]
        assert server.log[1].status == 206
    assert target.read_bytes() == BODY
    assert only_file(target)


def test_a_download_killed_before_its_last_step_needs_no_network(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with serve() as server, monkeypatch.context() as patch:
        patch.setattr("ragcun.fetch.http.Part.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            get(server, target)
    assert not target.exists()
    get(server, target)
    assert len(server.log) == 1
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    "note", ["", "[]", "{}", '{"url": "http://elsewhere/a.zip", "validator": "1", "bytes": 300000}']
)
def test_a_part_of_what_is_not_known_is_dropped(target: Path, note: str) -> None:
    target.parent.mkdir()
    target.with_name("a.zip.partial").write_bytes(b"other bytes")
    target.with_name("a.zip.partial.json").write_text(note)
    with serve() as server:
        get(server, target)
        assert ranges(server) == [None]
    assert target.read_bytes() == BODY


def test_two_processes_that_want_one_file_ask_for_it_once(target: Path) -> None:
    with serve(Fault.SLOW_BODY, slow=1) as server:
        processes = [start(server, target) for _ in range(3)]
        assert [process.wait() for process in processes] == [0, 0, 0]
        assert len(server.log) == 1
    assert target.read_bytes() == BODY


def test_a_waiting_process_takes_over_from_one_that_is_killed(target: Path) -> None:
    partial = target.with_name("a.zip.partial")
    with serve(Fault.SLOW_BODY, slow=20) as server:
        first = start(server, target)
        wait_until(lambda: partial.exists() and partial.stat().st_size > 0)
        second = start(server, target)
        time.sleep(0.5)
        first.kill()
        first.wait()
        assert second.wait() == 0
        assert len(server.log) == 2
        assert server.log[1].status == 206
    assert target.read_bytes() == BODY


class Watch:
    """While the block lasts: the target is absent, or whole."""

    def __init__(self, target: Path, body: bytes) -> None:
        self.target, self.body = target, body
        self.wrong = 0
        self._end = threading.Event()

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.001):
            self.wrong += self.target.exists() and self.target.read_bytes() != self.body


def faults_of_a_run(rng: random.Random) -> Iterator[Fault | None]:
    """A fifth of the runs is hopeless, a third breaks off again and again, the others meet a bit of everything."""
    kind = rng.random()
    if kind < 0.1:
        return iter([rng.choice((Fault.E503, Fault.RESET, Fault.E429))] * 1000)
    if kind < 0.2:
        return iter([Fault.FLIPPED_BYTE] * 1000)
    if kind < 0.5:
        breaks = (Fault.SHORT_BODY, Fault.SHORT_BODY, Fault.STALLED_BODY, Fault.RESET, Fault.E502)
        return random_faults(rng, share=0.8, kinds=breaks)
    return random_faults(rng, share=rng.choice((0.0, 0.5, 0.8)))


def refusal_of(server: HttpServer, target: Path, md5: str) -> str | None:
    patience = Patience(attempts=4, first_wait=0.001, longest_wait=0.01, connect=1, silence=0.3)
    try:
        get(server, target, md5=md5, patience=patience)
    except RagcunError as error:
        return str(error)
    return None


@pytest.mark.slow
def test_two_hundred_random_downloads_end_complete_and_verified_or_in_a_clear_error(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    ends: Counter[str] = Counter()
    met: Counter[Fault] = Counter()
    for number in range(200):
        # One for each: a machine so busy that a wait runs out changes this run, and no other.
        rng = random.Random(number)
        body = rng.randbytes(rng.choice((0, 1, 1000, 100_000, 3_000_000)) + rng.randrange(1000))
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        target = tmp_path / str(number) / "a.zip"
        routes = {"/a.zip": Response(body, headers={"ETag": ""} if rng.random() < 0.2 else {})}
        with (
            HttpServer(routes, faults=faults_of_a_run(rng), retry_after="0", stall=0.6, slow=0.05) as server,
            Watch(target, body) as watch,
        ):
            refusal = refusal_of(server, target, md5)
            ends["completed" if refusal is None else "refused"] += 1
            if refusal is not None:
                assert re.search("in a row; run again|is not the one that was published", refusal)
                assert not target.exists()
                server.mend()
                assert refusal_of(server, target, md5) is None, "what is left behind is in nobody's way"
            assert target.read_bytes() == body
            assert only_file(target)
            ends["completed after the server was mended"] += refusal is not None
            ends["resumed"] += any(seen.status == 206 for seen in server.log)
            met.update(server.met)
        assert watch.wrong == 0, "a wrong or partial file had the name"
    assert set(met) == set(Fault)
    assert ends["completed"] >= 100
    assert ends["refused"] >= 20
    assert ends["resumed"] >= 20
    counts = {**ends, **{fault.name: met[fault] for fault in Fault}}
    logging.getLogger(__name__).info("200 downloads: %s", counts)
    record_property("downloads", counts)
