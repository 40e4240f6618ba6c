"""A user's passages: the same from every format, streamed, with what is wrong named and counted."""

from pathlib import Path
from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources.records import Passage
from tests.sources.user_files import passages, write


def test_a_line_of_a_text_file_is_a_passage_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone \r\n\r\n二つ\u3000目\n \nשלוש\n\x0cfour".encode())
    found, report = passages(path)
    assert found == [
        Passage("1", "", "one"),
        Passage("3", "", "二つ\u3000目"),
        Passage("5", "", "שלוש"),
        Passage("6", "", "four"),
    ]
    assert (report.read, report.dropped, report.licence) == (4, {}, "the user's own")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "t"}, Passage("1", "", "t")),
        ({"_id": "x", "title": "T", "text": "t", "metadata": {"a": 1}}, Passage("x", "T", "t")),
        ({"id": 7, "title": None, "text": "t"}, Passage("7", "", "t")),
        ({"id": None, "text": "t"}, Passage("1", "", "t")),
        ({"id": "\x00", "title": "T", "text": ""}, Passage("1", "T", "")),
        ({"id": 0.5, "text": "t"}, Passage("1", "", "t")),
    ],
)
def test_a_row_is_a_passage(tmp_path: Path, suffix: str, row: dict[str, Any], expected: Passage) -> None:
    assert passages(write(tmp_path / f"a{suffix}", [row]))[0] == [expected]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_no_use_are_left_out_and_counted(tmp_path: Path, suffix: str) -> None:
    rows = [{"title": "", "text": text} for text in ("one", " ", None, "\ufeff", "five")]
    found, report = passages(write(tmp_path / f"a{suffix}", rows))
    assert [passage.id for passage in found] == ["1", "5"]
    assert (report.read, report.dropped) == (5, {"neither title nor text": 3})


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_columns_are_an_error_that_lists_them(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(RagcunError, match=r"has the columns 'body', 'title'; it needs `text`, and may have"):
        passages(write(tmp_path / f"a{suffix}", [{"body": "b", "title": "t"}]))


def test_values_of_another_type_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "a"}, {"text": "b"}, {"text": 0}, {"text": "c", "title": []}]
    found, report = passages(write(tmp_path / "a.jsonl", rows))
    assert [passage.text for passage in found] == ["a", "b"]
    assert report.dropped == {"a title or text that is no text": 2}


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_row_of_a_table_is_a_passage(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"_id": "x", "title": "T", "text": 'with "quotes",\tand a\nline end'},
        {"_id": "", "title": "", "text": "t"},
    ]
    found = passages(write(tmp_path / f"a{suffix}", rows))[0]
    assert [passage.id for passage in found] == ["x", "4"], "the second row begins in line 4"
    assert (found[0].title, found[1].title) == ("T", "")
    assert found[0].text.split() == ["with", '"quotes",', "and", "a", "line", "end"]


def test_another_kind_of_file_is_no_file_of_passages(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("text\nt\n")
    with pytest.raises(RagcunError, match=r"data\.passages names .* none of \.txt, \.jsonl, \.csv, \.tsv, \.parquet"):
        passages(path)
