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


def test_scores_equal_lucenes_formula() -> None:
    # Stems of the documents, in the order of TEXTS; the lengths 3, 4, 4, 0, 0, 4 leave the stop words out.
    rows, scores = BM25Index(TEXTS).search(["dogs of the garden"], 6)
    mean_length = 15 / 6

    def score(document_frequency: int, term_frequency: int, length: int) -> float:
        idf = math.log(1 + (6 - document_frequency + 0.5) / (document_frequency + 0.5))
        return idf * term_frequency / (term_frequency + 1.5 * (1 - 0.75 + 0.75 * length / mean_length))

    expected = {1: score(2, 1, 4) + score(2, 1, 4), 5: score(2, 3, 4), 2: score(2, 1, 4)}
    assert rows[0].tolist() == [*expected, -1, -1, -1]
    assert scores[0] == pytest.approx([*expected.values(), 0, 0, 0], abs=1e-6)


def test_only_documents_that_share_a_stem_are_retrieved() -> None:
    rows, scores = BM25Index(TEXTS).search(["cats", "rainy gardening"], 6)
    found = [set(line[positive > 0].tolist()) for line, positive in zip(rows, scores, strict=True)]
    assert found == [{0, 1}, {1, 2}]
    assert (rows[scores == 0] == -1).all()
    assert (rows[scores > 0] >= 0).all()


@pytest.mark.parametrize("query", ["the of and", "zebra", "", "?! a", "the zebra"])
def test_a_query_without_a_known_word_finds_nothing(query: str) -> None:
    rows, scores = BM25Index(TEXTS).search([query, "cat"], 3)
    assert (rows[0] == -1).all()
    assert (scores[0] == 0).all()
    assert scores[1, 0] > 0


def test_equal_scores_rank_by_row_also_where_k_cuts_them() -> None:
    texts = ["apple pie"] * 50 + ["apple apple"] + ["cherry tart"] * 50
    index = BM25Index(texts)
    full, scores = index.search(["apple"], 101)
    assert full[0, :51].tolist() == [50, *range(50)]
    assert len(set(scores[0, 1:51].tolist())) == 1, "no ties: the order would be forced"
    for k in (1, 2, 7, 50):
        assert index.search(["apple"], k)[0].tolist() == [full[0, :k].tolist()]


def test_k_is_capped_at_the_number_of_documents() -> None:
    rows, scores = BM25Index(TEXTS).search(["cat", "dog"], 1000)
    assert rows.shape == scores.shape == (2, 6)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32


def test_queries_do_not_influence_each_other() -> None:
    index = BM25Index(TEXTS)
    queries = ["garden dog", "cat", "sun and rain"]
    rows, scores = index.search(queries, 4)
    for i, query in enumerate(queries):
        alone = index.search([query], 4)
        np.testing.assert_array_equal(alone[0][0], rows[i])
        np.testing.assert_array_equal(alone[1][0], scores[i])


def test_no_queries_give_empty_results() -> None:
    rows, scores = BM25Index(TEXTS).search([], 4)
    assert rows.shape == scores.shape == (0, 4)


@pytest.mark.parametrize(
    ("texts", "message"), [([], "no document"), (["the of and", "a", ""], "None of the 3"), ([""], "None of the 1")]
)
def test_a_corpus_without_words_is_an_error(texts: list[str], message: str) -> None:
    with pytest.raises(RagcunError, match=message):
        BM25Index(texts)


def test_k_below_1_is_an_error() -> None:
    with pytest.raises(RagcunError, match="k must be"):
        BM25Index(TEXTS).search(["cat"], 0)
