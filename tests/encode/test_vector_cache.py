"""The row cache gives back what it was given, stays bounded, and never stands in the way of the work."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ragcun.core.errors import RagcunError
from ragcun.core.files import cache_folder
from ragcun.encode.vector_cache import RowCache

FILE = "rows.sqlite"


def rows(numbers: range, width: int = 4) -> dict[bytes, np.ndarray]:
    return {f"key {i}".encode(): np.full(width, i, dtype=np.float32) for i in numbers}


def equal(found: dict[bytes, np.ndarray], expected: dict[bytes, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in expected)


def kept(folder: Path, keys: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    """What a new process would find."""
    cache = RowCache(folder)
    found = cache.get(list(keys))
    cache.close()
    return found


def test_what_was_put_is_found_in_a_later_run(tmp_path: Path) -> None:
    # More keys than one statement takes, and values that need every bit.
    rng = np.random.default_rng(0)
    vectors = {os.urandom(32): rng.normal(size=5).astype(np.float32) for _ in range(1300)}
    cache = RowCache(tmp_path)
    cache.put(vectors)
    assert equal(cache.get([*vectors, b"absent"]), vectors)
    cache.close()
    assert equal(kept(tmp_path, vectors), vectors)


def test_vectors_are_kept_in_single_precision_whatever_their_type(tmp_path: Path) -> None:
    cache = RowCache(tmp_path)
    cache.put({b"double": np.array([0.1, 2], dtype=np.float64)})
    found = cache.get([b"double"])[b"double"]
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array([0.1, 2], dtype=np.float32))


def test_nothing_is_found_in_an_empty_cache_or_for_no_key(tmp_path: Path) -> None:
    cache = RowCache(tmp_path)
    assert cache.get([b"a"]) == {}
    assert cache.get([]) == {}


def test_a_key_keeps_its_first_vector(tmp_path: Path) -> None:
    cache = RowCache(tmp_path)
    cache.put({b"a": np.zeros(2, dtype=np.float32)})
    cache.put({b"a": np.ones(2, dtype=np.float32)})
    assert np.array_equal(cache.get([b"a"])[b"a"], np.zeros(2))


def test_the_oldest_rows_are_dropped_above_the_bound(tmp_path: Path) -> None:
    everything = rows(range(2000), width=256)
    bound = 1_000_000
    assert sum(vector.nbytes for vector in everything.values()) > 2 * bound, "else nothing has to go"
    cache = RowCache(tmp_path, max_bytes=bound)
    for start in range(0, 2000, 100):
        cache.put(dict(list(everything.items())[start : start + 100]))
    assert equal(cache.get(list(everything)), everything), "rows in use were dropped before the end"
    cache.close()
    left = list(kept(tmp_path, everything))
    assert left == list(everything)[-len(left) :], "it was not the oldest that went"
    assert bound / 2 < len(left) * 1024 < bound


def test_vectors_of_a_model_that_trains_are_dropped_before_any_of_the_base(tmp_path: Path) -> None:
    """The transient ones are the newest; the oldest of them go first, and the base's only where that is not enough."""
    base, live = rows(range(600), width=256), rows(range(600, 2000), width=256)
    for vectors, transient in ((base, False), (live, True)):
        cache = RowCache(tmp_path, max_bytes=10_000_000, transient=transient)
        cache.put(vectors)
        assert equal(cache.get(list(vectors)), vectors)
        cache.close()
    assert equal(kept(tmp_path, base | live), base | live), "another run finds both"

    RowCache(tmp_path, max_bytes=1_500_000).close()
    assert equal(kept(tmp_path, base), base)
    left = list(kept(tmp_path, live))
    assert left == list(live)[-len(left) :]
    assert 200 < len(left) < 1000

    RowCache(tmp_path, max_bytes=400_000, transient=True).close()
    assert kept(tmp_path, live) == {}
    left = list(kept(tmp_path, base))
    assert left == list(base)[-len(left) :]
    assert 100 < len(left) < 400


def test_a_cache_of_an_earlier_version_is_used_as_it_is(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / FILE)
    old.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, key BLOB UNIQUE, vector BLOB)")
    old.execute("INSERT INTO rows (key, vector) VALUES (?, ?)", (b"key 7", rows(range(7, 8))[b"key 7"].tobytes()))
    old.commit()
    old.close()
    cache = RowCache(tmp_path, transient=True)
    cache.put(rows(range(8, 9)))
    cache.close()
    assert equal(kept(tmp_path, rows(range(10))), rows(range(7, 9)))


def test_the_file_does_not_grow_with_the_number_of_runs(tmp_path: Path) -> None:
    sizes = []
    for run in range(8):
        cache = RowCache(tmp_path, max_bytes=300_000)
        cache.put(rows(range(200 * run, 200 * (run + 1)), width=256))
        cache.close()
        sizes.append((tmp_path / FILE).stat().st_size)
    assert sizes[1] > sizes[0], "the runs leave nothing behind"
    assert sizes[-1] < 1.5 * sizes[2]


def test_a_cache_below_its_bound_keeps_everything(tmp_path: Path) -> None:
    everything = rows(range(500), width=256)
    cache = RowCache(tmp_path, max_bytes=10_000_000)
    cache.put(everything)
    cache.close()
    assert equal(kept(tmp_path, everything), everything)


def test_two_that_close_together_drop_no_more_than_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = rows(range(1000), width=256)
    for name in ("alone", "together"):
        cache = RowCache(tmp_path / name)
        cache.put(everything)
        cache.close()
    bound = 500_000
    RowCache(tmp_path / "alone", max_bytes=bound).close()

    other = threading.Thread(target=lambda: RowCache(tmp_path / "together", max_bytes=bound).close())
    pragma = RowCache._pragma

    def pragma_while_another_closes(cache: RowCache, name: str) -> int:
        value = pragma(cache, name)
        if name == "page_size" and other.ident is None:
            other.start()
            # Long enough for it to drop its rows, unless it has to wait.
            other.join(timeout=0.5)
        return value

    monkeypatch.setattr(RowCache, "_pragma", pragma_while_another_closes)
    RowCache(tmp_path / "together", max_bytes=bound).close()
    other.join()
    left = {name: len(kept(tmp_path / name, everything)) for name in ("alone", "together")}
    assert 0 < left["alone"] < 1000
    assert left["together"] == left["alone"]


def test_one_that_closes_drops_for_a_while_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ranks may wait for it."""
    everything = rows(range(1000), width=256)
    for name in ("at once", "in turns"):
        cache = RowCache(tmp_path / name)
        cache.put(everything)
        cache.close()
    RowCache(tmp_path / "at once", max_bytes=500_000).close()
    bounded = kept(tmp_path / "at once", everything)
    monkeypatch.setattr("ragcun.encode.vector_cache._DROPPING_SECONDS", 0)
    monkeypatch.setattr("ragcun.encode.vector_cache._ROWS_A_SLICE", 50)
    RowCache(tmp_path / "in turns", max_bytes=500_000).close()
    assert len(kept(tmp_path / "in turns", everything)) == 950
    for _ in range(20):
        RowCache(tmp_path / "in turns", max_bytes=500_000).close()
    left = kept(tmp_path / "in turns", everything)
    assert equal(left, dict(list(everything.items())[-len(left) :]))
    # The last of them found a file that is small enough, and left it at that.
    assert 0.9 * len(bounded) < len(left) < 1.2 * len(bounded)


def test_the_environment_names_folder_and_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("RAGCUN_CACHE_GB", "0.5")
    cache = RowCache()
    assert (cache.folder, cache.max_bytes) == (tmp_path / "here", 500_000_000)
    monkeypatch.setenv("RAGCUN_CACHE_GB", "0")
    assert RowCache().max_bytes == 0


@pytest.mark.parametrize("value", ["much", "nan", "inf"])
def test_a_bound_that_is_no_number_is_an_error_that_names_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGCUN_CACHE_GB", value)
    with pytest.raises(RagcunError, match=f"RAGCUN_CACHE_GB is '{value}'"):
        RowCache()


def _file_for_folder(folder: Path) -> None:
    folder.write_text("a file")


def _folder_for_file(folder: Path) -> None:
    (folder / FILE).mkdir(parents=True)


def _garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / FILE).write_bytes(os.urandom(8192))


def _damaged_inside(folder: Path) -> None:
    """A true database, of which all pages but the first are overwritten."""
    cache = RowCache(folder)
    cache.put(rows(range(500), width=256))
    cache.close()
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[:4096] + os.urandom(len(content) - 4096))


@pytest.mark.parametrize("damage", [_file_for_folder, _folder_for_file, _garbage, _damaged_inside])
def test_a_cache_that_cannot_be_used_is_a_warning(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(tmp_path / "cache")
    caplog.clear()
    check_unusable(tmp_path / "cache", caplog)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder with a cache that this process, even one of the superuser, may read but not write."""
    # Not tmp_path: that lies below folders which only the user who runs the tests may enter.
    folder = Path(tempfile.mkdtemp())
    cache = RowCache(folder)
    cache.put(rows(range(3)))
    cache.close()
    (folder / FILE).chmod(0o444)
    folder.chmod(0o555)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_read_only_folder_is_a_warning(read_only: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PermissionError):
        (read_only / "probe").touch()
    check_unusable(read_only, caplog)


def check_unusable(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh = rows(range(9000, 9003))
    with caplog.at_level(logging.WARNING):
        cache = RowCache(folder)
        cache.get(list(rows(range(500))))
        cache.put(fresh)
        assert cache.get(list(fresh)) == {}
        cache.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(folder) in record.getMessage()


def test_deletion_while_in_use_is_harmless(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "cache")
    cache.put(rows(range(10)))
    shutil.rmtree(tmp_path / "cache")
    cache.put(rows(range(10, 20)))
    found = cache.get(list(rows(range(20))))
    assert all(np.array_equal(vector, rows(range(20))[key]) for key, vector in found.items())
    cache.close()
    # The next run starts afresh.
    again = RowCache(tmp_path / "cache")
    again.put(rows(range(5)))
    again.close()
    assert equal(kept(tmp_path / "cache", rows(range(20))), rows(range(5)))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    # Each writes rows of its own and rows of both, in many small transactions, once both are there.
    script = """
import sys, time
from pathlib import Path
import numpy as np
from ragcun.encode.vector_cache import RowCache
folder, me = Path(sys.argv[1]), sys.argv[2]
cache = RowCache(folder / "cache")
(folder / me).touch()
while len(list(folder.glob("writer*"))) < 2:
    time.sleep(0.001)
for i in range(200):
    cache.put({f"{owner} {i}".encode(): np.full(64, i, dtype=np.float32) for owner in (me, "both")})
    assert len(cache.get([f"{me} {j}".encode() for j in range(i + 1)])) == i + 1
cache.close()
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for name in ("writer1", "writer2")
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=50)
        assert (writer.returncode, errors) == (0, ""), "a warning here means that rows were lost"
    expected = {
        f"{owner} {i}".encode(): np.full(64, i, dtype=np.float32)
        for owner in ("writer1", "writer2", "both")
        for i in range(200)
    }
    assert equal(kept(tmp_path / "cache", expected), expected)
