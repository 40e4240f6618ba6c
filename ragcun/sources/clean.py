"""Make texts from outside safe to store, print and tokenize, and leave them as they are otherwise.

White space, joiners and marks of direction (zero-width and bidirectional marks, U+2028, U+0085, a byte order mark) stay,
and nothing is normalised. But line ends become those of Unix: the splits are kept apart by their documents' texts, and a
document must equal its copy from another system.
"""

import re
from typing import Any

from ragcun.sources.source_report import SourceReport

# Far beyond what any model here reads of a text; a longer one would cost memory for nothing.
MAX_CHARACTERS = 100_000

# One search for everything rare: most texts have none of it.
_RARE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff<]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
# Any character but white space, joiners and marks of direction.
_VISIBLE = re.compile(r"[^\s\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")


def clean_text(text: str, report: SourceReport) -> str:
    """The text stripped, without control characters and lone surrogates, cut at MAX_CHARACTERS; each change is counted.

    A text without a visible character becomes empty. HTML is counted and kept: the documents may be about it.
    """
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rstrip()
        report.altered[f"cut at {MAX_CHARACTERS} characters"] += 1
    if _RARE.search(text):
        text = _clean_rare(text, report)
    return text if _VISIBLE.search(text) else ""


def decoded(value: Any, report: SourceReport | None = None) -> Any:
    """`value` with all bytes in it, also in lists and dicts, read as UTF-8.

    With a report, other bytes are replaced and counted there; without one they raise UnicodeDecodeError.
    """
    if isinstance(value, dict):
        return {key: decoded(item, report) for key, item in value.items()}
    if isinstance(value, list):
        return [decoded(item, report) for item in value]
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        if report is None:
            raise
        report.altered["bytes that are no UTF-8 were replaced"] += 1
        return value.decode(errors="replace")


def _clean_rare(text: str, report: SourceReport) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        report.altered["line ends of other systems became new lines"] += 1
    if _CONTROLS.search(text):
        text = _CONTROLS.sub(" ", text)
        report.altered["control characters became spaces"] += 1
    if _SURROGATES.search(text):
        text = _SURROGATES.sub("\ufffd", text)
        report.altered["lone surrogates were replaced"] += 1
    if _TAG.search(text):
        report.noted["holds HTML tags"] += 1
    return text.strip()
