"""Lines of UTF-8 text files of any size, with or without a byte order mark.

A line with other bytes, or one too long to hold, is left out alone and does not end the reading.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ragcun.core.errors import RagcunError
from ragcun.sources.user_files.file import Reading

# Characters of a line, or of a quoted cell over several lines; a longer one is an unclosed quote, or no text.
MAX_LINE = 2**25
# Bytes at the start of a file that show its encoding.
_HEAD = 4096
_LINES_A_TICK = 2000
# Stands for a line that is too long. No file holds it: undecodable bytes become U+DC80 … U+DCFF.
_TOO_LONG = "\ud800"


def read_lines(reading: Reading) -> Iterator[tuple[int, str]]:
    """The readable lines that are not blank, each with its number from 1. Raises as `raw_lines` does."""
    for number, line in enumerate(raw_lines(reading.path, newline="\n"), start=1):
        if line.isspace():
            continue
        reading.report.read += 1
        if reason := why_unreadable(line):
            reading.unreadable(number, reason)
        else:
            yield number, line


def raw_lines(path: Path, *, newline: str) -> Iterator[str]:
    """Lines with their ends (`newline` as for `open`); `why_unreadable` tells which cannot be read.

    Raises RagcunError for UTF-16 and UTF-32.
    """
    _refuse_other_encodings(path)
    bar = tqdm(total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, disable=None)
    with (
        bar,
        path.open("rb") as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as file,
    ):
        count = 0
        while line := file.readline(MAX_LINE):
            if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                    pass
                line = _TOO_LONG
            yield line
            count += 1
            if count % _LINES_A_TICK == 0:
                bar.update(raw.tell() - bar.n)
        bar.update(raw.tell() - bar.n)


def why_unreadable(text: str) -> str | None:
    """What is wrong with a line of `raw_lines`, or with a part of it; None where nothing is."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return f"a line of more than {MAX_LINE} characters" if _TOO_LONG in text else "bytes that are not UTF-8"
    return None


def _refuse_other_encodings(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    encoding = None
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "UTF-32"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _every_other_byte_is_nul(head):
        encoding = "UTF-16"
    if encoding:
        raise RagcunError(f"{path} is {encoding} text; save it as UTF-8")


def _every_other_byte_is_nul(head: bytes) -> bool:
    """Whether it looks like Latin letters in UTF-16 without a byte order mark."""
    halves = head[::2], head[1::2]
    few, many = sorted(half.count(0) / max(1, len(half)) for half in halves)
    return many > 0.5 and few < 0.1
