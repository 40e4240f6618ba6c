"""Vectors of texts by content, outside the pipeline's outputs: no model encodes one text twice on a machine.

One SQLite file in the user's cache folder (RAGCUN_CACHE names another; RAGCUN_CACHE_GB bounds it, 20 by default). A
key is a hash of all that decides the vector, so an entry is never stale, and the file is safe to delete at any time. It
is a convenience: where it cannot be read or written, a warning is logged and the work goes on without it.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ragcun.errors import RagcunError
from ragcun.files import cache_folder

logger = logging.getLogger(__name__)

# SQLite's own bound on the variables of one statement, with room to spare.
_KEYS_A_STATEMENT = 500
_ROWS_A_SLICE = 10_000
_DROPPING_SECONDS = 30


class RowCache:
    """Float32 vectors by key, shared by processes.

    Args:
        folder: where the file lies; None is the user's cache folder.
        max_bytes: the oldest rows are dropped where more bytes of the file than these are in use.

    Raises:
        RagcunError: RAGCUN_CACHE_GB is not a number.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int | None = None) -> None:
        self.folder = folder or cache_folder()
        self.max_bytes = cache_bytes() if max_bytes is None else max_bytes
        self._connection: sqlite3.Connection | None = None
        with self._tolerating_faults():
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.folder / "rows.sqlite", timeout=60)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, key BLOB UNIQUE, vector BLOB)")
            self._connection = connection

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors, each (d,), of those keys that are there."""
        found: dict[bytes, np.ndarray] = {}
        with self._tolerating_faults():
            for at in range(0, len(keys) if self._connection else 0, _KEYS_A_STATEMENT):
                part = keys[at : at + _KEYS_A_STATEMENT]
                marks = ",".join("?" * len(part))
                rows = self._open.execute(f"SELECT key, vector FROM rows WHERE key IN ({marks})", part)
                found.update((key, np.frombuffer(vector, dtype="<f4")) for key, vector in rows)
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep these vectors."""
        with self._tolerating_faults():
            if self._connection:
                rows = ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items())
                with self._open:
                    self._open.executemany("INSERT OR IGNORE INTO rows (key, vector) VALUES (?, ?)", rows)

    def close(self) -> None:
        """Drop the oldest rows above the bound, as many as there is time for, and let go of the file."""
        with self._tolerating_faults():
            if self._connection:
                self._drop_oldest()
                self._connection.close()
        self._connection = None

    def _drop_oldest(self) -> None:
        """In slices and for a little while only, for other ranks may wait for this one; the next that closes goes on."""
        deadline = time.monotonic() + _DROPPING_SECONDS
        last: int | None = None
        while last is None or time.monotonic() < deadline:
            with self._open:
                # Ranks close together: without the lock, the second would drop again what it counted before the first did.
                self._open.execute("BEGIN IMMEDIATE")
                # Each by itself, for both in one query would read all rows.
                first, newest = self._open.execute(
                    "SELECT (SELECT MIN(id) FROM rows), (SELECT MAX(id) FROM rows)"
                ).fetchone()
                if first is None:
                    return
                if last is None:
                    last = first - 1 + self._surplus(newest - first + 1)
                if first > last:
                    return
                self._open.execute("DELETE FROM rows WHERE id <= ?", (min(last, first + _ROWS_A_SLICE - 1),))

    def _surplus(self, rows: int) -> int:
        """How many of the rows are too many; their ids have no gaps, for only the oldest are ever dropped."""
        # Counting pages reads one of them; adding up the vectors' lengths would read the whole file.
        pages, free, page_bytes = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
        size = (pages - free) * page_bytes
        # Down to nine tenths, so that the next few runs do not each drop a little.
        return rows - int(rows * 0.9 * self.max_bytes / size) if size > self.max_bytes else 0

    def _pragma(self, name: str) -> int:
        (value,) = self._open.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    @contextmanager
    def _tolerating_faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            logger.warning("the row cache in %s is not usable (%s): going on without it", self.folder, error)
            self._connection = None


def cache_bytes() -> int:
    """RAGCUN_CACHE_GB, or 20, in bytes."""
    text = os.environ.get("RAGCUN_CACHE_GB") or "20"
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise RagcunError(f"RAGCUN_CACHE_GB is {text!r}: give a number of gigabytes, such as 20") from error
