"""Rows of a user's file, in every encoding and shape: what is wrong is named and counted, and the rest is read."""

import csv
import json
import logging
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources.clean import MAX_CHARACTERS
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files import lines, tables
from ragcun.sources.user_files import pairs as own_pairs
from ragcun.sources.user_files import passages as own_passages
from ragcun.sources.user_files.pairs import UserPairs
from tests.sources.user_files import ROWS, SETTINGS, TEXT_SUFFIXES, pairs, passages, write


def good_lines(suffix: str, count: int) -> list[bytes]:
    """The lines of a file of pairs; a header first where the suffix has one."""
    if suffix == ".jsonl":
        return [json.dumps({"query": f"q{i}", "positive": f"p{i}"}).encode() for i in range(count)]
    between = b"\t" if suffix == ".tsv" else b","
    return [between.join([b"query", b"positive"]), *(between.join([b"q%d" % i, b"p%d" % i]) for i in range(count))]


# Encodings and line ends.


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
@pytest.mark.parametrize("change", [lambda raw: b"\xef\xbb\xbf" + raw, lambda raw: raw.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(
    tmp_path: Path, suffix: str, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a{suffix}"
    raw = write(path, ROWS).read_bytes().replace(b"\r\n", b"\n")
    path.write_bytes(change(raw))
    assert [pair.positive for pair in pairs(path)[0]] == [row["positive"] for row in ROWS]
    assert [pair.query for pair in pairs(path)[0]] == [row["query"] for row in ROWS]


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
@pytest.mark.parametrize(
    ("codec", "name"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"), ("utf-32", "UTF-32")],
)
def test_another_unicode_is_one_error_that_names_it(tmp_path: Path, suffix: str, codec: str, name: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\n".join(good_lines(suffix, 50)).decode().encode(codec))
    with pytest.raises(RagcunError, match=f"is {name} text; save it as UTF-8"):
        pairs(path)


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
def test_a_row_in_another_encoding_is_left_out_alone(tmp_path: Path, suffix: str) -> None:
    good = good_lines(suffix, 40)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\n".join([*good, good[-1].replace(b"p", b"caf\xe9"), good[-1].replace(b"q", b"\xed\xa0\x80")]))
    found, report = pairs(path)
    assert len(found) == 40
    assert report.dropped == {"bytes that are not UTF-8": 2}


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
def test_a_file_in_another_encoding_is_an_error_that_names_the_first_row(tmp_path: Path, suffix: str) -> None:
    good = good_lines(suffix, 40)
    header = [good.pop(0)] if suffix != ".jsonl" else []
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\n".join([*header, *(line.replace(b"p", b"caf\xe9") for line in good)]))
    first = len(header) + 1
    with pytest.raises(
        RagcunError, match=rf"4\d of 4\d rows are not .* line {first}: bytes that are not UTF-8.* UTF-8"
    ):
        pairs(path)


def test_a_line_of_text_in_another_encoding_is_left_out_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ncaf\xe9\nthree\n")
    found, report = passages(path)
    assert [passage.id for passage in found] == ["1", "3"]
    assert report.dropped == {"bytes that are not UTF-8": 1}


# Malformed rows.


def test_malformed_json_is_left_out_counted_and_its_first_line_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [b'{"query": "q", ', b'"text"', b"[" * 100_000, b"9" * 5000, b"\x00", b'{"query": "q"} {}', b"NaN"]
    good = good_lines(".jsonl", 40)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([*good[:2], *bad, b"", b"\xef\xbb\xbf" + good[2], *good[3:]]))
    found, report = pairs(path)
    assert len(found) == 40
    assert report.dropped == {"malformed JSON": 5, "JSON that is no object": 2}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.partition(":")[0] for warning in warnings] == [f"{path}, line 3", f"{path}, line 4"]


def test_a_json_array_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text in (json.dumps(ROWS), json.dumps(ROWS, indent=2)):
        path.write_text(text)
        with pytest.raises(RagcunError, match=r"line 1: .*(array|no object).*Write one JSON object a line"):
            pairs(path)


def test_half_of_the_rows_may_be_malformed_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = good_lines(".jsonl", 40)
    path.write_bytes(b"\n".join([*good, *[b"{"] * 40]))
    assert len(pairs(path)[0]) == 40
    path.write_bytes(b"\n".join([*good, *[b"{"] * 41]))
    with pytest.raises(
        RagcunError, match=r"41 of 81 rows are not what a \.jsonl file should hold; the first is line 41"
    ):
        pairs(path)


def test_a_file_of_another_kind_is_given_up_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{\n" * 50_000)
    with pytest.raises(RagcunError, match="1000 of 1000 rows"):
        pairs(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_rows_with_more_or_fewer_cells_are_left_out_and_counted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    between = b"\t" if suffix == ".tsv" else b","
    path.write_bytes(b"\n".join([*good_lines(suffix, 40), b"alone", between.join([b"a", b"b", b"c"]), b"", b""]))
    found, report = pairs(path)
    assert len(found) == 40
    assert report.dropped == {"more or fewer cells than the header": 2}


def test_a_quote_never_closed_loses_no_row_uncounted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = good_lines(".csv", 100)
    path.write_bytes(b"\n".join([*good[:71], b'q,"never closed', *good[71:]]))
    found, report = pairs(path)
    assert len(found) == 70
    assert report.dropped == {"cells not separated and quoted as they should be": 31}
    assert report.read == 101
    path.write_bytes(b"\n".join([*good[:11], b'q,"never closed', *good[11:]]))
    with pytest.raises(RagcunError, match=r"91 of 101 rows .* line 12: cells not .* \(to line 102: unexpected end"):
        pairs(path)


def test_a_quote_that_a_later_one_closes_loses_no_row_uncounted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = good_lines(".csv", 100)
    path.write_bytes(b"\n".join([*good[:51], b'q,"open', *good[51:60], b'a,"quoted"', *good[60:]]))
    found, report = pairs(path)
    assert len(found) == 91
    assert sum(report.dropped.values()) == 11
    assert report.read == 102


@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        ("a.csv", "\t", r"is separated by tabs: name it \.tsv"),
        ("a.csv", ";", r"is separated by semicolons: save it with commas, as \.csv"),
        ("a.tsv", ",", r"is separated by commas: name it \.csv"),
    ],
)
def test_another_separator_is_an_error_that_names_it(tmp_path: Path, name: str, separator: str, message: str) -> None:
    (tmp_path / name).write_text(f"query{separator}positive\nq{separator}p\n")
    with pytest.raises(RagcunError, match=message):
        pairs(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,positive\n", r"a\.csv has no row; fill it"),
        ("query,positive\n\n\n", "has no row"),
        ("\n\n", "has the columns none; it needs"),
        ('"query,positive\n', "the header cannot be read"),
    ],
)
def test_a_table_without_rows_or_header_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RagcunError, match=message):
        pairs(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_blank_lines_alone_are_no_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n \n\t\n")
    with pytest.raises(RagcunError, match="has no row"):
        passages(tmp_path / name)


# Large texts, and memory.


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".parquet"])
def test_a_text_of_ten_megabytes_is_cut_and_counted(tmp_path: Path, suffix: str) -> None:
    limit = csv.field_size_limit()
    found, report = pairs(write(tmp_path / f"a{suffix}", [*ROWS, {**ROWS[0], "positive": "x" * 10_000_000}]))
    assert len(found[-1].positive) == MAX_CHARACTERS
    assert report.altered == {f"cut at {MAX_CHARACTERS} characters": 1}
    assert csv.field_size_limit() == limit, "left as it was for others"


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
def test_a_line_too_long_to_be_held_is_left_out_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    good = good_lines(suffix, 40)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\n".join([*good[:10], good[-1] + b" " * 5000, *good[10:]]))
    found, report = pairs(path)
    assert len(found) == 40
    assert report.dropped == {"a line of more than 1000 characters": 1}


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".parquet", ".txt"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    count, text = 10_000 if suffix == ".parquet" else 4000, "wörd " * 400
    if suffix == ".txt":
        path.write_text(f"{text}\n" * count)
        stream: Any = own_passages.UserPassages(path).passages(SourceReport("test"))
    else:
        table = pa.table({"query": [f"q{i}" for i in range(count)], "positive": [f"{i} {text}" for i in range(count)]})
        if suffix == ".parquet":
            # One row group, and text that no dictionary makes small.
            pq.write_table(table, path, row_group_size=count, use_dictionary=False, compression="none")
        else:
            write(path, table.to_pylist())
        stream = UserPairs(path, SETTINGS, 1).pairs(SourceReport("test"))
    arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        most_arrow = 0
        for _ in stream:
            most_arrow = max(most_arrow, pa.total_allocated_bytes() - arrow)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 9_000_000
    assert most < 5_000_000
    # Pages of a megabyte and batches of a thousand rows; the row group has 24.
    assert most_arrow < 8_000_000


# Parquet.


def string_types() -> list[Any]:
    return [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]


@pytest.mark.parametrize("kind", [*string_types(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_every_kind_of_string_column_is_text(tmp_path: Path, kind: Any) -> None:
    texts = ["one", "日本語", None, "four"]
    table = pa.table(
        {
            "query": pa.array(["a", "b", "c", "d"]).cast(kind),
            "positive": pa.array(texts).cast(kind),
            "split": ["train"] * 4,
        }
    )
    lists = pa.array([["n"], [], ["n", "m"], None], type=pa.list_(pa.string()))
    if not pa.types.is_dictionary(kind):
        lists = pa.array([["n"], [], ["n", "m"], None], type=pa.large_list(pa.string())).cast(pa.large_list(kind))
    table = table.append_column("negatives", lists)
    table = pa.concat_tables([table, table.slice(3).set_column(2, "split", [["dev"]])])
    pq.write_table(table, tmp_path / "a.parquet", store_schema=True)
    found, report = pairs(tmp_path / "a.parquet")
    assert [(pair.query, pair.positive, pair.negatives) for pair in found] == [
        ("a", "one", ("n",)),
        ("b", "日本語", ()),
        ("d", "four", ()),
        ("d", "four", ()),
    ]
    assert report.dropped == {"no positive": 1}


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()], ids=str)
def test_bytes_in_a_parquet_that_are_not_utf8_are_left_out_alone(tmp_path: Path, kind: Any) -> None:
    raw = [b"one", b"caf\xe9", b"three", b"four"]
    buffers = pa.array(raw, type=pa.binary()).buffers()
    # As a writer leaves them that does not check.
    positive = pa.Array.from_buffers(kind, len(raw), buffers)
    pq.write_table(
        pa.table({"query": list("abcd"), "positive": positive, "split": ["train", "train", "dev", "dev"]}),
        tmp_path / "a.parquet",
    )
    found, report = pairs(tmp_path / "a.parquet")
    assert [pair.query for pair in found] == ["a", "c", "d"]
    assert report.dropped == {"bytes that are not UTF-8": 1}


def test_columns_that_are_not_used_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    iter_batches = pq.ParquetFile.iter_batches

    def watch(self: Any, size: int, columns: list[str]) -> Any:
        asked.append(columns)
        return iter_batches(self, size, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watch)
    pairs(write(tmp_path / "a.parquet", [{"embedding": [0.5] * 9, **row} for row in ROWS]))
    assert asked
    assert all(columns == ["query", "positive", "negatives", "split"] for columns in asked)


def test_a_parquet_that_is_cut_or_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    whole = write(path, ROWS).read_bytes()
    for raw in (b"query,positive\na,b\n", whole[:-10], whole[: len(whole) // 2], b"PAR1", whole[len(whole) // 2 :]):
        path.write_bytes(raw)
        with pytest.raises(
            RagcunError, match=r"a\.parquet is no parquet file, or not a whole one \(.*\); write it again"
        ):
            pairs(path)


def test_a_parquet_damaged_in_the_middle_is_an_error_that_says_after_which_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist([{"query": f"q {i}", "positive": f"p {i}"} for i in range(5000)])
    pq.write_table(table, path, row_group_size=1000, write_page_checksum=True, use_dictionary=False, compression="none")
    damaged = bytearray(path.read_bytes())
    middle = damaged.index(b"p 3500")
    damaged[middle : middle + 6] = b"q 3500"
    path.write_bytes(damaged)
    with pytest.raises(RagcunError, match=r"a\.parquet cannot be read after row 3000 \(.*\); write it again"):
        pairs(path)


def test_an_empty_parquet_has_no_row(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"query": pa.array([], pa.string()), "positive": pa.array([], pa.string())}), tmp_path / "a.parquet"
    )
    with pytest.raises(RagcunError, match="has no row"):
        pairs(tmp_path / "a.parquet")


def test_the_batches_of_a_parquet_shrink_with_its_rows() -> None:
    class Metadata:
        def __init__(self, rows: int, size: int) -> None:
            self.num_rows, self.num_row_groups, self.total_byte_size = rows, 1, size

        def row_group(self, number: int) -> "Metadata":
            return self

    sizes = [
        tables._batch_rows(Metadata(rows, size))
        for rows, size in ((10**6, 10**8), (1000, 10**10), (0, 0), (100, 10**7))
    ]
    assert sizes == [1000, 1, 1, 83]


def test_both_sources_say_which_key_names_them() -> None:
    assert (own_pairs.KEY, own_passages.KEY) == ("data.pairs", "data.passages")
