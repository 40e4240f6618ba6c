"""Prepared pairs come back as they were written, and know which passages and positives belong to whom."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.core.errors import RagcunError
from ragcun.core.files import sha256_file
from ragcun.data.pairs import PreparedPairs, read_pairs, same_frame, write_pairs
from ragcun.data.text import query_key


def frame(*rows: tuple[int, int, list[int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": [query for query, _, _ in rows],
            "positive": [positive for _, positive, _ in rows],
            "negatives": pd.Series([np.array(negatives, dtype=np.int64) for _, _, negatives in rows], dtype=object),
        }
    )


@pytest.fixture
def pairs() -> PreparedPairs:
    texts = ["zero", "one", "two", "three", "Big city", "big city ", "else", "held"]
    return PreparedPairs(
        texts=pd.DataFrame(
            {
                "text": texts,
                "role": ["passage"] * 4 + ["query"] * 4,
                "split": ["train", "train", "train", "dev", "train", "train", "train", "dev"],
            }
        ),
        train=frame((4, 0, [1, 2]), (5, 1, []), (6, 2, [0])),
        dev=frame((7, 3, [])),
        same=same_frame([2], [3]),
        report={"train_pairs": {"kept": 3}},
    )


def test_what_is_written_is_read_back_equal(tmp_path: Path, pairs: PreparedPairs) -> None:
    write_pairs(tmp_path / "pairs", pairs)
    back = read_pairs(tmp_path / "pairs")
    pd.testing.assert_frame_equal(back.texts, pairs.texts)
    for written, read in ((pairs.train, back.train), (pairs.dev, back.dev)):
        pd.testing.assert_frame_equal(read[["query", "positive"]], written[["query", "positive"]])
        assert [row.tolist() for row in read["negatives"]] == [row.tolist() for row in written["negatives"]]
        assert all(row.dtype == np.int64 for row in read["negatives"])
    pd.testing.assert_frame_equal(back.same, pairs.same)
    assert back.report == pairs.report


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, pairs: PreparedPairs) -> None:
    for name in ("a", "b"):
        write_pairs(tmp_path / name, pairs)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 5
    assert all(sha256_file(tmp_path / "a" / path) == sha256_file(tmp_path / "b" / path) for path in files)


def test_train_passages_are_those_of_the_train_split_and_dev_searches_them_all(pairs: PreparedPairs) -> None:
    assert pairs.train_passage_ids.tolist() == [0, 1, 2]
    assert pairs.passage_ids.tolist() == [0, 1, 2, 3]
    assert pairs.passage_ids.dtype == np.int64


def test_queries_that_read_the_same_share_their_known_positives_and_what_is_the_same_document(
    pairs: PreparedPairs,
) -> None:
    assert pairs.known_positives == {
        4: frozenset({0, 1}),
        5: frozenset({0, 1}),
        6: frozenset({2, 3}),
        7: frozenset({2, 3}),
    }


def test_a_query_reads_the_same_whatever_its_case_and_the_space_around_it() -> None:
    assert query_key(" Straße ") == query_key("STRASSE")
    assert query_key("a b") != query_key("ab")


def test_missing_files_say_what_to_run(tmp_path: Path, pairs: PreparedPairs) -> None:
    write_pairs(tmp_path / "pairs", pairs)
    (tmp_path / "pairs" / "dev.parquet").unlink()
    with pytest.raises(RagcunError, match="run `dvc repro`"):
        read_pairs(tmp_path / "pairs")


def test_pairs_that_cannot_be_written_whole_are_not_written(tmp_path: Path, pairs: PreparedPairs) -> None:
    broken = PreparedPairs(pairs.texts, pairs.train, pairs.dev.drop(columns="positive"), pairs.report, pairs.same)
    with pytest.raises(KeyError, match="positive"):
        write_pairs(tmp_path / "pairs", broken)
    assert list(tmp_path.iterdir()) == []
