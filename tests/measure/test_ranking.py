"""Scores equal trec_eval's and beir's, and every judged query counts."""

import math

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from beir.retrieval.evaluation import EvaluateRetrieval

from ragcun.core.errors import RagcunError
from ragcun.measure.ranking import CUTOFFS, Qrels, Run, best_others, mean_scores, score_queries


def random_qrels_and_run(seed: int, levels: int) -> tuple[Qrels, Run]:
    """30 queries with graded judgements over 60 documents; scores take `levels` values, so few levels tie a lot."""
    rng = np.random.default_rng(seed)
    documents = [f"d{i}" for i in range(60)]
    qrels: Qrels = {}
    run: Run = {}
    for i in range(30):
        judged = rng.choice(documents, size=12, replace=False)
        qrels[f"q{i}"] = {str(d): int(rng.integers(0, 4)) for d in judged}
        found = rng.choice(documents, size=int(rng.integers(1, 50)), replace=False)
        run[f"q{i}"] = {str(d): float(rng.integers(levels)) / 7 for d in found}
    return qrels, run


def has_ties(run: Run) -> bool:
    return any(len(set(scores.values())) < len(scores) for scores in run.values())


@pytest.mark.parametrize("levels", [3, 10**9])
def test_means_equal_beirs(levels: int) -> None:
    qrels, run = random_qrels_and_run(0, levels)
    assert has_ties(run) == (levels == 3)
    theirs: dict[str, float] = {}
    for scores in EvaluateRetrieval.evaluate(qrels, run, list(CUTOFFS)):
        theirs |= {name.lower(): value for name, value in scores.items()}
    ours = mean_scores(score_queries(qrels, run))
    assert len(theirs) == 4 * len(CUTOFFS)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-5), name


@pytest.mark.parametrize("levels", [3, 10**9])
def test_each_querys_scores_equal_pytrec_evals(levels: int) -> None:
    qrels, run = random_qrels_and_run(1, levels)
    names = {"ndcg@10": "ndcg_cut_10", "map@100": "map_cut_100", "recall@5": "recall_5", "p@3": "P_3"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(run)
    ours = score_queries(qrels, run)
    for query in qrels:
        for name, trec in names.items():
            assert ours.loc[query, name] == pytest.approx(theirs[query][trec], abs=1e-9)


@pytest.mark.parametrize("levels", [3, 10**9])
def test_mrr_at_k_is_trec_evals_reciprocal_rank_of_the_ranking_cut_at_k(levels: int) -> None:
    qrels, run = random_qrels_and_run(2, levels)
    ours = score_queries(qrels, run)
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"})
    for k in CUTOFFS:
        cut: Run = {}
        for query, scores in run.items():
            ranking = sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
            cut[query] = dict(ranking[:k])
        theirs = evaluator.evaluate(cut)
        for query in qrels:
            assert ours.loc[query, f"mrr@{k}"] == pytest.approx(theirs[query]["recip_rank"], abs=1e-9)
    assert (ours["mrr@1"] < ours["mrr@1000"]).any(), "no cutoff bites: the comparison would be vacuous"


def test_scores_by_hand() -> None:
    qrels = {"q": {"a": 2, "b": 1, "c": 1, "e": 0}}
    run = {"q": {"e": 0.9, "a": 0.8, "x": 0.7, "b": 0.6}}
    scores = score_queries(qrels, run, cutoffs=(1, 3, 10)).loc["q"]
    gain = 2 / math.log2(3)
    assert scores["ndcg@1"] == 0
    assert scores["ndcg@3"] == pytest.approx(gain / (2 + 1 / math.log2(3) + 1 / 2))
    assert scores["ndcg@10"] == pytest.approx((gain + 1 / math.log2(5)) / (2 + 1 / math.log2(3) + 1 / 2))
    assert scores["map@3"] == pytest.approx(1 / 2 / 3)
    assert scores["map@10"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert scores["recall@3"] == pytest.approx(1 / 3)
    assert scores["recall@10"] == pytest.approx(2 / 3)
    assert scores["p@3"] == pytest.approx(1 / 3)
    assert scores["p@10"] == pytest.approx(2 / 10)
    assert scores["mrr@1"] == 0
    assert scores["mrr@3"] == 1 / 2


@pytest.mark.parametrize("rank", [3, 10, 100, 1000])
def test_mrr_counts_a_document_at_the_cutoff_and_none_beyond(rank: int) -> None:
    run = {"q": {f"d{i:04}": float(-i) for i in range(1, 1002)}}
    row = score_queries({"q": {f"d{rank:04}": 1}}, run, cutoffs=(rank - 1, rank)).loc["q"]
    assert row[f"mrr@{rank - 1}"] == 0
    assert row[f"mrr@{rank}"] == pytest.approx(1 / rank)


def test_equal_scores_rank_by_document_id_descending() -> None:
    run = {"q": {"a": 1.0, "c": 1.0, "b": 1.0}}
    by_relevant = [score_queries({"q": {d: 1}}, run).loc["q", "mrr@10"] for d in "cba"]
    assert by_relevant == pytest.approx([1, 1 / 2, 1 / 3])


def test_every_judged_query_counts() -> None:
    qrels: Qrels = {"found": {"a": 1}, "absent": {"a": 1}, "empty": {"a": 1}, "none relevant": {"a": 0}}
    run: Run = {"found": {"a": 1.0}, "empty": {}, "none relevant": {"a": 1.0}, "not judged": {"a": 1.0}}
    table = score_queries(qrels, run)
    assert list(table.index) == ["absent", "empty", "found", "none relevant"]
    assert (table.drop(index="found") == 0).all(axis=None)
    assert table.loc["found", "ndcg@10"] == 1
    assert mean_scores(table)["ndcg@10"] == 1 / 4


def test_a_run_that_finds_nothing_scores_0() -> None:
    table = score_queries({"q": {"a": 1}}, {})
    assert table.shape == (1, 5 * len(CUTOFFS))
    assert (table == 0).all(axis=None)


def test_a_query_without_any_judgement_has_no_row() -> None:
    table = score_queries({"q": {"a": 1}, "unjudged": {}}, {"q": {"a": 1.0}, "unjudged": {"a": 1.0}})
    assert list(table.index) == ["q"]


def test_the_table_names_its_rows_and_columns() -> None:
    table = score_queries({"b": {"a": 1}, "a": {"a": 1}}, {}, cutoffs=(10, 1))
    assert table.index.name == "query"
    assert list(table.index) == ["a", "b"]
    names = ("ndcg", "map", "recall", "p", "mrr")
    assert list(table.columns) == [f"{name}@{k}" for name in names for k in (1, 10)]
    assert all(pd.api.types.is_float_dtype(dtype) for dtype in table.dtypes)


def test_the_run_and_the_qrels_are_left_as_they_are() -> None:
    qrels, run = {"q": {"q": 1}}, {"q": {"q": 1.0}}
    assert score_queries(qrels, run).loc["q", "p@1"] == 1
    assert run == {"q": {"q": 1.0}}
    assert qrels == {"q": {"q": 1}}


def test_nothing_judged_is_an_error() -> None:
    with pytest.raises(RagcunError, match="judge no query"):
        score_queries({"q": {}}, {"q": {"a": 1.0}})


def test_a_score_that_is_not_a_number_is_an_error_that_names_the_query() -> None:
    with pytest.raises(RagcunError, match="'q7'"):
        score_queries({"q7": {"a": 1}}, {"q7": {"a": 1.0, "b": math.nan}})


def test_a_cutoff_of_0_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive"):
        score_queries({"q": {"a": 1}}, {}, cutoffs=(0, 1))


def test_a_querys_own_document_is_left_out_wherever_it_ranks_and_k_others_remain() -> None:
    documents = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}
    run = {query: dict(documents) for query in ("first", "middle", "beyond", "none")}
    found = best_others(run, {"first": "a", "middle": "c", "beyond": "d", "other": "b"}, 3)
    assert {query: list(best) for query, best in found.items()} == {
        "first": ["b", "c", "d"],
        "middle": ["a", "b", "d"],
        "beyond": ["a", "b", "c"],
        "none": ["a", "b", "c"],
    }
    assert found["first"] == {"b": 3.0, "c": 2.0, "d": 1.0}
    assert run["first"] == documents, "the run itself stays as it is"
