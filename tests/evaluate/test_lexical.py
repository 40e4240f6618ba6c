"""BM25's row of the comparison is BM25's own ranking, scored like any other model's."""

from dataclasses import replace

import pytest

from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.measure.ranking import mean_scores, score_queries
from ragcun.search.bm25 import BM25Index
from tests.tiny import self_query, tiny_benchmark


def test_the_run_is_the_indexs_own_search() -> None:
    benchmark = tiny_benchmark()
    evaluation = evaluate_bm25(benchmark, 1000)
    queries = benchmark.all_queries
    ranked = BM25Index(benchmark.doc_texts).ranked(list(queries.values()), [1000] * len(queries))
    for query, (rows, scores) in zip(queries, ranked, strict=True):
        assert 0 < len(rows) < len(benchmark.doc_ids)
        expected = {benchmark.doc_ids[row]: float(score) for row, score in zip(rows, scores, strict=True)}
        split = "test" if query in benchmark.qrels["test"] else "dev"
        assert evaluation.runs[split][query] == expected


def test_the_scores_are_those_of_the_run() -> None:
    benchmark = tiny_benchmark()
    evaluation = evaluate_bm25(benchmark, 1000)
    measures = evaluation.measures()
    for split in ("test", "dev"):
        expected = mean_scores(score_queries(benchmark.qrels[split], evaluation.runs[split]))
        assert measures[split]["ndcg@10"] == expected["ndcg@10"] > 0
    assert "corpus" not in measures, "there are no vectors"


def test_no_more_documents_than_asked() -> None:
    deep, shallow = (evaluate_bm25(tiny_benchmark(), k).runs["test"] for k in (1000, 2))
    for query, found in deep.items():
        assert len(found) > 2
        assert shallow[query] == dict(list(found.items())[:2])


def test_a_querys_own_document_is_dropped_where_queries_are_documents_and_nowhere_else() -> None:
    asked = self_query(query := "d00")

    def best_three(queries_are_documents: bool) -> list[str]:
        benchmark = replace(asked, queries_are_documents=queries_are_documents)
        return list(evaluate_bm25(benchmark, 3).runs["test"][query])

    assert best_three(False)[0] == query, "the document is not the query's best: the test would prove nothing"
    assert best_three(True)[:2] == best_three(False)[1:]
    assert len(best_three(True)) == len(best_three(False)) == 3


@pytest.mark.parametrize("text", ["zebra", "the of and"])
def test_a_query_without_a_match_scores_0_and_counts(text: str) -> None:
    benchmark = tiny_benchmark()
    benchmark.queries["test"]["q0"] = text
    evaluation = evaluate_bm25(benchmark, 1000)
    assert evaluation.runs["test"]["q0"] == {}
    scores = evaluation.per_query["test"]
    assert (scores.loc["q0"] == 0).all()
    others = scores["ndcg@10"].drop("q0")
    assert evaluation.summary()["ndcg@10"] == pytest.approx(others.sum() / 6)
    assert others.sum() > 0
