"""BM25 combined with a dense model, from the TREC runs that their evaluations wrote.

* rrf: reciprocal rank fusion, the sum of 1/(60 + rank) over the two lists (Cormack, Clarke & Büttcher, SIGIR 2009).
* convex: w·dense + (1 − w)·BM25, each list's scores of a query first brought to [0, 1] by its least and largest (Bruch, Gai &
  Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 2023). The weight w is the one of 0, .1, ..., 1 with the
  best NDCG@10 on the benchmark's dev queries, the smallest of equals; without dev queries there is no such row.

A document that is not in a list gets nothing from it. The lists are as deep as `evaluate.run_depth` keeps them.
"""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import Evaluation, join_parts, score_run, write_runs
from ragcun.measure.ranking import Run, mean_scores, score_queries
from ragcun.params import Fusion
from ragcun.report.trec_runs import TrecRun, read_run

RRF_K = 60
WEIGHTS = tuple(step / 10 for step in range(11))
# Of a fused run, what is scored, and what is kept in its file.
_SCORED, _KEPT = 100, 10

Combine = Callable[["Lists"], np.ndarray]


@dataclass(frozen=True)
class FusedRow:
    """A row of the comparison: its name, the dense model that it is held against, and the folder of its results.

    >>> FusedRow.of("base", "rrf", Path("data/fused")).name
    'bm25 + base (rrf)'
    """

    name: str
    model: str
    folder: Path

    @classmethod
    def of(cls, model: str, method: Fusion, root: Path) -> "FusedRow":
        """The row of a model and a method."""
        return cls(f"bm25 + {model} ({method})", model, root / model / method)


@dataclass(frozen=True)
class Lists:
    """What two runs found for Q queries: a place for each query and document that is in either list, N in all.

    Places are in the order of the queries, and of a query in descending order of the documents' ids.

    rows: each query's number. document: (N,), into `names`. query: (N,), the query's number. ranks: (2, N), from 1, infinite
    where a list lacks the document. scores: (2, N), in [0, 1], there 0. BM25's come first in both.
    """

    rows: Mapping[str, int]
    names: np.ndarray
    document: np.ndarray
    query: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, queries: Sequence[str], lexical: Sequence[TrecRun], dense: Sequence[TrecRun]) -> "Lists":
        """The lists of queries, from the runs of their splits; a query may be in none.

        >>> lexical, dense = TrecRun.of({"q1": {"d1": 8.0, "d2": 4.0}}), TrecRun.of({"q1": {"d2": 0.5}})
        >>> Lists.of(["q1"], [lexical], [dense]).scores.tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        rows = {query: row for row, query in enumerate(queries)}
        names = sorted({name for run in (*lexical, *dense) for name in run.documents}, reverse=True)
        places = {name: place for place, name in enumerate(names)}
        found = [_lines(runs, rows, places) for runs in (lexical, dense)]
        keys, inverse = np.unique(np.concatenate([lines.keys for lines in found]), return_inverse=True)
        ranks, scores = np.full((2, len(keys)), np.inf), np.zeros((2, len(keys)))
        for number, (lines, columns) in enumerate(zip(found, np.split(inverse, [len(found[0].keys)]), strict=True)):
            ranks[number, columns], scores[number, columns] = lines.ranks, lines.scores
        query, document = np.divmod(keys, max(len(names), 1))
        return cls(rows, np.array(names, dtype=object), document, query, ranks, scores)

    def ranked(self, combine: Combine, queries: Sequence[str], depth: int) -> Run:
        """Each query's best documents by the combined score, then by id, both descending."""
        chosen = [self.rows[query] for query in queries]
        sizes = np.bincount(self.query, minlength=len(self.rows))
        starts = np.cumsum(sizes) - sizes
        combined = combine(self)
        place = starts[chosen, None] + np.arange(sizes[chosen].max(initial=0))
        there = np.arange(place.shape[1]) < sizes[chosen, None]
        place[~there] = 0
        # The places of a query are in descending order of the ids, so a stable sort leaves equal ones in it.
        score = np.where(there, combined[place] if len(combined) else 0.0, -np.inf)
        best = np.argsort(-score, axis=1, kind="stable")[:, :depth]
        documents = self.names[self.document[np.take_along_axis(place, best, axis=1)]].tolist()
        scores, counts = np.take_along_axis(score, best, axis=1).tolist(), np.minimum(sizes[chosen], depth).tolist()
        return {
            query: dict(zip(documents[row][:count], scores[row][:count], strict=True))
            for row, (query, count) in enumerate(zip(queries, counts, strict=True))
        }


class _Lines(NamedTuple):
    """The lines of a model's runs: query and document as one number, the rank in the query's list, the score in [0, 1]."""

    keys: np.ndarray
    ranks: np.ndarray
    scores: np.ndarray


def _lines(runs: Sequence[TrecRun], rows: Mapping[str, int], places: Mapping[str, int]) -> _Lines:
    """The lines of the queries in `rows`, those of a query together; `places` has each document's place."""
    row = np.concatenate([np.array([rows.get(name, -1) for name in run.queries], dtype=int)[run.query] for run in runs])
    document = np.concatenate(
        [np.array([places[name] for name in run.documents], dtype=int)[run.document] for run in runs]
    )
    order = np.argsort(row, kind="stable")
    order = order[row[order] >= 0]
    row, document, score = row[order], document[order], np.concatenate([run.score for run in runs])[order]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    sizes = np.diff(starts, append=len(row))
    ranks = np.arange(len(row)) - np.repeat(starts, sizes) + 1
    return _Lines(row * len(places) + document, ranks, _to_unit(score, starts, sizes))


def _to_unit(scores: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Each list's scores brought to [0, 1]; equal ones are all 1."""
    if not len(scores):
        return scores
    low, high = (np.repeat(extreme.reduceat(scores, starts), sizes) for extreme in (np.minimum, np.maximum))
    return np.divide(scores - low, high - low, out=np.ones_like(scores), where=high > low)


def reciprocal_ranks(lists: Lists) -> np.ndarray:
    """The sum of 1/(60 + rank) over the lists, (N,).

    >>> lists = Lists.of(["q1"], [TrecRun.of({"q1": {"d1": 8.0}})], [TrecRun.of({"q1": {"d1": 0.5, "d0": 0.4}})])
    >>> [round(float(score) * 61, 2) for score in reciprocal_ranks(lists)]
    [2.0, 0.98]
    """
    lexical, dense = 1 / (RRF_K + lists.ranks)
    total: np.ndarray = lexical + dense
    return total


def weighted(weight: float) -> Combine:
    """w·dense + (1 − w)·BM25.

    >>> lists = Lists.of(["q1"], [TrecRun.of({"q1": {"d1": 8.0, "d0": 4.0}})], [TrecRun.of({"q1": {"d0": 0.5}})])
    >>> weighted(0.75)(lists).tolist()
    [0.25, 0.75]
    """
    return lambda lists: (1 - weight) * lists.scores[0] + weight * lists.scores[1]


def write_fused(
    benchmark: str, parts: Mapping[str, Benchmark], rows: Sequence[tuple[str, Fusion]], *, runs: Path, root: Path
) -> None:
    """Combine BM25 with dense models on a benchmark, and write the results of each `FusedRow` into its folder below `root`.

    Args:
        parts: the benchmark's (`read_parts`).
        rows: models, each with a method.
        runs: the folder with <model>/<benchmark>/.

    >>> write_fused("tiny", {"": tiny_benchmark}, [("base", "rrf")], runs=tiny_runs, root=Path("fused"))
    >>> sorted(path.name for path in Path("fused/base/rrf/tiny").iterdir())
    ['measures.json', 'test.parquet', 'test.trec']
    """
    queries = [_id(part, query) for part, each in parts.items() for query in each.all_queries]
    lexical = _read(runs / "bm25" / benchmark, parts) if rows else []
    lists: dict[str, Lists] = {}
    for model, method in rows:
        if model not in lists:
            lists = {model: Lists.of(queries, lexical, _read(runs / model / benchmark, parts))}
        folder = FusedRow.of(model, method, root).folder / benchmark
        shutil.rmtree(folder, ignore_errors=True)
        evaluation = fused(parts, lists[model], method)
        if evaluation is not None:
            write_runs(evaluation, folder, _KEPT, f"bm25+{model}+{method}")


def fused(parts: Mapping[str, Benchmark], lists: Lists, method: Fusion) -> Evaluation | None:
    """The evaluation of a combination; None for `convex` where there are no dev queries.

    Args:
        lists: of all queries, whose ids have the part before them and a slash where the benchmark has parts.

    >>> both = Lists.of(["q1"], [TrecRun.of({"q1": {"d1": 2.0, "d2": 1.0}})], [TrecRun.of({"q1": {"d1": 0.5}})])
    >>> fused({"": tiny_benchmark}, both, "rrf").measures()["test"]["ndcg@10"]
    1.0
    """
    if method == "rrf":
        return _evaluation(parts, lists, reciprocal_ranks)
    if not all("dev" in part.qrels for part in parts.values()):
        return None
    scores = {weight: _dev_score(parts, lists, weighted(weight)) for weight in WEIGHTS}
    weight = max(WEIGHTS, key=lambda each: (scores[each], -each))
    return replace(_evaluation(parts, lists, weighted(weight)), fusion={"weight": weight})


def _evaluation(parts: Mapping[str, Benchmark], lists: Lists, combine: Combine) -> Evaluation:
    """Scored to _SCORED documents; its runs hold the _KEPT that are written."""
    found = join_parts(
        {
            part: score_run(benchmark, _run(lists, combine, part, benchmark.all_queries, _SCORED), _SCORED, None)
            for part, benchmark in parts.items()
        }
    )
    first = {
        split: {query: dict(islice(best.items(), _KEPT)) for query, best in run.items()}
        for split, run in found.runs.items()
    }
    return replace(found, runs=first)


def _dev_score(parts: Mapping[str, Benchmark], lists: Lists, combine: Combine) -> float:
    """NDCG@10 of the dev queries, the mean of the parts."""
    means = []
    for part, benchmark in parts.items():
        qrels = benchmark.qrels["dev"]
        run = _run(lists, combine, part, qrels, 10)
        means.append(mean_scores(score_queries(qrels, run, (10,)))["ndcg@10"])
    return float(np.mean(means))


def _run(lists: Lists, combine: Combine, part: str, queries: Collection[str], depth: int) -> Run:
    """The best of a part's queries, by their ids in the part."""
    found = lists.ranked(combine, [_id(part, query) for query in queries], depth)
    return dict(zip(queries, found.values(), strict=True))


def _id(part: str, query: str) -> str:
    return f"{part}/{query}" if part else query


def _read(folder: Path, parts: Mapping[str, Benchmark]) -> list[TrecRun]:
    """The runs of all splits; a query that found nothing has no line."""
    splits = {split: None for benchmark in parts.values() for split in benchmark.qrels}
    return [read_run(folder / f"{split}.trec") for split in splits]
