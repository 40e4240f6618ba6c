"""What an evaluation yields, and the files it becomes: metrics, TREC runs, scores per query.

A benchmark of several parts, searched each by itself, is one evaluation: its queries carry their part's name, and its
means are the means of the parts' means (as BEIR reports CQADupStack).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ragcun.core.files import atomic_folder, write_json
from ragcun.data.benchmark import Benchmark
from ragcun.measure.ranking import CUTOFFS, Run, best_others, mean_scores, score_queries

# What metrics/<model>/<benchmark>.json reports of all that is measured.
HEADLINE = ("ndcg@10", "map@100", "recall@100", "p@10", "mrr@10")

PART = "part"


@dataclass(frozen=True)
class Evaluation:
    """Runs, scores per query (one row a query) and, for dense models, isotropy; the first two by split.

    Of a benchmark with parts, a query's id is `part/id`, and the scores have a column `part`.
    """

    runs: dict[str, Run]
    per_query: dict[str, pd.DataFrame]
    isotropy: dict[str, float] | None = None

    def summary(self) -> dict[str, Any]:
        """The metrics file: the test split's means on top, the dev split's under `dev`."""
        means = {split: _means(scores) for split, scores in self.per_query.items()}
        chosen = {split: {name: values[name] for name in HEADLINE} for split, values in means.items()}
        nested: dict[str, Any] = {**chosen.pop("test"), **chosen}
        if self.isotropy is not None:
            nested["isotropy"] = self.isotropy
        if PART in self.per_query["test"]:
            by_part = self.per_query["test"].groupby(PART)["ndcg@10"].mean()
            nested["parts"] = {str(part): {"ndcg@10": float(mean)} for part, mean in by_part.items()}
        return nested


def search_depth(benchmark: Benchmark, top_k: int) -> int:
    """How many documents to retrieve for a query so that `score_run` finds `top_k`: one more where it drops the query's own."""
    return top_k + benchmark.queries_are_documents


def score_run(benchmark: Benchmark, run: Run, top_k: int, shape: dict[str, float] | None) -> Evaluation:
    """Score a run over the benchmark's queries of all splits.

    Where the benchmark's queries are documents, a query's own document is dropped here, for every kind of search.

    Args:
        run: of each query `search_depth` documents where there are as many, best first.
        top_k: the documents of a query that are kept and scored.
        shape: the isotropy of the vectors; None where there are none.
    """
    best = best_others(run, benchmark.own_documents, top_k)
    runs = {split: {query: best[query] for query in qrels} for split, qrels in benchmark.qrels.items()}
    per_query = {split: score_queries(benchmark.qrels[split], runs[split], CUTOFFS) for split in runs}
    return Evaluation(runs, per_query, shape)


def join_parts(parts: Mapping[str, Evaluation]) -> Evaluation:
    """One evaluation of those of a benchmark's parts; that of the part "", which is a whole benchmark, as it is."""
    if list(parts) == [""]:
        return parts[""]
    splits = dict.fromkeys(split for evaluation in parts.values() for split in evaluation.per_query)
    runs: dict[str, Run] = {split: {} for split in splits}
    tables: dict[str, list[pd.DataFrame]] = {split: [] for split in splits}
    for part, evaluation in parts.items():
        for split, scores in evaluation.per_query.items():
            runs[split] |= {f"{part}/{query}": found for query, found in evaluation.runs[split].items()}
            renamed = scores.set_axis([f"{part}/{query}" for query in scores.index]).rename_axis("query")
            tables[split].append(renamed.assign(**{PART: part}))
    shapes = pd.DataFrame([evaluation.isotropy or {} for evaluation in parts.values()])
    per_query = {split: pd.concat(tables[split]) for split in splits}
    return Evaluation(runs, per_query, {str(name): float(mean) for name, mean in shapes.mean().items()} or None)


def _means(scores: pd.DataFrame) -> dict[str, float]:
    if PART not in scores:
        return mean_scores(scores)
    return mean_scores(scores.groupby(PART).mean())


def write_evaluation(evaluation: Evaluation, metrics_file: Path, runs_folder: Path, run_depth: int, tag: str) -> None:
    """Write the metrics file, and for each split the TREC run and the scores per query."""
    with atomic_folder(runs_folder) as partial:
        for split, scores in evaluation.per_query.items():
            scores.to_csv(partial / f"{split}.tsv", sep="\t", float_format="%.6g")
            with (partial / f"{split}.trec").open("w", encoding="utf-8") as file:
                file.writelines(_trec_lines(evaluation.runs[split], run_depth, tag))
    write_json(metrics_file, evaluation.summary())


def _trec_lines(run: Run, depth: int, tag: str) -> Iterator[str]:
    """`query Q0 document rank score tag`; TREC files are cut at white space, so ids have theirs percent-encoded."""
    for query, found in run.items():
        best = sorted(found.items(), key=lambda item: (item[1], item[0]), reverse=True)[:depth]
        for place, (document, score) in enumerate(best, start=1):
            yield f"{_trec_id(query)} Q0 {_trec_id(document)} {place} {score!r} {tag}\n"


def _trec_id(text: str) -> str:
    return text if text.isprintable() and not set(text) & {" ", "%"} else quote(text, safe="")
