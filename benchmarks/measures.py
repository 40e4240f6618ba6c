"""Measures of a run against `beir`'s EvaluateRetrieval, on the same run and judgements.

Usage: python -m benchmarks.measures [--queries 10000] [--documents 1000]

Both rest on trec_eval's code. ragcun gives the scores of each query, and MRR too; beir gives means, rounded to five places.
"""

from collections.abc import Sequence

import numpy as np
from beir.retrieval.evaluation import EvaluateRetrieval

from benchmarks.harness import Bar, in_turn, options, ratio, write_result
from ragcun.measure.ranking import CUTOFFS, Qrels, Run, mean_scores, score_queries

# Their names of our measures.
_NAMES = {"NDCG": "ndcg", "MAP": "map", "Recall": "recall", "P": "p"}
_RELEVANT = 5


def a_run(queries: int, documents: int) -> tuple[Qrels, Run]:
    """Judgements and a run of random scores; a query has five relevant documents, one of which was not found."""
    random = np.random.default_rng(0)
    run, qrels = {}, {}
    for query in range(queries):
        found = [f"d{row}" for row in random.choice(20 * documents, size=documents, replace=False).tolist()]
        run[f"q{query}"] = dict(zip(found, random.standard_normal(documents).tolist(), strict=True))
        relevant = [*random.choice(found, size=min(_RELEVANT - 1, documents), replace=False).tolist(), "missing"]
        qrels[f"q{query}"] = {document: 1 + place % 2 for place, document in enumerate(relevant)}
    return qrels, run


def theirs(qrels: Qrels, run: Run) -> dict[str, float]:
    """beir's means by our names."""
    tables = EvaluateRetrieval.evaluate(qrels, run, list(CUTOFFS))
    found = {name: value for table in tables for name, value in table.items()}
    return {f"{_NAMES[name.split('@')[0]]}@{name.split('@')[1]}": value for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=5)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=1000)
    arguments = parser.parse_args(argv)
    size = (20, 30) if arguments.small else (arguments.queries, arguments.documents)
    qrels, run = a_run(*size)
    works = {"ours": lambda: mean_scores(score_queries(qrels, run)), "beir": lambda: theirs(qrels, run)}
    timed = in_turn(arguments.rounds, works)
    for name, value in timed["beir"].result.items():
        assert abs(timed["ours"].result[name] - value) < 1e-5, name
    claim = f"measures of {size[0]:,} queries × {size[1]:,} documents against beir's EvaluateRetrieval"
    write_result(
        "measures",
        arguments,
        [Bar(claim, ratio(timed, "beir"), "×", at_least=1.0)],
        timed,
        same=f"the {len(timed['beir'].result)} means, to the five places that beir gives",
        figures={f"{name}, s": round(work.median, 3) for name, work in timed.items()},
    )


if __name__ == "__main__":
    main()
