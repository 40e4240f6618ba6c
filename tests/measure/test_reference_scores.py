"""Scores of a run equal those of beir, of trec_eval and of their plain definitions, query by query, on runs made to be hard.

Runs are drawn by hypothesis: scores of few levels, so that most documents tie; graded judgements; queries that the run does
not answer; fewer documents than the cutoff; a single query; cutoffs above the corpus. The same code ranks dense vectors, so
what a search finds must score the same however it was cut.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from beir.retrieval.evaluation import EvaluateRetrieval
from hypothesis import given, settings
from hypothesis import strategies as st

from ragcun import distributed
from ragcun.measure.ranking import Qrels, Run, score_queries
from ragcun.search import exact
from tests.invariants import Invariant
from tests.processes import run_in_processes

pytestmark = pytest.mark.outputs

DOCUMENTS = [f"d{i}" for i in range(12)]
CUTOFFS = (1, 3, 10, 100)
TREC_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "p": "P"}
BEIR_NAMES = {"ndcg": "NDCG", "map": "MAP", "recall": "Recall", "p": "P"}
# The same cases in every run, so that a failure is a commit's and not a draw's.
drawn = settings(max_examples=50, deadline=None, derandomize=True, database=None)

Case = tuple[Qrels, Run]


@st.composite
def cases(draw: st.DrawFn, levels: int = 3) -> Case:
    """Judgements of up to four queries, and a run that answers some of them and perhaps another one."""
    judged = [f"q{i}" for i in range(draw(st.integers(1, 4)))]
    grades = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)
    qrels = {query: draw(grades) for query in judged}
    score = st.integers(0, levels - 1).map(lambda level: level / 7)
    answered = draw(st.lists(st.sampled_from([*judged, "not judged"]), unique=True))
    found = st.dictionaries(st.sampled_from(DOCUMENTS), score, max_size=len(DOCUMENTS))
    return qrels, {query: draw(found) for query in answered}


def largest(check: Callable[[Case], float], levels: int = 3) -> float:
    """The largest difference that `check` finds in the drawn cases."""
    seen: list[float] = []

    @drawn
    @given(cases(levels))
    def each(case: Case) -> None:
        difference = check(case)
        assert math.isfinite(difference)
        seen.append(difference)

    each()
    assert len(seen) >= 40, "too few cases: vacuous"
    return max(seen)


def against_beir(case: Case) -> float:
    qrels, run = case
    ours, worst = score_queries(qrels, run, CUTOFFS), 0.0
    for query in qrels:
        # beir gives means, so each query is scored by itself; one without an answer has no mean there, and counts 0 here.
        if not run.get(query):
            assert (ours.loc[query] == 0).all()
            continue
        theirs: dict[str, float] = {}
        for scores in EvaluateRetrieval.evaluate({query: qrels[query]}, {query: run[query]}, list(CUTOFFS)):
            theirs |= scores
        gaps = [
            abs(float(ours.loc[query, f"{name}@{k}"]) - theirs[f"{beirs}@{k}"])  # type: ignore[arg-type]
            for name, beirs in BEIR_NAMES.items()
            for k in CUTOFFS
        ]
        worst = max(worst, *gaps)
    return worst


def against_trec_eval(case: Case) -> float:
    qrels, run = case
    measures = {f"{name}.{','.join(map(str, CUTOFFS))}" for name in TREC_NAMES.values()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    ours = score_queries(qrels, run, CUTOFFS)
    assert set(ours.index) == set(qrels), "every judged query counts, as with `trec_eval -c`"
    gaps = [
        abs(float(ours.loc[query, f"{name}@{k}"]) - theirs.get(query, {}).get(f"{trec}_{k}", 0.0))  # type: ignore[arg-type]
        for query in qrels
        for name, trec in TREC_NAMES.items()
        for k in CUTOFFS
    ]
    return max(gaps)


def plain(judged: dict[str, int], found: dict[str, float], k: int) -> dict[str, float]:
    """The definitions, on the ranking by score, then by id, both descending."""
    ranking = sorted(found, key=lambda document: (found[document], document), reverse=True)[:k]
    relevant = {document for document, grade in judged.items() if grade > 0}
    hits = [document in relevant for document in ranking]
    gain = sum(max(judged.get(document, 0), 0) / math.log2(rank + 2) for rank, document in enumerate(ranking))
    best = sorted(judged.values(), reverse=True)[:k]
    ideal = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(best))
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
    first = hits.index(True) + 1 if any(hits) else math.inf
    return {
        "ndcg": gain / ideal if ideal else 0.0,
        "map": sum(precisions) / len(relevant) if relevant else 0.0,
        "recall": sum(hits) / len(relevant) if relevant else 0.0,
        "p": sum(hits) / k,
        "mrr": 1 / first,
    }


def against_definitions(case: Case) -> float:
    qrels, run = case
    ours = score_queries(qrels, run, CUTOFFS)
    return max(
        abs(float(ours.loc[query, f"{name}@{k}"]) - value)  # type: ignore[arg-type]
        for query, judged in qrels.items()
        for k in CUTOFFS
        for name, value in plain(judged, run.get(query, {}), k).items()
    )


# beir rounds its means to five digits.
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_each_query_scores_as_in_beir(levels: int, invariant: Invariant) -> None:
    invariant("scores of a query against beir's EvaluateRetrieval", largest(against_beir, levels), 1e-5)


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_each_query_scores_as_in_trec_eval(levels: int, invariant: Invariant) -> None:
    invariant("scores of a query against trec_eval", largest(against_trec_eval, levels), 1e-9)


@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_each_query_scores_as_defined(levels: int, invariant: Invariant) -> None:
    invariant("scores of a query against the definitions", largest(against_definitions, levels), 1e-9)


@drawn
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_a_run_lists_its_documents_changes_no_score(case: Case, random: object) -> None:
    qrels, run = case
    mixed = {}
    for query in random.sample(list(run), len(run)):  # type: ignore[attr-defined]
        items = list(run[query].items())
        mixed[query] = dict(random.sample(items, len(items)))  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(score_queries(qrels, mixed), score_queries(qrels, run))


# What a search finds, however it is cut


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, Qrels, int]:
    """Queries, documents of few distinct vectors (most scores tie), judgements, and how many documents are asked for."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    queries, documents = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    corpus = rng.integers(-1, 2, size=(documents, 4)).astype(np.float32)
    asked = rng.integers(-1, 2, size=(queries, 4)).astype(np.float32)
    qrels = {
        f"q{i}": {
            f"d{j}": int(rng.integers(1, 4)) for j in rng.choice(documents, size=min(3, documents), replace=False)
        }
        for i in range(queries)
    }
    return asked, corpus, qrels, draw(st.sampled_from([1, 10, 100]))


def scores_of(
    queries: np.ndarray, corpus: np.ndarray, ids: list[str], qrels: Qrels, k: int, **how: int
) -> pd.DataFrame:
    run = exact.search(queries, corpus, ids, k, "cosine", **how).to_run([f"q{i}" for i in range(len(queries))])  # type: ignore[arg-type]
    return score_queries(qrels, run)


@drawn
@given(searches(), st.sampled_from([1, 3, 7]), st.sampled_from([1, 3, 16]), st.randoms(use_true_random=False))
def test_chunks_and_the_order_of_documents_change_no_score(
    case: tuple[np.ndarray, np.ndarray, Qrels, int], query_chunk: int, corpus_chunk: int, random: object
) -> None:
    queries, corpus, qrels, k = case
    ids = [f"d{i}" for i in range(len(corpus))]
    whole = scores_of(queries, corpus, ids, qrels, k)
    chunks = scores_of(queries, corpus, ids, qrels, k, query_chunk=query_chunk, corpus_chunk=corpus_chunk)
    pd.testing.assert_frame_equal(chunks, whole, check_exact=True)
    order = random.sample(range(len(ids)), len(ids))  # type: ignore[attr-defined]
    mixed = scores_of(queries, corpus[order], [ids[row] for row in order], qrels, k, corpus_chunk=corpus_chunk)
    pd.testing.assert_frame_equal(mixed, whole, check_exact=True)


def shared_scores() -> dict[str, dict[str, float]]:
    """A search that the ranks share by queries, as an evaluation does, scored on each of them."""
    rng = np.random.default_rng(0)
    queries, corpus = (rng.integers(-1, 2, size=(rows, 4)).astype(np.float32) for rows in (9, 50))
    qrels = {f"q{i}": {f"d{j}": 1 + int(j) % 3 for j in rng.choice(50, size=6, replace=False)} for i in range(9)}
    ids = [f"q{i}" for i in range(9)]
    mine = distributed.shard(len(ids))
    found = exact.search(queries[mine], corpus, [f"d{i}" for i in range(50)], 10, "cosine").to_run(ids[mine])
    run = {query: best for part in distributed.gather_objects(found) for query, best in part.items()}
    return {str(name): column.to_dict() for name, column in score_queries(qrels, run).items()}


def test_the_number_of_processes_changes_no_score() -> None:
    alone = shared_scores()
    assert 0 < sum(alone["ndcg@10"].values()) < 9, "vacuous"
    assert run_in_processes(shared_scores, 3) == [alone] * 3
