"""Search is exact, totally ordered, and independent of how the work is cut."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ragcun.core.errors import RagcunError
from ragcun.measure.ranking import Run
from ragcun.search import candidates
from ragcun.search.candidates import Candidates
from ragcun.search.exact import Hits, Similarity, search
from ragcun.search.scores import Vectors

SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "euclidean")


def gaussian(seed: int, rows: int, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def shuffled_ids(rows: int, seed: int = 0) -> list[str]:
    """Ids whose string order is neither the rows' nor the numbers'."""
    return [f"d{i}" for i in np.random.default_rng(seed).permutation(rows)]


def plain_search(
    queries: np.ndarray,
    corpus: np.ndarray,
    ids: Sequence[str],
    k: int,
    similarity: Similarity,
) -> Hits:
    """The definition: every pair in float64, rounded to float32, and Python's sort."""

    def unit(rows: np.ndarray) -> np.ndarray:
        norms = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)

    if similarity == "cosine":
        queries, corpus = unit(queries), unit(corpus)
    q, d = queries.astype(np.float64), corpus.astype(np.float64)
    hits = Hits([], [])
    for i in range(len(q)):
        scores = (d * q[i]).sum(axis=1)
        if similarity == "euclidean":
            scores = 2 * scores - (d**2).sum(axis=1)
        pairs = zip((scores.astype(np.float32) + np.float32(0)).tolist(), ids, strict=True)
        ranked = sorted(pairs, reverse=True)[:k]
        hits.ids.append([name for _, name in ranked])
        hits.scores.append(np.array([score for score, _ in ranked], dtype=np.float32))
    return hits


def assert_same(ours: Hits, expected: Hits) -> None:
    assert ours.ids == expected.ids
    for a, b in zip(ours.scores, expected.scores, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_search_equals_its_definition(similarity: Similarity) -> None:
    queries, corpus, ids = gaussian(0, 9), gaussian(1, 300), shuffled_ids(300)
    ours = search(queries, corpus, ids, 20, similarity, query_chunk=4, corpus_chunk=64)
    assert_same(ours, plain_search(queries, corpus, ids, 20, similarity))


def test_the_three_similarities_rank_differently_here() -> None:
    queries, corpus, ids = gaussian(0, 9), gaussian(1, 300), shuffled_ids(300)
    rankings = [search(queries, corpus, ids, 20, similarity).ids for similarity in SIMILARITIES]
    assert rankings[0] != rankings[1] != rankings[2] != rankings[0]


def test_euclidean_ranks_by_distance_and_cosine_by_angle() -> None:
    query = np.array([[2, 0]], dtype=np.float32)
    corpus = np.array([[9, 0], [2, 1], [0.5, 0.5]], dtype=np.float32)
    ids = ["far", "near", "askew"]
    euclidean = search(query, corpus, ids, 3, "euclidean")
    assert euclidean.ids == [["near", "askew", "far"]]
    assert (4 - euclidean.scores[0]).tolist() == [1, 2.5, 49]
    cosine = search(query, corpus, ids, 3, "cosine")
    assert cosine.ids == [["far", "near", "askew"]]
    assert cosine.scores[0] == pytest.approx([1, 2 / 5**0.5, 0.5**0.5], abs=1e-7)
    assert search(query, corpus, ids, 3, "dot").ids == [["far", "near", "askew"]]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_chunk_sizes_do_not_change_the_result(similarity: Similarity) -> None:
    # 40 distinct vectors, each about 12 times: equal documents stand on both sides of every border.
    width = 193
    corpus = gaussian(2, 40, width)[np.random.default_rng(3).integers(40, size=500)]
    queries, ids = gaussian(4, 11, width), shuffled_ids(500)
    whole = search(queries, corpus, ids, 30, similarity, query_chunk=11, corpus_chunk=500)
    assert_same(whole, plain_search(queries, corpus, ids, 30, similarity))
    for query_chunk, corpus_chunk in [(6, 1), (1, 13), (3, 17), (2, 64), (5, 499), (100, 1000)]:
        cut = search(queries, corpus, ids, 30, similarity, query_chunk=query_chunk, corpus_chunk=corpus_chunk)
        assert_same(cut, whole)


def test_more_equal_documents_than_k_leave_the_choice_to_the_ids() -> None:
    # A product's rounding may differ between chunks of 33, 34 and 35: a top k by it alone would take other documents.
    width = 193
    corpus = np.repeat(gaussian(5, 1, width), 400, axis=0)
    ids = shuffled_ids(400)
    for corpus_chunk in (1, 33, 34, 35, 400):
        hits = search(gaussian(6, 3, width), corpus, ids, 5, "dot", corpus_chunk=corpus_chunk)
        assert hits.ids == [sorted(ids, reverse=True)[:5]] * 3


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_rounding_error_of_the_matrix_product_does_not_reach_the_result(
    similarity: Similarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Documents closer to each other than the error, so that a product alone would rank them at random.
    queries, ids = gaussian(0, 9), shuffled_ids(300)
    corpus = gaussian(1, 1) + np.float32(1e-6) * gaussian(2, 300)
    expected = plain_search(queries, corpus, ids, 20, similarity)
    multiply = torch.Tensor.__matmul__
    noise = np.random.default_rng(7)

    def rough(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if a.dtype == torch.float64:
            return multiply(a, b)
        signs = torch.from_numpy(noise.choice([-1, 1], (a.shape[0], b.shape[1])).astype(np.float32))
        # 2·n·u·‖q‖·‖d‖ for n = 24 products: the most the bound allows for, where the true product errs far less.
        return multiply(a, b) + signs * 24 * 2**-23 * a.norm(dim=1)[:, None] * b.norm(dim=0)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rough)
    for corpus_chunk in (7, 64, 300):
        assert_same(search(queries, corpus, ids, 20, similarity, corpus_chunk=corpus_chunk), expected)
    monkeypatch.setattr(candidates, "error_bound", lambda queries, *_: np.zeros(len(queries.values)))
    for corpus_chunk in (7, 64, 300):
        found = search(queries, corpus, ids, 20, similarity, corpus_chunk=corpus_chunk)
        assert found.ids != expected.ids, "without the bound the error reaches the result: else the test is vacuous"


def test_equal_scores_rank_by_id_descending_in_string_order() -> None:
    ids = ["d9", "d10", "D", "é", "z", "\U0001f600", "\uffff"]
    hits = search(np.ones((1, 2)), np.ones((7, 2)), ids, 7, "dot")
    # As trec_eval's strcmp of UTF-8 bytes.
    assert hits.ids == [sorted(ids, key=str.encode, reverse=True)]
    assert hits.ids[0].index("d9") < hits.ids[0].index("d10")


def test_negative_zero_ties_with_zero() -> None:
    # 0·(−1) is −0: alone it must not rank below the +0 of another document.
    corpus = np.array([[-1.0], [1.0]], dtype=np.float32)
    for query in (0.0, -0.0):
        hits = search(np.array([[query]], dtype=np.float32), corpus, ["b", "a"], 2, "dot")
        assert hits.ids == [["b", "a"]]
        hits = search(np.array([[query]], dtype=np.float32), corpus, ["a", "b"], 2, "dot")
        assert hits.ids == [["b", "a"]]
        assert not np.signbit(hits.scores[0]).any()


def test_negative_scores_rank_below_positive_ones() -> None:
    corpus = np.array([[-3.0], [2.0], [-1.0], [0.5], [0.0]], dtype=np.float32)
    hits = search(np.ones((1, 1)), corpus, list("abcde"), 5, "dot", corpus_chunk=2)
    assert hits.ids == [list("bdeca")]
    assert hits.scores[0].tolist() == [2, 0.5, 0, -1, -3]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_k_beyond_the_corpus_returns_the_whole_corpus(similarity: Similarity) -> None:
    queries, corpus, ids = gaussian(9, 4), gaussian(10, 13), shuffled_ids(13)
    ours = search(queries, corpus, ids, 1000, similarity, corpus_chunk=5)
    assert_same(ours, plain_search(queries, corpus, ids, 1000, similarity))
    assert [len(found) for found in ours.ids] == [13] * 4


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_zero_vectors_score_0_by_direction_and_nothing_is_nan(similarity: Similarity) -> None:
    queries, corpus, ids = gaussian(11, 4), gaussian(12, 30), shuffled_ids(30)
    queries[1] = 0
    corpus[[0, 7, 29]] = 0
    ours = search(queries, corpus, ids, 30, similarity, corpus_chunk=8)
    assert np.isfinite(np.concatenate(ours.scores)).all()
    assert_same(ours, plain_search(queries, corpus, ids, 30, similarity))
    assert dict(zip(ours.ids[0], ours.scores[0], strict=True))[ids[7]] == 0


def test_sharding_the_queries_gives_the_same_result() -> None:
    queries, corpus, ids = gaussian(13, 10, 193), gaussian(14, 200, 193), shuffled_ids(200)
    names = [f"q{i}" for i in range(10)]
    whole = search(queries, corpus, ids, 15, "cosine").to_run(names)
    merged: Run = {}
    for shard in (slice(0, 3), slice(3, 3), slice(3, 4), slice(4, 10)):
        merged |= search(queries[shard], corpus, ids, 15, "cosine").to_run(names[shard])
    assert merged == whole
    assert len(merged) == 10


def test_the_number_of_threads_does_not_change_the_result() -> None:
    queries, corpus, ids = gaussian(15, 40, 193), gaussian(16, 2000, 193), shuffled_ids(2000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = search(queries, corpus, ids, 50, "cosine", query_chunk=8)
        torch.set_num_threads(2)
        two = search(queries, corpus, ids, 50, "cosine", query_chunk=8)
        assert torch.get_num_threads() == 2, "the search must leave the process as it was"
    finally:
        torch.set_num_threads(before)
    assert_same(one, two)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_read_only_memory_map_is_read_chunk_by_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    queries, ids = gaussian(17, 5), shuffled_ids(100)
    corpus: np.ndarray = gaussian(18, 100).astype(dtype)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    sizes: list[int] = []
    prepare = Vectors.of

    def recorded(rows: np.ndarray, *rest: Any, **named: Any) -> Vectors:
        sizes.append(len(rows))
        return prepare(rows, *rest, **named)

    monkeypatch.setattr(Vectors, "of", recorded)
    ours = search(queries, mapped, ids, 10, "cosine", query_chunk=2, corpus_chunk=30)
    assert_same(ours, plain_search(queries, corpus.astype(np.float32), ids, 10, "cosine"))
    assert sizes == [2, 2, 1, 30, 30, 30, 10]
    np.testing.assert_array_equal(mapped, corpus)


def test_matrix_products_are_in_full_precision_whatever_the_process_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    seen: list[str] = []
    nominate = Candidates.add

    def recorded(*args: Any) -> None:
        seen.append(matmul.fp32_precision)
        nominate(*args)

    monkeypatch.setattr(Candidates, "add", recorded)
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        search(gaussian(0, 2), gaussian(1, 5), shuffled_ids(5), 3, "dot")
        assert seen == ["ieee"]
        assert matmul.fp32_precision == "bf16"
    finally:
        matmul.fp32_precision = before


def test_a_run_holds_each_querys_documents_and_scores() -> None:
    hits = Hits([["b", "a"], []], [np.array([2.5, 1], dtype=np.float32), np.array([], dtype=np.float32)])
    run = hits.to_run(["q1", "q2"])
    assert run == {"q1": {"b": 2.5, "a": 1.0}, "q2": {}}
    assert all(type(score) is float for score in run["q1"].values())
    with pytest.raises(ValueError, match="zip"):
        hits.to_run(["q1"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["query", "document"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_vectors_that_are_not_finite_are_an_error(bad: float, side: str, similarity: Similarity) -> None:
    queries, corpus = gaussian(0, 4), gaussian(1, 20)
    (queries if side == "query" else corpus)[3, 2] = bad
    with pytest.raises(RagcunError, match=f"{side}'s vector"):
        search(queries, corpus, shuffled_ids(20), 2, similarity, corpus_chunk=6)


@pytest.mark.parametrize("length", [1e-25, 1e-18, 1e12, 1e17])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_very_short_and_very_long_vectors_are_ranked_exactly(length: float, similarity: Similarity) -> None:
    queries, ids = gaussian(0, 4), shuffled_ids(300)
    # So close that only the exact scores tell them apart.
    corpus = (gaussian(1, 1) + np.float32(1e-6) * gaussian(2, 300)) * np.float32(length)
    ours = search(queries, corpus, ids, 20, similarity, corpus_chunk=64)
    assert_same(ours, plain_search(queries, corpus, ids, 20, similarity))


def test_scores_that_would_overflow_are_an_error_and_cosine_is_the_remedy() -> None:
    queries, corpus, ids = gaussian(0, 4) * np.float32(1e20), gaussian(1, 20) * np.float32(1e20), shuffled_ids(20)
    for similarity in ("dot", "euclidean"):
        with pytest.raises(RagcunError, match="overflow"):
            search(queries, corpus, ids, 2, similarity)
    assert_same(search(queries, corpus, ids, 5, "cosine"), plain_search(queries, corpus, ids, 5, "cosine"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k and the chunk"),
        ({"corpus_chunk": 0}, "chunk"),
        ({"corpus_ids": ["a", "b"]}, "2 ids"),
        ({"corpus_ids": ["a", "b", "a"]}, "Rows 0 and 2 .* id 'a'"),
        ({"queries": np.ones((2, 3))}, "one width"),
        ({"corpus": np.ones((0, 4)), "corpus_ids": []}, "0 document"),
        ({"similarity": "manhattan"}, "manhattan"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "queries": np.ones((2, 4)),
        "corpus": np.ones((3, 4)),
        "corpus_ids": ["a", "b", "c"],
        "k": 1,
        "similarity": "dot",
    }
    assert search(**good).ids == [["c"], ["c"]]
    with pytest.raises(RagcunError, match=message):
        search(**(good | change))
