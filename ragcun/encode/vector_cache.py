"""The row cache: vectors of texts, so that a model encodes no text twice on a machine.

It is one SQLite file in the user's cache folder (RAGCUN_CACHE names another; RAGCUN_CACHE_GB bounds it, 20 by default). A
key is a hash of all that decides the vector, so no entry is ever stale, and the file may be deleted at any time. If it
cannot be read or written, a warning is logged and the work goes on without it.

Every later run can use the base's vectors. Those of a trained model serve benchmarks that share a corpus, until the
model is trained again: they are in a second table, `transient`, and are dropped first.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.core.files import cache_folder

logger = logging.getLogger(__name__)

# Well below SQLite's bound on the variables of a statement.
_KEYS_A_STATEMENT = 500
# The first is dropped first.
_TABLES = ("transient", "rows")
_ROWS_A_SLICE = 10_000
_DROPPING_SECONDS = 30


class RowCache:
    """Float32 vectors by key, shared by processes.

    Args:
        folder: of the file; None is the user's cache folder.
        max_bytes: above so many bytes in use the oldest rows are dropped, transient ones first; None is RAGCUN_CACHE_GB.
        transient: whether the vectors that are put are transient.

    Raises:
        RagcunError: RAGCUN_CACHE_GB is not a number.

    >>> from contextlib import closing
    >>> with closing(RowCache(Path("cache"))) as cache:
    ...     cache.put({b"river": np.array([1, 2])})
    ...     cache.get([b"river", b"boat"])
    {b'river': array([1., 2.], dtype=float32)}
    """

    def __init__(self, folder: Path | None = None, max_bytes: int | None = None, *, transient: bool = False) -> None:
        self.folder = folder or cache_folder()
        self.table = "transient" if transient else "rows"
        self.max_bytes = cache_bytes() if max_bytes is None else max_bytes
        self._connection: sqlite3.Connection | None = None
        with self._tolerating_faults():
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.folder / "rows.sqlite", timeout=60)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            for table in _TABLES:
                columns = "id INTEGER PRIMARY KEY, key BLOB UNIQUE, vector BLOB"
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            self._connection = connection

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors, (d,), of the keys that are there."""
        found: dict[bytes, np.ndarray] = {}
        with self._tolerating_faults():
            for at in range(0, len(keys) if self._connection else 0, _KEYS_A_STATEMENT):
                part = keys[at : at + _KEYS_A_STATEMENT]
                marks = ",".join("?" * len(part))
                for table in _TABLES:
                    rows = self._open.execute(f"SELECT key, vector FROM {table} WHERE key IN ({marks})", part)
                    found.update((key, np.frombuffer(vector, dtype="<f4")) for key, vector in rows)
        return found

    def put(self, vectors: Mapping[bytes, np.ndarray]) -> None:
        """Keep these vectors."""
        with self._tolerating_faults():
            if self._connection:
                rows = ((key, vector.astype("<f4").tobytes()) for key, vector in vectors.items())
                with self._open:
                    self._open.executemany(f"INSERT OR IGNORE INTO {self.table} (key, vector) VALUES (?, ?)", rows)

    def close(self) -> None:
        """Drop the oldest rows above the bound, as far as the time allows, and close the file."""
        with self._tolerating_faults():
            if self._connection:
                self._drop_oldest()
                self._connection.close()
        self._connection = None

    def _drop_oldest(self) -> None:
        """Drop slices for a little while, since other ranks may wait for this one; the next cache that closes goes on."""
        deadline = time.monotonic() + _DROPPING_SECONDS
        lasts: list[int] | None = None
        while lasts is None or time.monotonic() < deadline:
            with self._open:
                # Ranks close together: without this lock, two would drop for the same surplus.
                self._open.execute("BEGIN IMMEDIATE")
                spans = [self._span(table) for table in _TABLES]
                if lasts is None:
                    lasts = self._last_surplus(spans)
                left = [
                    (table, span.start, last)
                    for table, span, last in zip(_TABLES, spans, lasts, strict=True)
                    if span and span.start <= last
                ]
                if not left:
                    return
                table, first, last = left[0]
                self._open.execute(f"DELETE FROM {table} WHERE id <= ?", (min(last, first + _ROWS_A_SLICE - 1),))

    def _span(self, table: str) -> range:
        """The ids of a table's rows, without gaps, since only the oldest are ever dropped."""
        # Two queries: one for both would read all rows.
        bounds = f"SELECT (SELECT MIN(id) FROM {table}), (SELECT MAX(id) FROM {table})"
        first, newest = self._open.execute(bounds).fetchone()
        return range(0) if first is None else range(first, newest + 1)

    def _last_surplus(self, spans: Sequence[range]) -> list[int]:
        """For each table the last id of the surplus; all rows of a table go before any of the next."""
        # Counting pages reads one page; adding up the vectors' lengths would read the whole file.
        pages, free, page_bytes = (self._pragma(name) for name in ("page_count", "freelist_count", "page_size"))
        size = (pages - free) * page_bytes
        rows = sum(map(len, spans))
        # Down to nine tenths, so that the next runs do not each drop a little.
        surplus = rows - int(rows * 0.9 * self.max_bytes / size) if size > self.max_bytes else 0
        lasts = []
        for span in spans:
            dropped = min(len(span), surplus)
            lasts.append(span.start + dropped - 1)
            surplus -= dropped
        return lasts

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
    """RAGCUN_CACHE_GB, or 20, in bytes.

    >>> cache_bytes()
    20000000000
    """
    text = os.environ.get("RAGCUN_CACHE_GB") or "20"
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError) as error:
        raise RagcunError(f"RAGCUN_CACHE_GB is {text!r}: give a number of gigabytes, such as 20") from error
