"""Texts from outside, made safe to store, to print and to tokenize."""

import re

from ragcun.source_report import SourceReport

# Far beyond what any model here reads of a text; a longer one would cost memory for nothing.
MAX_CHARACTERS = 100_000

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")


def clean_text(text: str, report: SourceReport) -> str:
    """The text stripped, without control characters and lone surrogates, cut at MAX_CHARACTERS; each change is counted.

    HTML is counted and kept: it may be what the user's documents are about.
    """
    if _CONTROLS.search(text):
        # Line breaks of old Macs and of Windows are white space, the rest is not text.
        text = _CONTROLS.sub(" ", text)
        report.altered["control characters became spaces"] += 1
    if _SURROGATES.search(text):
        text = _SURROGATES.sub("\ufffd", text)
        report.altered["lone surrogates were replaced"] += 1
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS]
        report.altered[f"cut at {MAX_CHARACTERS} characters"] += 1
    if _TAG.search(text):
        report.noted["holds HTML tags"] += 1
    return text.strip()
