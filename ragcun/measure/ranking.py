"""Scores of a run against judgements, as trec_eval computes them.

`pytrec_eval` is trec_eval's own code. It ranks documents by score, then by id, both descending, whatever the run's order.
This module adds what it leaves open: which queries count, and MRR at a cutoff.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from math import isnan
from operator import itemgetter

import numpy as np
import pandas as pd
import pytrec_eval

from ragcun.core.errors import RagcunError

Qrels = dict[str, dict[str, int]]
"""{query id: {document id: relevance}}; a document is relevant if its relevance is above 0."""

Run = dict[str, dict[str, float]]
"""{query id: {document id: score}}."""

CUTOFFS = (1, 3, 5, 10, 100, 1000)

# Our names of trec_eval's measures at a cutoff.
_TREC_NAMES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "p": "P"}


def score_queries(qrels: Qrels, run: Run, cutoffs: Iterable[int] = CUTOFFS) -> pd.DataFrame:
    """Scores of each judged query: a row a query, sorted by id; columns `ndcg@k`, `map@k`, `recall@k`, `p@k`, `mrr@k`.

    All lie in [0, 1]. NDCG has the graded relevance itself as gain and log2(rank + 1) as discount; MAP@k divides by the
    number of all relevant documents; MRR@k is 1/rank of the first relevant document, 0 if that rank is beyond k. A
    document with the query's own id counts like any other: see `best_others`.

    The rows are those of `trec_eval -c`: all queries with a judgement. A query scores 0 if the run does not answer it or
    all its judgements are 0. The run's queries without judgement are ignored.

    Raises:
        RagcunError: no query is judged, or a score is NaN.
        ValueError: there is no cutoff, or one below 1.

    >>> score_queries({"q1": {"d1": 1}}, {"q1": {"d1": 0.5, "d2": 0.75}}, cutoffs=[2])["mrr@2"].to_dict()
    {'q1': 0.5}
    """
    ks = sorted(set(cutoffs))
    if not ks or ks[0] < 1:
        raise ValueError(f"Cutoffs must be positive, and at least one: {ks}")
    judged = {query: judgements for query, judgements in qrels.items() if judgements}
    if not judged:
        raise RagcunError("The qrels judge no query, so there is nothing to score: check the split's qrels file.")
    answered = {query: run[query] for query in judged if query in run}
    _check_scores(answered)
    measures = {f"{name}.{','.join(map(str, ks))}" for name in _TREC_NAMES.values()} | {"recip_rank"}
    scores = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(answered)
    return _table({query: scores.get(query) for query in sorted(judged)}, ks)


def best_others(run: Run, own: Mapping[str, str], k: int) -> Run:
    """The first `k` documents of each query without the query's own document.

    Args:
        run: for each query k + 1 documents or more, if there are so many, best first.
        own: query id -> id of the document that the query is; other queries are not in it.

    >>> best_others({"q1": {"d1": 0.75, "d2": 0.5}}, own={"q1": "d1"}, k=1)
    {'q1': {'d2': 0.5}}
    """
    return {query: dict(islice(_others(documents, own.get(query)), k)) for query, documents in run.items()}


def _others(documents: dict[str, float], own: str | None) -> Iterable[tuple[str, float]]:
    if own is None or own not in documents:
        return documents.items()
    return (item for item in documents.items() if item[0] != own)


def mean_scores(per_query: pd.DataFrame) -> dict[str, float]:
    """The mean of each column of `score_queries`.

    >>> mean_scores(pd.DataFrame({"ndcg@10": [0.5, 1.0]}, index=["q1", "q2"]))
    {'ndcg@10': 0.75}
    """
    return {str(name): float(mean) for name, mean in per_query.mean().items()}


def _table(scores: Mapping[str, Mapping[str, float] | None], ks: list[int]) -> pd.DataFrame:
    """trec_eval's scores of each query, or None for one without an answer, under our names."""
    chosen = itemgetter(*(f"{trec}_{k}" for trec in _TREC_NAMES.values() for k in ks), "recip_rank")
    zeros = (0.0,) * (len(_TREC_NAMES) * len(ks) + 1)
    values = np.array([zeros if found is None else chosen(found) for found in scores.values()])
    reciprocal = values[:, -1:]
    # The first relevant document is among the first k if 1/rank ≥ 1/k; the half keeps rounding out of it.
    mrr = np.where(reciprocal * (np.array(ks) + 0.5) > 1, reciprocal, 0.0)
    columns = [f"{measure}@{k}" for measure in (*_TREC_NAMES, "mrr") for k in ks]
    return pd.DataFrame(np.hstack([values[:, :-1], mrr]), list(scores), columns).rename_axis("query")


def _check_scores(run: Run) -> None:
    for query, documents in run.items():
        # A sum is NaN if a number is; so it is where two infinities cancel.
        if isnan(sum(documents.values())) and any(map(isnan, documents.values())):
            raise RagcunError(
                f"A score of query {query!r} is NaN, so its documents have no order: check the run's origin."
            )
