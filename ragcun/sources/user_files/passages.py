"""A user's passages: a .txt file with one a line, or a .jsonl, .csv, .tsv or .parquet file with one a row.

    text     the passage
    title    optional
    _id      optional, also called id; else the number of the row, or of the line in a .txt and .jsonl

The corpus.jsonl of a benchmark in BEIR's layout is such a file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ragcun.core.errors import RagcunError
from ragcun.sources.clean import clean_text
from ragcun.sources.records import Passage
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.file import Reading, listed, reading
from ragcun.sources.user_files.lines import read_lines
from ragcun.sources.user_files.tables import Row, read_rows

KEY = "data.passages"
SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")

_COLUMNS = ("text", "title", "_id", "id")


class UserPassages:
    """The passages of the file at `path`: relative to the working folder, absolute, or from `~`.

    Args:
        key: what a user names the file by, for messages.
    """

    def __init__(self, path: Path, key: str = KEY) -> None:
        self.path, self.key = path, key

    def passages(self, report: SourceReport) -> Iterator[Passage]:
        """Stream the passages, in the file's order. Raises RagcunError as `reading` does, and for unknown columns."""
        with reading(self.path, report, key=self.key, suffixes=SUFFIXES) as account:
            yield from filter(None, (_passage(row, account) for row in _rows(account)))


def _rows(account: Reading) -> Iterator[Row]:
    if account.suffix == ".txt":
        return (Row(number, {"text": line}) for number, line in read_lines(account))
    return read_rows(account, lambda names: _used(account.path, names))


def _used(path: Path, names: tuple[str, ...]) -> set[str]:
    if "text" not in names:
        raise RagcunError(
            f"{path} has the columns {listed(names)}; it needs `text`, and may have `title` and `_id`: rename them"
        )
    return set(_COLUMNS) & set(names)


def _passage(row: Row, account: Reading) -> Passage | None:
    """The passage of a row; None where it is no use."""
    values = [row.values.get(name) for name in ("title", "text")]
    for value in values:
        if value is not None and not isinstance(value, str):
            account.unreadable(row.number, "a title or text that is no text", type(value).__name__)
            return None
    title, text = (clean_text(value or "", account.report) for value in values)
    if not title and not text:
        account.drop(row.number, "neither title nor text")
        return None
    return Passage(_id(row, account), title, text)


def _id(row: Row, account: Reading) -> str:
    given: Any = row.values.get("_id", row.values.get("id"))
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if given is not None and not isinstance(given, str):
        account.report.altered["ids that are neither text nor whole numbers became the row's number"] += 1
        given = None
    return clean_text(given or "", account.report) or str(row.number)
