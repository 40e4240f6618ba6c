"""A user's pairs: the same from every format, each query in one split, and what is wrong named and counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcun.core.errors import RagcunError
from ragcun.param_data import OwnPairs as Settings
from ragcun.sources.records import Pair, read_pair_records, write_pair_records
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.pairs import SUFFIXES, UserPairs
from tests.sources.user_files import SETTINGS, pairs, write

ROWS = [
    {"query": "q one", "positive": "p, one", "negatives": ["n1", "n2"], "split": "train"},
    {"query": "שאלה", "positive": '日本語 "quoted"\nin two lines', "negatives": [], "split": "validation"},
    {"query": "q three", "positive": "p\tthree", "negatives": ["n, 3"], "split": "dev"},
    {"query": "q four", "positive": "p4", "negatives": ["n4"], "split": "test"},
]
PAIRS = [
    Pair("train", "q one", "p, one", ("n1", "n2")),
    Pair("dev", "שאלה", '日本語 "quoted"\nin two lines'),
    Pair("dev", "q three", "p\tthree", ("n, 3",)),
    Pair("test", "q four", "p4", ("n4",)),
]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"query": f"query {i}", "positive": f"positive {i}"} for i in range(count)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_pairs(tmp_path: Path, suffix: str) -> None:
    found, report = pairs(write(tmp_path / f"mine{suffix}", ROWS))
    assert found == PAIRS
    assert (report.read, report.dropped, report.altered) == (4, {}, {})
    assert report.licence == "the user's own"


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("columns", "negatives"),
    [
        ({"anchor": "q", "positive": "p", "negative": "n"}, ("n",)),
        ({"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m", "negative_10": "o"}, ("n", "m", "o")),
        ({"question": "q", "answer": "p"}, ()),
        ({"query": "q", "pos": ["p"], "neg": ["n", "m"]}, ("n", "m")),
        ({"query": "q", "passage": "p", "negatives": "[in brackets"}, ("[in brackets",)),
        ({"query": "q", "document": "p", "id": 3}, ()),
        ({"anchor": "q", "positive": "p", "negative": "n", "scores": 0.5}, ("n",)),
        ({"question": "?", "query": "q", "positive": "p", "answer": "a", "passage": "b"}, ()),
    ],
)
def test_the_layouts_of_sentence_transformers_are_read(
    tmp_path: Path, suffix: str, columns: dict[str, Any], negatives: tuple[str, ...]
) -> None:
    if suffix in (".csv", ".tsv") and "[in brackets" in columns.values():
        columns = {**columns, "negatives": "in brackets]"}
        negatives = ("in brackets]",)
    found, _ = pairs(
        write(tmp_path / f"mine{suffix}", [{**columns, "split": "train"}, {**columns, "split": "validation"}])
    )
    assert found == [Pair("train", "q", "p", negatives), Pair("dev", "q", "p", negatives)]


def test_a_list_of_positives_gives_a_pair_each(tmp_path: Path) -> None:
    one = {"query": "q", "positives": ["p", "r"], "negatives": ["n", "r"]}
    found, report = pairs(write(tmp_path / "a.jsonl", [{**one, "split": "train"}, {**one, "split": "dev"}]))
    assert found[:2] == [Pair("train", "q", "p", ("n",)), Pair("train", "q", "r", ("n",))]
    assert report.noted == {"several positives in a row, each a pair": 2}
    assert report.read == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["question", "anchor", "positive"],
            "both anchor and question may be the query; rename the right one to query",
        ),
        (["query", "answer", "passage"], "both answer and passage may be the positive; rename the right one"),
        (["query", "text"], r"has the columns 'query', 'text'; it needs `query` \(or anchor.* rename them"),
        (["Query", "Positive"], "has the columns 'Query', 'Positive'; it needs"),
        (["query", "answer", "label"], "has a column label, by which not every row need hold an answer; keep"),
        (["anchor", "positive", "score"], "has a column score, by which not every row need hold an answer; keep"),
        (["x" * 500, "positive"], r"has the columns 'x{60}'?…?, 'positive'; it needs"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_columns_are_an_error_that_lists_them(
    tmp_path: Path, suffix: str, columns: list[str], message: str
) -> None:
    with pytest.raises(RagcunError, match=message):
        pairs(write(tmp_path / f"a{suffix}", [dict.fromkeys(columns, "text")]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_given_twice_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        path.write_text("query,positive,query,,\na,b,c,,\n")
    else:
        pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["query", "positive", "query"]), path)
    with pytest.raises(RagcunError, match="has 2 columns 'query'; give each another name"):
        pairs(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("split", ["valid", "Train", "", "train "])
def test_an_unknown_split_is_an_error_naming_row_and_value(tmp_path: Path, suffix: str, split: str) -> None:
    bad = {**ROWS[0], "negatives": ["n"], "split": split}
    where = {".parquet": "row 2", ".jsonl": "line 2"}.get(suffix, "line 3")
    with pytest.raises(
        RagcunError, match=rf"{where}: the split is '{split}'; write one of train, dev, validation, test"
    ):
        pairs(write(tmp_path / f"a{suffix}", [ROWS[0], bad]))


@pytest.mark.parametrize("order", [1, -1])
def test_a_split_in_some_rows_alone_is_an_error(tmp_path: Path, order: int) -> None:
    some = [{"query": "a", "positive": "b"}, {"query": "a", "positive": "b", "split": "train"}]
    with pytest.raises(RagcunError, match="line 2: some rows have a `split` and others have none"):
        pairs(write(tmp_path / "a.jsonl", some[::order]))


def test_a_split_column_without_train_or_dev_is_an_error(tmp_path: Path) -> None:
    for split, missing in (("train", "dev"), ("validation", "train")):
        with pytest.raises(RagcunError, match=f"gives no pair of the split {missing}: name some rows so, or remove"):
            pairs(write(tmp_path / "a.jsonl", [{"query": "a", "positive": "b", "split": split}]))


def test_shares_of_the_queries_are_those_of_the_settings(tmp_path: Path) -> None:
    found, _ = pairs(write(tmp_path / "a.jsonl", rows(4000)), Settings(dev_ratio=0.1, test_ratio=0.2))
    counts = Counter(pair.split for pair in found)
    # Five standard deviations.
    assert abs(counts["dev"] - 400) < 95
    assert abs(counts["test"] - 800) < 127


def test_all_pairs_of_a_query_lie_in_one_split(tmp_path: Path) -> None:
    same = [{"query": text, "positive": f"p{i}"} for i, text in enumerate(["Why me?", "why me?", " WHY ME? "] * 20)]
    found, _ = pairs(write(tmp_path / "a.jsonl", rows(100) + same))
    assert len({pair.split for pair in found if pair.query.casefold() == "why me?"}) == 1


def test_a_row_stays_in_its_split_when_others_come_and_go(tmp_path: Path) -> None:
    before = {pair.query: pair.split for pair in pairs(write(tmp_path / "a.jsonl", rows(300)))[0]}
    after = {pair.query: pair.split for pair in pairs(write(tmp_path / "a.csv", rows(900)[::-2]))[0]}
    both = before.keys() & after.keys()
    assert len(both) == 150
    assert all(before[query] == after[query] for query in both)


def test_the_seed_decides_the_splits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", rows(300))
    assert pairs(path, seed=1)[0] == pairs(path, seed=1)[0]
    assert pairs(path, seed=1)[0] != pairs(path, seed=2)[0]


def test_the_splits_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """Known once; another version of the rule would mix what was kept apart."""
    found, _ = pairs(write(tmp_path / "a.jsonl", rows(12)), seed=42)
    held_out = {"dev": {0, 1, 5, 8}, "test": {3, 6, 9}}
    for split, numbers in held_out.items():
        assert {pair.query for pair in found if pair.split == split} == {f"query {i}" for i in numbers}


def test_without_a_share_for_test_there_is_none(tmp_path: Path) -> None:
    found, _ = pairs(write(tmp_path / "a.jsonl", rows(100)), Settings(dev_ratio=0.25, test_ratio=0))
    assert {pair.split for pair in found} == {"train", "dev"}


@pytest.mark.parametrize(
    ("dev", "test", "message"),
    [
        (
            0.001,
            0.5,
            r"has 20 queries, and none .* split dev: raise data\.own_pairs\.dev_ratio in params\.yaml, or give",
        ),
        (0.5, 0.001, r"split test: raise data\.own_pairs\.test_ratio \(or set it to 0\)"),
        (0.99, 0, r"split train: lower data\.own_pairs\.dev_ratio and test_ratio"),
    ],
)
def test_a_split_that_stays_empty_is_an_error_that_says_which_share_to_change(
    tmp_path: Path, dev: float, test: float, message: str
) -> None:
    twice = [{"query": f"query {i % 20}", "positive": f"p{i}"} for i in range(40)]
    with pytest.raises(RagcunError, match=message):
        pairs(write(tmp_path / "a.jsonl", twice), Settings(dev_ratio=dev, test_ratio=test))


BAD = [
    ({"query": None, "positive": "p"}, "no query"),
    ({"query": " ", "positive": "p"}, "no query"),
    ({"query": "q", "positive": None}, "no positive"),
    ({"query": "q", "positive": "\u200b"}, "no positive"),
    ({"query": "same", "positive": " same "}, "a positive equal to its query"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_no_use_are_left_out_and_counted(tmp_path: Path, suffix: str) -> None:
    found, report = pairs(write(tmp_path / f"a{suffix}", [*rows(40), *(row for row, _ in BAD)]))
    assert len(found) == 40
    assert report.read == 45
    assert report.dropped == Counter(reason for _, reason in BAD)


@pytest.mark.parametrize(
    "row",
    [
        {"query": 7, "positive": "p"},
        {"query": "q", "positive": {"text": "p"}},
        {"query": "q", "positive": ["p", 7]},
        {"query": "q", "positive": "p", "negatives": [["n"]]},
        {"query": "q", "positive": "p", "negatives": False},
    ],
)
def test_values_of_another_type_are_left_out_and_counted(tmp_path: Path, row: dict[str, Any]) -> None:
    found, report = pairs(write(tmp_path / "a.jsonl", [*rows(40), row]))
    assert len(found) == 40
    assert report.dropped == {"a cell that holds neither text nor a list of texts": 1}


def test_a_column_of_another_type_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        RagcunError, match=r"2 of 2 rows are not .* row 1: .*\(query holds int\)\. Let its columns hold text"
    ):
        pairs(write(tmp_path / "a.parquet", [{"query": 1, "positive": "p"}] * 2))


def test_a_list_that_python_wrote_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query,positive,negatives\n" + "".join(f"q{i},p,\"['n', 'm']\"\n" for i in range(3)))
    with pytest.raises(
        RagcunError, match=r"3 of 3 rows .*\(negatives begins with \[ and is no list in JSON: write it with"
    ):
        pairs(path)


def test_a_row_without_the_columns_of_the_first_is_left_out(tmp_path: Path) -> None:
    found, report = pairs(write(tmp_path / "a.jsonl", [*rows(40), {"query": "q"}, {}, {**rows(1)[0], "label": 0}]))
    assert len(found) == 40
    assert report.dropped == {"columns that are not those of a pair": 3}


def test_negatives_equal_to_the_positive_and_blank_ones_leave_the_row(tmp_path: Path) -> None:
    row = {"query": "q", "positive": "p", "negatives": ["n", " p", "", None, "m"]}
    found, report = pairs(write(tmp_path / "a.jsonl", [*rows(40), row]))
    assert found[-1].negatives == ("n", "m")
    assert report.altered == {"negatives equal to the positive were left out": 1}


def test_duplicates_are_kept(tmp_path: Path) -> None:
    assert len(pairs(write(tmp_path / "a.jsonl", rows(40) * 2))[0]) == 80


def test_where_every_row_is_of_no_use_the_writer_says_why_and_writes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"query": "", "positive": "p"}] * 3 + [{"query": "q", "positive": "q"}])
    report = SourceReport("data.pairs: a.jsonl")
    with pytest.raises(
        RagcunError,
        match=r"a\.jsonl gives no pairs: 4 rows were read and dropped: 3 no query, 1 a positive equal to its",
    ):
        write_pair_records(UserPairs(path, SETTINGS, 1).pairs(report), tmp_path / "raw", report)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_comes_back_with_duplicates_and_odd_texts_counted(tmp_path: Path) -> None:
    odd = [{"query": "<b>bold</b>", "positive": "a\x00b"}, {"query": "q\ud800", "positive": "p"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(40), *rows(2), *odd]))
    report = SourceReport("data.pairs: a.jsonl")
    write_pair_records(UserPairs(path, SETTINGS, 1).pairs(report), tmp_path / "raw", report)
    assert list(read_pair_records(tmp_path / "raw")) == pairs(path)[0]
    written = json.loads((tmp_path / "raw" / "report.json").read_text())
    assert (written["read"], written["kept"], written["duplicates"]) == (44, 44, 2)
    assert written["altered"] == {"control characters became spaces": 1, "lone surrogates were replaced": 1}
    assert written["noted"] == {"holds HTML tags": 1}
