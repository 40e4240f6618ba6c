"""Find a user's file, name it by its hash, and account for what is wrong in it.

A bad row is left out and counted by its reason; the first of each reason is logged with its line. A file is an error where
most of its rows are not what its suffix says.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.core.files import sha256_file
from ragcun.sources.source_report import SourceReport

logger = logging.getLogger(__name__)

LICENCE = "the user's own"
# With so many unreadable rows, a file may be given up before its end.
_ENOUGH = 1000
_SHOWN = 60

_REMEDIES = {
    ".txt": "Write one passage a line, in UTF-8",
    ".jsonl": "Write one JSON object a line, in UTF-8",
    ".csv": "Separate the cells by commas, quote those that hold a comma, a quote or a line break, and save it as UTF-8",
    ".tsv": "Separate the cells by tabs, quote those that hold a tab, a quote or a line break, and save it as UTF-8",
    ".parquet": "Let its columns hold text",
}


class Reading:
    """The account of one reading of a file, whose suffix says how it is read; `quiet` logs nothing."""

    def __init__(self, path: Path, report: SourceReport, *, quiet: bool = False) -> None:
        self.path, self.report, self.quiet = path, report, quiet
        self.suffix = path.suffix.lower()
        self._unreadable = 0
        self._first = ""

    def where(self, number: int) -> str:
        """The row `number` (from 1), as a user finds it."""
        return f"{'row' if self.suffix == '.parquet' else 'line'} {number}"

    def drop(self, number: int, reason: str, detail: str = "", *, rows: int = 1) -> None:
        """Leave out `rows` rows from `number` on."""
        if reason not in self.report.dropped and not self.quiet:
            logger.warning(
                "%s, %s: %s%s; left out, as all further ones are",
                self.path,
                self.where(number),
                reason,
                detail and f" ({detail})",
            )
        self.report.dropped[reason] += rows

    def unreadable(self, number: int, reason: str, detail: str = "", *, rows: int = 1) -> None:
        """Leave out `rows` rows from `number` on, which are not what the suffix says.

        Raises RagcunError where there are many of them, and more than of the others.
        """
        self._first = self._first or f"{self.where(number)}: {reason}{detail and f' ({detail})'}"
        self._unreadable += rows
        self.drop(number, reason, detail, rows=rows)
        if self._unreadable >= _ENOUGH:
            self.check()

    def check(self) -> None:
        """Raise RagcunError where more than half of the rows read so far could not be read."""
        if 2 * self._unreadable > self.report.read:
            raise RagcunError(
                f"{self.path}: {self._unreadable} of {self.report.read} rows are not what a {self.suffix} file should "
                f"hold; the first is {self._first}. {_REMEDIES[self.suffix]}"
            )


@contextmanager
def reading(path: Path, report: SourceReport, *, key: str, suffixes: tuple[str, ...]) -> Iterator[Reading]:
    """Check the file that params name under `key`, describe it in the report, and account for its reading.

    Raises RagcunError where there is no such file, it has another suffix, is empty, cannot be read, is changed meanwhile,
    gives no row, or gives mostly rows that are not what its suffix says.
    """
    path = _find(path, key, suffixes)
    account = Reading(path, report)
    try:
        before = path.stat()
        report.licence, report.revision = LICENCE, f"sha256 {sha256_file(path)}"
        logger.info("reading %s (%.1f MB)", path, before.st_size / 1e6)
        yield account
        after = path.stat()
    except OSError as error:
        raise RagcunError(
            f"{path} cannot be read ({error.strerror or error}); check its permissions and disk"
        ) from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise RagcunError(f"{path} was changed while it was read; run again when it is finished")
    if not report.read:
        raise RagcunError(f"{path} has no row; fill it, or name another file ({key})")
    account.check()


def shown(value: object) -> str:
    """A name or value of a file for messages: on one line, and short."""
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}…"


def listed(names: Sequence[str]) -> str:
    """Columns of a file for messages, the first twenty."""
    return ", ".join(map(shown, names[:20])) + (", …" if len(names) > 20 else "") or "none"


def _find(path: Path, key: str, suffixes: tuple[str, ...]) -> Path:
    known = ", ".join(suffixes)
    try:
        path = path.expanduser()
        if path.is_dir():
            wrong = f"is a folder; name a file ({known}) in it"
        elif path.suffix.lower() not in suffixes:
            wrong = f"is none of {known}; save it as one of these under its suffix"
        elif not path.exists():
            wrong = f"does not exist in {Path.cwd()}; correct the path"
        elif not path.is_file():
            wrong = "is no regular file; save what it gives as a file"
        elif not path.stat().st_size:
            wrong = "is empty; fill it, or name another file"
        else:
            return path
    # A name too long for the file system, a NUL byte in it, a `~user` that nobody is.
    except (OSError, ValueError, RuntimeError) as error:
        raise RagcunError(f"{key} names {shown(str(path))}: {error}; correct the path") from error
    raise RagcunError(f"{key} names {path}, which {wrong}")
