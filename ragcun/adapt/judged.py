"""Choose the map on judged queries, by cross-validation: a few dozen labels make adapting safe."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from ragcun.adapt.rule import Adaptation, Statistics, with_gamma
from ragcun.core.errors import RagcunError
from ragcun.measure.ranking import Qrels, score_queries
from ragcun.params import Similarity
from ragcun.search import exact

METRIC, DEPTH = "ndcg@10", 10
GAMMAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
# How much of the mean is subtracted.
SHARES = (0.0, 0.5, 1.0)
FOLDS = 5
FEWEST_QUERIES = 2 * FOLDS
_CONFIDENCE = 0.95
_SEED = 0


@dataclass(frozen=True)
class Judged:
    """Queries with judgements, and the documents that they are ranked over.

    Attributes:
        query_ids, doc_ids: of the rows of `queries` (Q, D) and `corpus` (N, D).
        qrels: query id -> document id -> relevance.
    """

    query_ids: Sequence[str]
    queries: np.ndarray
    doc_ids: Sequence[str]
    corpus: np.ndarray
    qrels: Qrels
    similarity: Similarity

    def scores(self, adaptation: Adaptation | None) -> np.ndarray:
        """NDCG@10 of each judged query, sorted by id, under the adapted model; None is the model itself."""
        judged = [row for row, query in enumerate(self.query_ids) if query in self.qrels]
        queries, corpus = self.queries[judged], self.corpus
        if adaptation is not None:
            queries, corpus = adaptation.apply(queries), adaptation.apply(corpus)
        hits = exact.search(queries, corpus, self.doc_ids, DEPTH, self.similarity)
        run = hits.to_run([self.query_ids[row] for row in judged])
        return score_queries({query: self.qrels[query] for query in run}, run, (DEPTH,))[METRIC].to_numpy()


@dataclass(frozen=True)
class Choice:
    """The map that judged queries chose, None for the model itself, and what choosing so gains.

    Attributes:
        base: mean NDCG@10 of the model itself.
        gain: the mean gain of queries that took no part in the choice of their map, (low, high) its 95 % interval.
        queries: how many are judged.
    """

    adaptation: Adaptation | None
    base: float
    gain: float
    interval: tuple[float, float]
    queries: int


def choose_on_judged(statistics: Statistics, judged: Judged) -> Choice:
    """Choose γ and the share of the mean, the model itself among the candidates, by mean NDCG@10.

    The gain is cross-validated: each fold of the queries is scored by the map that the other folds choose.

    Raises:
        RagcunError: fewer than ten queries are judged.
    """
    candidates: list[Adaptation | None] = [None]
    candidates += [
        with_gamma(statistics, gamma, share * statistics.mean) for gamma in GAMMAS for share in SHARES if gamma or share
    ]
    base = judged.scores(None)
    if len(base) < FEWEST_QUERIES:
        raise RagcunError(
            f"{len(base)} judged queries are too few to choose on: give {FEWEST_QUERIES} or more, or leave out --qrels"
        )
    scores = np.stack([base, *(judged.scores(candidate) for candidate in candidates[1:])])
    folds = np.random.default_rng(_SEED).permutation(len(base)) % FOLDS
    gains = np.empty(len(base))
    for fold in range(FOLDS):
        held_out = folds == fold
        gains[held_out] = scores[_best(scores[:, ~held_out]), held_out] - base[held_out]
    return Choice(candidates[_best(scores)], float(base.mean()), float(gains.mean()), _interval(gains), len(base))


def _best(scores: np.ndarray) -> int:
    """The candidate of the highest mean; of equals the first, which changes least."""
    return int(scores.mean(axis=1).round(9).argmax())


def _interval(gains: np.ndarray) -> tuple[float, float]:
    if not gains.any():
        return 0.0, 0.0
    found = bootstrap(
        (gains,), np.mean, confidence_level=_CONFIDENCE, method="percentile", rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return float(found.low), float(found.high)
