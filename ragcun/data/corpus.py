"""JSON lines with an `_id`, checked; and a corpus whose texts stay in their file.

One pass over corpus.jsonl checks it and notes where each line begins. A corpus of millions is then a list of ids and of
8-byte places; a text is read when it is asked for. The file must not change meanwhile.
"""

import json
import logging
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, overload

from ragcun.core.errors import RagcunError
from ragcun.core.files import JsonValues

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
        rows = range(self._length)[index]
        return self._get(rows) if isinstance(rows, int) else [self._get(row) for row in rows]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


class JsonLine(NamedTuple):
    """An object of a file of JSON lines: file and line for messages, the byte where the line begins, `_id`, the object."""

    where: str
    place: int
    id: str
    row: dict[str, Any]


def json_lines(path: Path) -> Iterator[JsonLine]:
    """Yield the lines that are not blank. Warns, at the end, of lines whose texts `text_of` repairs.

    Raises RagcunError, naming file and line, for a missing file, bytes that are not UTF-8, malformed JSON, an `_id` that
    is missing, blank, no string, or cannot be written in a file of judgements.
    """
    if not path.is_file():
        raise RagcunError(
            f"{path} is missing; a folder in BEIR's layout has corpus.jsonl, queries.jsonl and qrels/test.tsv"
        )
    place = repaired = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                row = _parse(line, where)
                repaired += any(_SURROGATES.search(row[key]) for key in _TEXTS if isinstance(row.get(key), str))
                yield JsonLine(where, place, _id(row, where), row)
            place += len(line)
    if repaired:
        logger.warning("%s: lone surrogates in %d lines were replaced by U+FFFD", path, repaired)


class CorpusFile:
    """corpus.jsonl, checked: `ids` in file order, titles and texts on demand.

    Documents with neither title nor text are kept, for real collections have them; `without_text` counts them.

    Raises RagcunError as `json_lines` does, for an id twice, a title or text that is no string, and no document at all.
    """

    def __init__(self, path: Path) -> None:
        self.ids: list[str] = []
        self.without_text = 0
        places = array("q")
        seen: set[str] = set()
        for where, place, key, row in json_lines(path):
            if key in seen:
                raise RagcunError(f"{where}: the document id {key!r} is given twice; keep one of the two lines")
            seen.add(key)
            self.without_text += not (text_of(row, "title", where) + text_of(row, "text", where)).strip()
            self.ids.append(key)
            places.append(place)
        if not self.ids:
            raise RagcunError(f"{path} is empty; it needs one document a line")
        places.append(path.stat().st_size)
        self._name, self._rows = str(path), JsonValues(path.open("rb"), places)
        self.titles = LazyTexts(len(self.ids), partial(self._text, "title"))
        self.bodies = LazyTexts(len(self.ids), partial(self._text, "text"))

    def _text(self, key: str, row: int) -> str:
        return text_of(self._rows[row], key, self._name)


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
