"""BM25 combined with a dense model, from the TREC runs that their evaluations wrote.

* rrf: reciprocal rank fusion, the sum of 1/(60 + rank) over the two lists (Cormack, Clarke & Büttcher, SIGIR 2009).
* convex: w·dense + (1 − w)·BM25, each list's scores of a query first brought to [0, 1] by its least and largest (Bruch, Gai &
  Ingber, An Analysis of Fusion Functions for Hybrid Retrieval, TOIS 2023). The weight w is the one of 0, .1, ..., 1 with the
  best NDCG@10 on the benchmark's dev queries, the smallest of equals; without dev queries there is no such row.

A document that is not in a list gets nothing from it. The lists are as deep as `evaluate.run_depth` keeps them.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import Evaluation, join_parts, score_run, write_runs
from ragcun.measure.ranking import Run, mean_scores, score_queries
from ragcun.params import Fusion

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
    """What two runs found for a query, by document: ids descending, then ranks from 1 and scores in [0, 1], BM25's first.

    Where a list lacks the document its rank is infinite and its score 0.
    """

    documents: list[str]
    ranks: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, lexical: Mapping[str, float], dense: Mapping[str, float]) -> "Lists":
        """The lists of two runs' documents of a query, each best first.

        >>> Lists.of({"d1": 8.0, "d2": 4.0}, {"d2": 0.5}).scores.tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        documents = sorted({*lexical, *dense}, reverse=True)
        place = {document: column for column, document in enumerate(documents)}
        ranks, scores = np.full((2, len(documents)), np.inf), np.zeros((2, len(documents)))
        for row, found in enumerate((lexical, dense)):
            columns = [place[document] for document in found]
            ranks[row, columns] = np.arange(1, len(found) + 1)
            scores[row, columns] = _to_unit(np.array(list(found.values())))
        return cls(documents, ranks, scores)

    def ranked(self, combine: Combine, depth: int) -> dict[str, float]:
        """The best documents by the combined score, then by id, both descending."""
        combined = combine(self)
        best = np.argsort(-combined, kind="stable")[:depth]
        return {self.documents[column]: float(combined[column]) for column in best}


def reciprocal_ranks(lists: Lists) -> np.ndarray:
    """The sum of 1/(60 + rank) over the lists, (documents,).

    >>> [round(float(score) * 61, 2) for score in reciprocal_ranks(Lists.of({"d1": 8.0}, {"d1": 0.5, "d0": 0.4}))]
    [2.0, 0.98]
    """
    total: np.ndarray = (1 / (RRF_K + lists.ranks)).sum(axis=0)
    return total


def weighted(weight: float) -> Combine:
    """w·dense + (1 − w)·BM25.

    >>> weighted(0.75)(Lists.of({"d1": 8.0, "d0": 4.0}, {"d0": 0.5})).tolist()
    [0.25, 0.75]
    """
    return lambda lists: np.array([1 - weight, weight]) @ lists.scores


def read_run(path: Path) -> Run:
    """A TREC run file as `write_runs` writes it, each query's documents best first.

    >>> read_run(tiny_runs / "base" / "tiny" / "test.trec")
    {'q1': {'d2': 2.0, 'd1': 1.0}}
    """
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run the evaluation first, with `dvc repro`")
    run: Run = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            query, _, document, _, score, _ = line.split(" ")
            # Few ids are quoted, and there are many lines.
            query, document = (unquote(name) if "%" in name else name for name in (query, document))
            run.setdefault(query, {})[document] = float(score)
    return run


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
    ['measures.json', 'test.trec', 'test.tsv']
    """
    lexical = _read(runs / "bm25" / benchmark, parts) if rows else {}
    lists: dict[str, dict[str, Lists]] = {}
    for model, method in rows:
        if model not in lists:
            lists = {model: _lists(lexical, _read(runs / model / benchmark, parts))}
        folder = FusedRow.of(model, method, root).folder / benchmark
        shutil.rmtree(folder, ignore_errors=True)
        evaluation = fused(parts, lists[model], method)
        if evaluation is not None:
            write_runs(evaluation, folder, _KEPT, f"bm25+{model}+{method}")


def fused(parts: Mapping[str, Benchmark], lists: Mapping[str, Lists], method: Fusion) -> Evaluation | None:
    """The evaluation of a combination; None for `convex` where there are no dev queries.

    Args:
        lists: by query id, with the part before it and a slash where the benchmark has parts.

    >>> both = {"q1": Lists.of({"d1": 2.0, "d2": 1.0}, {"d1": 0.5})}
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


def _evaluation(parts: Mapping[str, Benchmark], lists: Mapping[str, Lists], combine: Combine) -> Evaluation:
    return join_parts(
        {
            part: score_run(
                benchmark,
                {query: lists[_id(part, query)].ranked(combine, _SCORED) for query in benchmark.all_queries},
                _SCORED,
                None,
            )
            for part, benchmark in parts.items()
        }
    )


def _dev_score(parts: Mapping[str, Benchmark], lists: Mapping[str, Lists], combine: Combine) -> float:
    """NDCG@10 of the dev queries, the mean of the parts."""
    means = []
    for part, benchmark in parts.items():
        qrels = benchmark.qrels["dev"]
        run = {query: lists[_id(part, query)].ranked(combine, 10) for query in qrels}
        means.append(mean_scores(score_queries(qrels, run, (10,)))["ndcg@10"])
    return float(np.mean(means))


def _id(part: str, query: str) -> str:
    return f"{part}/{query}" if part else query


def _read(folder: Path, parts: Mapping[str, Benchmark]) -> Run:
    """The runs of all splits; a query that found nothing has no line, and an empty answer here."""
    splits = {split for benchmark in parts.values() for split in benchmark.qrels}
    found = {query: best for split in splits for query, best in read_run(folder / f"{split}.trec").items()}
    asked = [_id(part, query) for part, benchmark in parts.items() for query in benchmark.all_queries]
    return {query: found.get(query, {}) for query in asked}


def _lists(lexical: Run, dense: Run) -> dict[str, Lists]:
    return {query: Lists.of(found, dense[query]) for query, found in lexical.items()}


def _to_unit(scores: np.ndarray) -> np.ndarray:
    """Scores, perhaps none, brought to [0, 1]; equal ones are all 1."""
    if not len(scores) or scores.max() == scores.min():
        return np.ones_like(scores)
    return (scores - scores.min()) / (scores.max() - scores.min())
