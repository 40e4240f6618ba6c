"""The fast paths of nominating: each is its plain twin, and many ties neither lose a document nor pile up."""

from typing import Any

import numpy as np
import pytest
import torch

from ragcun.params import Similarity
from ragcun.search import scores as scores_module
from ragcun.search.candidates import Candidates, at_least, kth_best, ranked
from ragcun.search.scores import Vectors, error_bound, exact_scores, exact_vectors

CPU = torch.device("cpu")


def scores(seed: int, rows: int = 7, columns: int = 50) -> torch.Tensor:
    """Some of them equal, and negative ones too."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-9, 9, (rows, columns)).astype(np.float32))


@pytest.mark.parametrize("k", [1, 7, 50])
def test_the_kth_best_is_that_of_sorting(k: int) -> None:
    expected = scores(0).sort(dim=1, descending=True).values[:, k - 1]
    np.testing.assert_array_equal(kth_best(scores(0), k), expected.numpy())


def test_what_is_at_least_so_much_is_what_a_comparison_finds() -> None:
    table, lowest = scores(1), np.linspace(-10, 10, 7, dtype=np.float32)
    row, column, found = at_least(table, lowest)
    rows, columns = (table >= torch.from_numpy(lowest)[:, None]).nonzero(as_tuple=True)
    np.testing.assert_array_equal(row, rows.numpy())
    np.testing.assert_array_equal(column, columns.numpy())
    np.testing.assert_array_equal(found, table[rows, columns].numpy())
    assert 0 < len(row) < table.numel()


def test_pairs_rank_as_python_sorts_them() -> None:
    random = np.random.default_rng(2)
    query, row = random.integers(0, 5, 400).astype(np.int16), random.integers(0, 90, 400)
    pairs = np.unique(np.stack([query, row], axis=1), axis=0)
    query, row = pairs[:, 0].astype(np.int16), pairs[:, 1]
    score = random.choice(np.array([-2.5, -1e-30, 0, 1e-30, 1, 3], dtype=np.float32), len(row))
    ids = [f"d{name}" for name in random.permutation(90)]
    found = [(int(query[at]), float(score[at]), ids[row[at]]) for at in ranked(query, row, score, ids)]
    triples = zip(query.tolist(), score.tolist(), (ids[at] for at in row), strict=True)
    by_id = sorted(triples, key=lambda it: it[2], reverse=True)
    assert found == sorted(by_id, key=lambda it: (it[0], -it[1]))


def test_exact_scores_do_not_depend_on_the_pairs_beside_them() -> None:
    random = np.random.default_rng(3)
    queries, corpus = (random.standard_normal((rows, 193)).astype(np.float32) for rows in (6, 3000))
    query, row = random.integers(0, 6, 5000), random.integers(0, 3000, 5000)
    for similarity in ("cosine", "dot", "euclidean"):
        exact, _ = exact_vectors(queries, similarity, CPU)
        together = exact_scores(exact, corpus, query, row, similarity)
        alone = [exact_scores(exact, corpus, query[at : at + 1], row[at : at + 1], similarity) for at in range(40)]
        np.testing.assert_array_equal(together[:40], np.concatenate(alone))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_many_pairs_multiplied_at_once_have_the_bits_of_each_by_itself(
    similarity: Similarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    queries, corpus = (random.standard_normal((rows, 193)).astype(np.float32) for rows in (60, 3000))
    # Sums that cancel: their last digits are all rounding, and a float64 product alone would be wrong.
    queries[:, 1::2], corpus[:, 1::2] = queries[:, :-1:2], -corpus[:, :-1:2] * (1 + 1e-7)
    pairs = np.divmod(np.arange(60 * 3000), 3000)
    exact, _ = exact_vectors(queries, similarity, CPU)
    doubted: list[int] = []
    one_by_one = scores_module._one_by_one

    def recorded(*args: Any) -> torch.Tensor:
        doubted.append(len(args[3]))
        return one_by_one(*args)

    monkeypatch.setattr(scores_module, "_one_by_one", recorded)
    at_once = exact_scores(exact, corpus, *pairs, similarity)
    # A euclidean score is mostly the document's length, which does not cancel.
    assert similarity == "euclidean" or 0 < sum(doubted) < len(at_once) / 2, "a part alone is in doubt"
    monkeypatch.setattr(scores_module, "_MANY", 2)
    np.testing.assert_array_equal(at_once, exact_scores(exact, corpus, *pairs, similarity))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_the_bound_covers_the_products_error(similarity: Similarity) -> None:
    random = np.random.default_rng(4)
    rows = [random.standard_normal((count, 384)).astype(np.float32) * 3 for count in (20, 500)]
    queries, documents = (Vectors.of(each, similarity, CPU, "text") for each in rows)
    products = (queries.values @ documents.values.T).numpy().astype(np.float64)
    if similarity == "euclidean":
        products = (2 * products - documents.squared_norms.numpy()).astype(np.float32)
    exact, _ = exact_vectors(rows[0], similarity, CPU)
    pairs = np.divmod(np.arange(products.size), products.shape[1])
    true = exact_scores(exact, rows[1], *pairs, similarity).reshape(products.shape)
    assert (np.abs(products - true).max(axis=1) <= error_bound(queries, documents, similarity)).all()


def test_candidates_are_dropped_while_the_corpus_goes_by() -> None:
    random = np.random.default_rng(5)
    rows, corpus = random.standard_normal((3, 16)), random.standard_normal((20_000, 16))
    held = Candidates(rows, corpus, [f"d{row}" for row in range(20_000)], 10, "dot", CPU)
    most = 0
    for start in range(0, 20_000, 100):
        held.add(Vectors.of(corpus[start : start + 100], "dot", CPU, "document"), start)
        most = max(most, int(held.counts.max()))
    assert most <= held.limit
    found, _ = held.best()
    expected = np.argsort(-(rows @ corpus.T), axis=1)[:, :10]
    np.testing.assert_array_equal(found, expected)


def test_a_corpus_of_equal_documents_keeps_few_candidates_and_the_last_ids() -> None:
    corpus = np.ones((5000, 16), dtype=np.float32)
    ids = [f"d{row:04d}" for row in np.random.default_rng(6).permutation(5000)]
    held = Candidates(corpus[:2], corpus, ids, 10, "dot", CPU)
    for start in range(0, 5000, 100):
        held.add(Vectors.of(corpus[start : start + 100], "dot", CPU, "document"), start)
        assert held.counts.max() <= held.limit
    rows, _ = held.best()
    assert [[ids[row] for row in found] for found in rows] == [sorted(ids, reverse=True)[:10]] * 2
