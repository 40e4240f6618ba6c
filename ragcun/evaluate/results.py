"""The result of an evaluation and its files: metrics, measures, TREC runs, and scores per query as Parquet.

A benchmark with several parts is searched part by part and is one evaluation: its query ids are `part/id`, and its means
are the means of the parts' means (as BEIR reports CQADupStack).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_json
from ragcun.data.benchmark import Benchmark
from ragcun.measure.ranking import CUTOFFS, Run, best_others, mean_scores, score_queries

# The ranking measures that are reported; the scores per query have all of them, at every cutoff.
HEADLINE = ("ndcg@10", "map@100", "recall@100", "p@10", "mrr@10")
# metrics/<model>/<benchmark>.json: what a table shows, by its name there, as split and measure.
TABLE = {"ndcg@10": ("test", "ndcg@10"), "dev_ndcg@10": ("dev", "ndcg@10"), "isoscore": ("corpus", "isoscore")}

Measures = dict[str, dict[str, float]]
"""Means by split and measure; the space of documents and of queries stands under `corpus` and `queries`, NDCG@10 of a part under
`test/<part>`, and of an adapted model how far it was adapted under `adaptation`."""

MEASURES_FILE = "measures.json"
COMPRESSION_FILE = "compression.csv"
PICTURE_FILE = "picture.parquet"
# Beside a model's results, in a folder of the first name, are those of the adapted model.
ADAPTED, ADAPTATION = "adapted", "adaptation"
LEFT_ALONE = "left_alone"
# Where BM25 and a dense model were combined: the weight of the second.
FUSION = "fusion"
# What the model costs: the parameters that were trained, and the bytes of a document's vector.
COST = "cost"
PART = "part"


@dataclass(frozen=True)
class Evaluation:
    """Runs and scores per query (one row a query), both by split, and for dense models the space of documents and of queries.

    The scores of a benchmark with parts have a column `part`. `adapted` is the evaluation of the same model, adapted to
    the corpus without a label; its `adaptation` says how far. `compression` has a row for each format of the documents' vectors
    (ragcun.evaluate.compression), and `picture` what the figures of the space need (ragcun.evaluate.picture).
    """

    runs: dict[str, Run]
    per_query: dict[str, pd.DataFrame]
    isotropy: dict[str, float] | None = None
    adaptation: dict[str, float] | None = None
    adapted: "Evaluation | None" = None
    query_space: dict[str, float] | None = None
    fusion: dict[str, float] | None = None
    cost: dict[str, float] | None = None
    compression: pd.DataFrame | None = None
    picture: pd.DataFrame | None = None

    def measures(self) -> Measures:
        """All that is reported."""
        means = {split: _means(scores) for split, scores in self.per_query.items()}
        found = {split: {name: values[name] for name in HEADLINE} for split, values in means.items()}
        if self.isotropy is not None:
            found["corpus"] = self.isotropy
        if self.query_space is not None:
            found["queries"] = self.query_space
        if self.adaptation is not None:
            found[ADAPTATION] = self.adaptation
        if self.fusion is not None:
            found[FUSION] = self.fusion
        if self.cost is not None:
            found[COST] = self.cost
        if PART in self.per_query["test"]:
            by_part = self.per_query["test"].groupby(PART)["ndcg@10"].mean()
            found |= {f"test/{part}": {"ndcg@10": float(mean)} for part, mean in by_part.items()}
        return found

    def summary(self) -> dict[str, float]:
        """The metrics file: NDCG@10 of test and, where there are such, of dev, and IsoScore."""
        found = self.measures()
        return {
            name: found[split][measure] for name, (split, measure) in TABLE.items() if measure in found.get(split, {})
        }


def search_depth(benchmark: Benchmark, top_k: int) -> int:
    """How many documents to retrieve for a query: one more than `top_k` where `score_run` drops the query's own."""
    return top_k + benchmark.queries_are_documents


def score_run(benchmark: Benchmark, run: Run, top_k: int, isotropy: dict[str, float] | None) -> Evaluation:
    """Score a run over the benchmark's queries of all splits.

    Where the benchmark's queries are documents, a query's own document is dropped here, for every kind of search.

    Args:
        run: `search_depth` documents for each query, fewer where the corpus has no more; best first.
        top_k: how many documents of a query are kept and scored.
        isotropy: the measures of the vectors; None where there are none.
    """
    best = best_others(run, benchmark.own_documents, top_k)
    runs = {split: {query: best[query] for query in qrels} for split, qrels in benchmark.qrels.items()}
    per_query = {split: score_queries(benchmark.qrels[split], runs[split], CUTOFFS) for split in runs}
    return Evaluation(runs, per_query, isotropy)


def join_parts(parts: Mapping[str, Evaluation]) -> Evaluation:
    """Merge the evaluations of a benchmark's parts; a benchmark without parts (the one part "") is returned unchanged."""
    if list(parts) == [""]:
        return parts[""]
    runs: dict[str, Run] = {}
    tables: dict[str, list[pd.DataFrame]] = {}
    for part, evaluation in parts.items():
        for split, scores in evaluation.per_query.items():
            run = {f"{part}/{query}": found for query, found in evaluation.runs[split].items()}
            runs[split] = runs.get(split, {}) | run
            renamed = scores.set_axis([f"{part}/{query}" for query in scores.index]).rename_axis("query")
            tables.setdefault(split, []).append(renamed.assign(**{PART: part}))
    per_query = {split: pd.concat(found) for split, found in tables.items()}
    isotropy, adaptation, queries = (
        _mean_over([getattr(part, name) for part in parts.values()])
        for name in ("isotropy", "adaptation", "query_space")
    )
    # A part too small to adapt to stands with its plain scores, so that both evaluations are of the same queries.
    adapted = {name: part.adapted or part for name, part in parts.items()}
    any_adapted = any(part.adapted is not None for part in parts.values())
    together = join_parts(adapted) if any_adapted else None
    compressed = _mean_formats([part.compression for part in parts.values() if part.compression is not None])
    whole = Evaluation(runs, per_query, isotropy, adaptation, together, query_space=queries, compression=compressed)
    # The cost is of the model, so the same in every part. Parts are spaces apart, and a figure is of one: the first part's.
    first = next(iter(parts.values()))
    return replace(whole, cost=first.cost, picture=first.picture)


def _mean_formats(tables: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    """The mean of each format over the parts of a benchmark."""
    if not tables:
        return None
    return pd.concat(tables).groupby(["dimensions", "format", "bytes"], sort=False, as_index=False).mean()


def _mean_over(parts: Sequence[dict[str, float] | None]) -> dict[str, float] | None:
    means = pd.DataFrame([part or {} for part in parts]).mean()
    return {str(name): float(mean) for name, mean in means.items()} or None


def _means(scores: pd.DataFrame) -> dict[str, float]:
    return mean_scores(scores.groupby(PART).mean() if PART in scores else scores)


def write_evaluation(evaluation: Evaluation, metrics_file: Path, runs_folder: Path, run_depth: int, tag: str) -> None:
    """Write the metrics file, and the folder with all measures and each split's TREC run and scores per query.

    The adapted model's results go into a folder in it, and to no metrics file.
    """
    with atomic_folder(runs_folder) as partial:
        write_runs(evaluation, partial, run_depth, tag)
        if evaluation.compression is not None:
            evaluation.compression.to_csv(partial / COMPRESSION_FILE, index=False, lineterminator="\n")
        if evaluation.picture is not None:
            evaluation.picture.to_parquet(partial / PICTURE_FILE, index=False)
        if evaluation.adapted is not None:
            write_runs(evaluation.adapted, partial / ADAPTED, run_depth, f"{tag}+adapt")
    write_json(metrics_file, evaluation.summary())


def write_runs(evaluation: Evaluation, folder: Path, run_depth: int, tag: str) -> None:
    """Write all measures, and each split's TREC run and scores per query, into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MEASURES_FILE, evaluation.measures())
    for split, scores in evaluation.per_query.items():
        scores.rename_axis("query").reset_index().to_parquet(folder / f"{split}.parquet", index=False)
        with (folder / f"{split}.trec").open("w", encoding="utf-8") as file:
            file.writelines(_trec_lines(evaluation.runs[split], run_depth, tag))


def read_scores(folder: Path, split: str) -> pd.DataFrame:
    """The scores per query that `write_runs` wrote, indexed by query id. Raises RagcunError where there are none."""
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run the evaluation first, with `dvc repro`")
    return pd.read_parquet(path).set_index("query")


def _trec_lines(run: Run, depth: int, tag: str) -> Iterator[str]:
    """`query Q0 document rank score tag`; TREC files are cut at white space, so ids have theirs percent-encoded."""
    for query, found in run.items():
        topic = _trec_id(query)
        best = sorted(found.items(), key=itemgetter(1, 0), reverse=True)[:depth]
        for place, (document, score) in enumerate(best, start=1):
            yield f"{topic} Q0 {_trec_id(document)} {place} {score!r} {tag}\n"


@lru_cache(maxsize=2**17)
def _trec_id(text: str) -> str:
    return text if text.isprintable() and not set(text) & {" ", "%"} else quote(text, safe="")
