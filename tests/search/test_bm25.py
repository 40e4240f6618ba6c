"""BM25 retrieves only documents that share a word with the query, in an order that is always the same."""

import math

import numpy as np
import pytest

from ragcun.core.errors import RagcunError
from ragcun.search.bm25 import BM25Index

TEXTS = [
    "The cat sat on the mat.",
    "A dog chases cats in the garden",
    "Gardens need rain and sun",
    "",
    "the of and",
    "Dogs and dogs and more dogs",
]


def search(index: BM25Index, queries: list[str], depth: int) -> list[tuple[list[int], list[float]]]:
    """For each query the rows and scores of its documents."""
    return [(rows.tolist(), scores.tolist()) for rows, scores in index.ranked(queries, [depth] * len(queries))]


def test_scores_equal_lucenes_formula() -> None:
    # Stems of the documents, in the order of TEXTS; the lengths 3, 4, 4, 0, 0, 4 leave the stop words out.
    [(rows, scores)] = search(BM25Index(TEXTS), ["dogs of the garden"], 6)
    mean_length = 15 / 6

    def score(document_frequency: int, term_frequency: int, length: int) -> float:
        idf = math.log(1 + (6 - document_frequency + 0.5) / (document_frequency + 0.5))
        return idf * term_frequency / (term_frequency + 1.5 * (1 - 0.75 + 0.75 * length / mean_length))

    expected = {1: score(2, 1, 4) + score(2, 1, 4), 5: score(2, 3, 4), 2: score(2, 1, 4)}
    assert rows == [*expected]
    assert scores == pytest.approx([*expected.values()], abs=1e-6)


def test_only_documents_that_share_a_stem_are_retrieved() -> None:
    found = search(BM25Index(TEXTS), ["cats", "rainy gardening"], 6)
    assert [set(rows) for rows, _ in found] == [{0, 1}, {1, 2}]
    assert all(score > 0 for _, scores in found for score in scores)


@pytest.mark.parametrize("query", ["the of and", "zebra", "", "?! a", "the zebra"])
def test_a_query_without_a_known_word_finds_nothing(query: str) -> None:
    nothing, cats = search(BM25Index(TEXTS), [query, "cat"], 3)
    assert nothing == ([], [])
    assert cats[1][0] > 0


def test_equal_scores_rank_by_row_also_where_k_cuts_them() -> None:
    texts = ["apple pie"] * 50 + ["apple apple"] + ["cherry tart"] * 50
    index = BM25Index(texts)
    [(full, scores)] = search(index, ["apple"], 101)
    assert full == [50, *range(50)]
    assert len(set(scores[1:])) == 1, "no ties: the order would be forced"
    for k in (1, 2, 7, 50):
        assert search(index, ["apple"], k) == [(full[:k], scores[:k])]


def test_rows_are_int64_and_scores_float32() -> None:
    for rows, scores in BM25Index(TEXTS).ranked(["cat", "zebra"], [1000, 1000]):
        assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


def test_queries_do_not_influence_each_other() -> None:
    index = BM25Index(TEXTS)
    queries = ["garden dog", "cat", "sun and rain"]
    assert search(index, queries, 4) == [search(index, [query], 4)[0] for query in queries]


def test_no_queries_give_empty_results() -> None:
    assert search(BM25Index(TEXTS), [], 4) == []


@pytest.mark.parametrize(
    ("texts", "message"), [([], "no document"), (["the of and", "a", ""], "None of the 3"), ([""], "None of the 1")]
)
def test_a_corpus_without_words_is_an_error(texts: list[str], message: str) -> None:
    with pytest.raises(RagcunError, match=message):
        BM25Index(texts)


def test_a_depth_below_1_is_an_error() -> None:
    with pytest.raises(RagcunError, match="at least 1: it is 0"):
        search(BM25Index(TEXTS), ["cat"], 0)
