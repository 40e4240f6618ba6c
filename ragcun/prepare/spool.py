"""Records of any number and size kept in a temporary file, to be read in any order without being held."""

import json
import os
import tempfile
from array import array
from collections.abc import Iterable
from types import TracebackType
from typing import Any


class Spool:
    """Records that JSON can hold, by number; the file goes away with the block."""

    def __init__(self, records: Iterable[Any]) -> None:
        self._file = tempfile.TemporaryFile(prefix="ragcun-")  # noqa: SIM115, closed by __exit__
        self._ends = array("q", [0])
        for record in records:
            written = self._file.write(json.dumps(record).encode("ascii"))
            self._ends.append(self._ends[-1] + written)
        self._file.flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self._ends[number], self._ends[number + 1]
        return json.loads(os.pread(self._file.fileno(), end - start, start))

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
