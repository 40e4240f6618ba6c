"""The choice on judged queries: by cross-validation, and the model itself where nothing is better."""

import numpy as np
import pytest

from ragcun.adapt.judged import FOLDS, GAMMAS, SHARES, Judged, choose_on_judged
from ragcun.adapt.rule import Statistics, with_gamma
from ragcun.core.errors import RagcunError

DIM, DOCUMENTS, QUERIES = 12, 300, 40


def judged(noise: float, seed: int = 0) -> tuple[Statistics, Judged]:
    """Documents, and queries near one of them each. `noise` spreads queries along one axis that tells documents nothing."""
    random = np.random.default_rng(seed)
    corpus = random.normal(size=(DOCUMENTS, DIM))
    corpus[:, 0] *= noise
    axis = np.eye(DIM)[0]

    def asked(rows: np.ndarray) -> np.ndarray:
        spread = random.normal(size=(len(rows), 1)) * noise * axis
        return corpus[rows] + spread + 0.3 * random.normal(size=(len(rows), DIM))

    relevant = np.arange(QUERIES)
    names = [f"d{row}" for row in range(DOCUMENTS)]
    qrels = {f"q{row}": {names[row]: 1} for row in relevant}
    queries = Judged([f"q{row}" for row in relevant], asked(relevant), names, corpus, qrels, "cosine")
    rows = np.arange(QUERIES, DOCUMENTS)
    return Statistics.of(corpus, asked(rows), rows), queries


def test_noise_that_hides_the_answers_is_taken_out() -> None:
    statistics, queries = judged(noise=6)
    choice = choose_on_judged(statistics, queries)
    assert choice.adaptation is not None
    assert choice.queries == QUERIES
    assert choice.base == pytest.approx(queries.scores(None).mean())
    assert choice.gain > 0.1
    assert choice.interval[0] > 0, "the interval excludes no gain"
    chosen = queries.scores(choice.adaptation).mean() - choice.base
    assert chosen >= choice.gain - 1e-9, "what is chosen on all queries flatters, and is not what is reported"


def test_the_model_itself_is_chosen_where_nothing_is_better() -> None:
    """Queries that are their documents are all answered first."""
    statistics, queries = judged(noise=1)
    exact = Judged(
        queries.query_ids, queries.corpus[:QUERIES], queries.doc_ids, queries.corpus, queries.qrels, queries.similarity
    )
    choice = choose_on_judged(statistics, exact)
    assert choice.adaptation is None
    assert (choice.base, choice.gain, choice.interval) == (1.0, 0.0, (0.0, 0.0))


def test_the_gain_is_that_of_queries_which_took_no_part_in_the_choice() -> None:
    """A plain twin: each fold is scored by the candidate that is best on the others."""
    statistics, queries = judged(noise=1)
    maps = [None] + [
        with_gamma(statistics, gamma, share * statistics.mean) for gamma in GAMMAS for share in SHARES if gamma or share
    ]
    scores = [queries.scores(candidate) for candidate in maps]
    folds = np.random.default_rng(0).permutation(QUERIES) % FOLDS
    gains = []
    for query in range(QUERIES):
        others = [score[folds != folds[query]].mean() for score in scores]
        gains.append(scores[int(np.argmax(np.round(others, 9)))][query] - scores[0][query])
    choice = choose_on_judged(statistics, queries)
    assert choice.gain == pytest.approx(np.mean(gains))
    best = max(score.mean() for score in scores)
    assert choice.gain < best - choice.base - 0.005, (
        "the best of all candidates on the same queries gains more than is reported"
    )


def test_few_judged_queries_are_refused() -> None:
    statistics, queries = judged(noise=1)
    few = Judged(
        queries.query_ids,
        queries.queries,
        queries.doc_ids,
        queries.corpus,
        dict(list(queries.qrels.items())[:9]),
        queries.similarity,
    )
    with pytest.raises(RagcunError, match="9 judged queries are too few"):
        choose_on_judged(statistics, few)
