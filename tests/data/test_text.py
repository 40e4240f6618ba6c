"""A text from outside is made safe, each change is counted, and everything else stays letter for letter."""

import random
import unicodedata

import pytest

from ragcun.sources.clean import MAX_CHARACTERS, clean_text
from ragcun.sources.source_report import SourceReport


def cleaned(text: str) -> tuple[str, dict[str, int], dict[str, int]]:
    report = SourceReport("test")
    return clean_text(text, report), dict(report.altered), dict(report.noted)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "tab\tand\nline",
        "עברית ‏و العربية‎ mixed",
        "日本語　全角",
        "e\u0301 is not é",
        "a\u200bb\u200dc\ufeffd\u2060e\u00adf",
        "one\u2028two\u2029three\x85four\x92",
        "👩‍👩‍👧‍👦 and \U0001f600",
        "a < b, x<y and 3 <4",
        "\u202eright to left\u202c",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert cleaned(text) == (text, {}, {})


@pytest.mark.parametrize(
    ("text", "expected", "altered"),
    [
        (" a ", "a", {}),
        ("a\x00b\x1bc\x7fd", "a b c d", {"control characters became spaces": 1}),
        ("a\r\nb\rc", "a\nb\nc", {"line ends of other systems became new lines": 1}),
        ("a\ud83d b", "a\ufffd b", {"lone surrogates were replaced": 1}),
        ("\x00a\x00", "a", {"control characters became spaces": 1}),
    ],
)
def test_what_is_no_text_is_replaced_and_counted(text: str, expected: str, altered: dict[str, int]) -> None:
    assert cleaned(text) == (expected, altered, {})


def test_the_same_document_from_windows_and_unix_is_one_text() -> None:
    """The splits are kept apart by texts."""
    assert cleaned("one\r\ntwo\r\n")[0] == cleaned("one\ntwo\n")[0]


def test_a_long_text_is_cut_and_counted_and_one_at_the_bound_is_not() -> None:
    assert cleaned("x" * MAX_CHARACTERS) == ("x" * MAX_CHARACTERS, {}, {})
    text, altered, _ = cleaned("x" * 10_000_000)
    assert (len(text), altered) == (MAX_CHARACTERS, {f"cut at {MAX_CHARACTERS} characters": 1})
    assert cleaned(" " * MAX_CHARACTERS + "x") == ("x", {}, {})


@pytest.mark.parametrize("text", ["", " \n", "\x00\x01", "\ufeff", "\u200b \u200f\u00ad", "\u3000\u2028"])
def test_a_text_in_which_nothing_is_seen_is_empty(text: str) -> None:
    assert cleaned(text)[0] == ""


@pytest.mark.parametrize("text", ["<p>one</p>", "a<br/>b", 'see <a href="x">y</a>', "</div>"])
def test_html_is_counted_and_kept(text: str) -> None:
    assert cleaned(text) == (text, {}, {"holds HTML tags": 1})


def test_any_text_becomes_one_that_can_be_stored_and_cleaning_it_again_changes_nothing() -> None:
    draw = random.Random(0)
    odd = [chr(code) for code in (*range(0x100), 0xD800, 0xDFFF, 0xFEFF, 0x200B, 0x2028, 0x4E00, 0x1F600)]
    for _ in range(3000):
        text, _, _ = cleaned("".join(draw.choices(odd, k=draw.randrange(12))))
        text.encode("utf-8")
        assert text == text.strip()
        assert not [c for c in text if unicodedata.category(c) == "Cc" and c not in "\t\n" and ord(c) < 0x80]
        assert cleaned(text)[:2] == (text, {})
