"""Single queries for the report: of each pair of models those that gained and lost most, and what each model ranked first.

Only what is shown is kept, so the page stays small whatever the number of queries and documents.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import read_scores
from ragcun.report.charts import short
from ragcun.report.comparison import METRIC
from ragcun.report.trec_runs import read_run

# Of a query: the documents that a model ranked first, and the relevant ones, best grade first.
_FIRST, _RELEVANT = 5, 5
# In characters.
_QUERY, _SNIPPET, _TITLE = 400, 180, 120

Queries = dict[str, tuple[str, str, dict[str, int]]]
"""Query id, as the evaluation has it -> the benchmark's part, the text, and the grade of each relevant document."""


def explorer(
    name: str, parts: Mapping[str, Benchmark], models: Sequence[str], runs: Path, per_pair: int
) -> dict[str, Any]:
    """What the report's script needs of a benchmark, as plain values for JSON.

    Args:
        per_pair: so many queries of each pair of models gained most, and as many lost most.

    >>> found = explorer("tiny", {"": tiny_benchmark}, ["bm25", "base"], tiny_runs, per_pair=5)
    >>> found["pairs"]
    {'0 1': {'counts': [0, 0, 1], 'queries': [0]}}
    >>> found["queries"][0]["text"], found["documents"]
    ('what flows', [['River', 'Water that flows.'], ['Boat', 'It floats.']])
    """
    scores = pd.DataFrame({model: read_scores(runs / model / name, "test")[METRIC] for model in models})
    pairs, chosen = _pairs(scores, per_pair)
    queries = _queries(parts, set(chosen))
    found = [_found(runs / model / name / "test.trec", queries) for model in models]
    by_query = dict(zip(map(str, scores.index), scores.to_numpy().tolist(), strict=True))
    table = _Documents()
    shown = [_query(query, by_query[query], queries[query], found, table) for query in chosen]
    return {"name": name, "models": list(models), "pairs": pairs, "queries": shown, "documents": table.texts(parts)}


def _pairs(scores: pd.DataFrame, per_pair: int) -> tuple[dict[str, Any], list[str]]:
    """By two models' places: on how many queries the second scores higher, the same and lower, and rows of the chosen queries.

    Returns:
        The pairs, and the ids of the chosen queries.
    """
    values = scores.to_numpy()
    rows: dict[int, int] = {}
    pairs = {}
    for a, b in combinations(range(values.shape[1]), 2):
        change = values[:, b] - values[:, a]
        order = np.argsort(change, kind="stable")
        most = [int(row) for row in (*order[::-1][:per_pair], *order[:per_pair]) if change[row] != 0]
        pairs[f"{a} {b}"] = {
            "counts": [int((change > 0).sum()), int((change == 0).sum()), int((change < 0).sum())],
            "queries": [rows.setdefault(row, len(rows)) for row in dict.fromkeys(most)],
        }
    return pairs, [str(scores.index[row]) for row in rows]


def _queries(parts: Mapping[str, Benchmark], chosen: set[str]) -> Queries:
    found: Queries = {}
    for part, benchmark in parts.items():
        for query, judged in benchmark.qrels["test"].items():
            name = f"{part}/{query}" if part else query
            if name in chosen:
                relevant = {document: grade for document, grade in judged.items() if grade > 0}
                found[name] = part, benchmark.queries["test"][query], relevant
    return found


def _found(path: Path, queries: Collection[str]) -> dict[str, list[str]]:
    """What a run found for these queries, best first."""
    run = read_run(path)
    # Numbers of queries ascend in a run: a query's lines are together.
    starts = np.searchsorted(run.query, range(len(run.queries) + 1))
    return {
        query: [run.documents[place] for place in run.document[starts[row] : starts[row + 1]]]
        for row, query in enumerate(run.queries)
        if query in queries
    }


class _Documents:
    """A row for each document that is shown, in the order of their first use."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], int] = {}

    def row(self, part: str, document: str) -> int:
        return self._rows.setdefault((part, document), len(self._rows))

    def texts(self, parts: Mapping[str, Benchmark]) -> list[list[str]]:
        """Title and the beginning of the text of each; a document that is not in the corpus has its id."""
        texts = [[document, "(not in the corpus)"] for _, document in self._rows]
        for part, benchmark in parts.items():
            for place, document in enumerate(benchmark.doc_ids):
                row = self._rows.get((part, document))
                if row is not None:
                    texts[row] = [_cut(benchmark.titles[place], _TITLE), _cut(benchmark.bodies[place], _SNIPPET)]
        return texts


def _query(
    query: str,
    scores: Sequence[float],
    asked: tuple[str, str, dict[str, int]],
    runs: Sequence[Mapping[str, list[str]]],
    table: _Documents,
) -> dict[str, Any]:
    part, text, relevant = asked
    found = [run.get(query, []) for run in runs]
    best = sorted(relevant, key=lambda document: -relevant[document])
    ranks = {document: [_rank(document, each) for each in found] for document in best[:_RELEVANT]}
    first = [[table.row(part, document) for document in each[:_FIRST]] for each in found]
    shown = {document for each in found for document in each[:_FIRST]} & relevant.keys()
    return {
        "text": _cut(text, _QUERY),
        "scores": [short(value) for value in scores],
        "found": first,
        "grades": {table.row(part, document): relevant[document] for document in sorted(shown)},
        "relevant": [[table.row(part, document), places] for document, places in ranks.items()],
        "unlisted": max(0, len(relevant) - _RELEVANT),
    }


def _rank(document: str, found: list[str]) -> int:
    """From 1; 0 where the run file does not have it."""
    return found.index(document) + 1 if document in found else 0


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"
