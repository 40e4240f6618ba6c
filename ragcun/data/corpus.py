"""The documents of a benchmark that stay in their file: one pass checks it and notes where each line begins.

A corpus of millions is then a list of ids and of 8-byte places; a text is read when it is asked for. The file must not
change meanwhile.
"""

import json
import logging
import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from ragcun.core.errors import RagcunError

logger = logging.getLogger(__name__)

# Halves of a character, which JSON's \u escapes can leave alone: they cannot be written as UTF-8 or tokenized.
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TEXTS = ("title", "text")


class LazyTexts(Sequence[str]):
    """Texts that are made when asked for; equal to any sequence of the same texts."""

    def __init__(self, length: int, get: Callable[[int], str]) -> None:
        self._length, self._get = length, get

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._get(row) for row in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._get(index % self._length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


class JsonLines:
    """Reads JSON objects with an `_id` from a file, a line each; every failure names file and line.

    Warns, at the end of an iteration, of lines whose texts `text_of` repairs.

    Raises RagcunError, on iteration, for a missing file, bytes that are not UTF-8, malformed JSON, an `_id` that is
    missing, blank, no string, or not to be written in a file of judgements.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise RagcunError(
                f"{path} is missing; a folder in BEIR's layout has corpus.jsonl, queries.jsonl and qrels/test.tsv"
            )

    def __iter__(self) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
        """Yield (file and line for messages, place of the line in bytes, `_id`, object) for each line that is not blank."""
        place = repaired = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    where = f"{self.path}, line {number}"
                    row = _parse(line, where)
                    repaired += any(_SURROGATES.search(row[key]) for key in _TEXTS if isinstance(row.get(key), str))
                    yield where, place, _id(row, where), row
                place += len(line)
        if repaired:
            logger.warning("%s: lone surrogates in %d lines were replaced by U+FFFD", self.path, repaired)


class CorpusFile:
    """corpus.jsonl, checked: `ids` in file order, titles and texts on demand.

    Documents with neither title nor text are kept, for real collections have them; `without_text` counts them.

    Raises RagcunError as `JsonLines` does, for an id twice, a title or text that is no string, and no document at all.
    """

    def __init__(self, path: Path) -> None:
        self.ids: list[str] = []
        self.without_text = 0
        self._places = array("q")
        seen: set[str] = set()
        for where, place, key, row in JsonLines(path):
            if key in seen:
                raise RagcunError(f"{where}: the document id {key!r} is given twice; keep one of the two lines")
            seen.add(key)
            self.without_text += not (text_of(row, "title", where) + text_of(row, "text", where)).strip()
            self.ids.append(key)
            self._places.append(place)
        if not self.ids:
            raise RagcunError(f"{path} is empty; it needs one document a line")
        self._file = path.open("rb")
        self._places.append(path.stat().st_size)
        self.titles = LazyTexts(len(self.ids), partial(self._text, "title"))
        self.bodies = LazyTexts(len(self.ids), partial(self._text, "text"))

    def _text(self, key: str, row: int) -> str:
        start, end = self._places[row], self._places[row + 1]
        return text_of(json.loads(os.pread(self._file.fileno(), end - start, start)), key, self._file.name)


def text_of(row: dict[str, Any], key: str, where: str) -> str:
    """The text under `key`, lone surrogates replaced by U+FFFD; "" where it is missing or null.

    Raises RagcunError where it is something else.
    """
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RagcunError(f"{where}: {key!r} is {type(value).__name__}; it must be a string")
    return value if value.isascii() else _SURROGATES.sub("\ufffd", value)


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RagcunError(f"{where} is not UTF-8 text ({error}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise RagcunError(f"{where}: malformed JSON ({error.msg}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise RagcunError(f"{where}: {type(row).__name__} instead of a JSON object; write one JSON object a line")
    return row


def _id(row: dict[str, Any], where: str) -> str:
    key = row.get("_id")
    if not isinstance(key, str) or not key.strip() or any(c in key for c in "\t\r\n") or _SURROGATES.search(key):
        raise RagcunError(
            f"{where}: `_id` is {key!r}; it must be a string, not blank, without tabs, line breaks and lone surrogates"
        )
    return key
