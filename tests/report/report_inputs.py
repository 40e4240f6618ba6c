"""A small comparison with everything that the report shows, and with texts that would do harm if they were not escaped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.picture import picture
from ragcun.evaluate.results import COMPRESSION_FILE, score_run, write_evaluation
from ragcun.evaluate.vectors import Vectors
from ragcun.report.comparison import compare
from ragcun.report.compression import read_compression
from ragcun.report.explorer import explorer
from ragcun.report.gallery import charts
from ragcun.report.leakage import COLUMNS
from ragcun.report.page import Contents, per_pair

QUERIES, DOCUMENTS = 40, 60
SCRIPT = "<script>document.title = 'owned'</script> & \"quotes\""
CLOSING = "</script><img src=x onerror=\"document.title='owned'\"><!-- {{ 7 * 7 }}"
MODELS = ("bm25", "base", "mine")
BENCHMARKS = ("first", "second <b>")


def harmful_benchmark(name: str) -> Benchmark:
    """Its first query and its first document are HTML."""
    queries = {f"q{i}": SCRIPT if i == 0 else f"question {i} of the {name}" for i in range(QUERIES)}
    bodies = [
        CLOSING if i == 0 else f"The text of document {i}, " + "which goes on and on, " * 20 for i in range(DOCUMENTS)
    ]
    titles = [CLOSING if i == 0 else "" if i == 1 else f"Title {i}" for i in range(DOCUMENTS)]
    qrels = {f"q{i}": {f"d{i}": 2, f"d{(i + 1) % DOCUMENTS}": 1} for i in range(QUERIES)}
    return Benchmark(name, [f"d{i}" for i in range(DOCUMENTS)], titles, bodies, {"test": queries}, {"test": qrels})


def write_results(runs: Path, benchmark: Benchmark) -> None:
    """What evaluations of MODELS write: each finds more than the one before it, and the last not the first query."""
    for place, model in enumerate(MODELS):
        rng = np.random.default_rng(place)
        run = {}
        for query, judged in benchmark.qrels["test"].items():
            scores = {document: float(rng.uniform()) for document in benchmark.doc_ids}
            for document in judged if rng.uniform() < 0.3 * (place + 1) else ():
                scores[document] += 1
            if query == "q0":
                scores |= dict.fromkeys(judged, 2.0 - 4.0 * (model == "mine"))
            run[query] = dict(sorted(scores.items(), key=lambda item: -item[1]))
        evaluation = score_run(benchmark, run, 1000, None if model == "bm25" else {"isoscore": 0.25 * place})
        if model != "bm25":
            vectors = rng.standard_normal((300, 8)) * np.linspace(0.2, 1, 8) ** place
            evaluation = replace(
                evaluation, picture=picture(Vectors(vectors, vectors[:90] + 0.3, vectors[:1], "cosine"))
            )
        folder = runs / model / benchmark.name
        write_evaluation(evaluation, runs.parent / "metrics" / model / f"{benchmark.name}.json", folder, 100, model)
        if model != "bm25":
            rows = [(8, "float32", 32, 0.5 + place / 10, 0.5), (8, "int8", 8, 0.45 + place / 10, 0.5)]
            table = pd.DataFrame(rows, columns=["dimensions", "format", "bytes", "ndcg@10", "dev_ndcg@10"])
            table.to_csv(folder / COMPRESSION_FILE, index=False)


def report_contents(folder: Path) -> Contents:
    """Everything of the report, from results that are written below `folder`."""
    runs, curves = folder / "runs", folder / "curves"
    curves.mkdir(parents=True)
    curve = {
        "step": [0, 5, 10],
        "epoch": [0, 0.5, 1],
        "dev_ndcg@10": [0.4, 0.5, 0.55],
        "dev_isoscore": [0.3, 0.25, 0.2],
    }
    pd.DataFrame(curve).to_csv(curves / "mine.tsv", sep="\t", index=False)
    explorers, seen = [], {}
    for name in BENCHMARKS:
        benchmark = harmful_benchmark(name)
        write_results(runs, benchmark)
        explorers.append(explorer(name, {"": benchmark}, MODELS, runs, per_pair(len(BENCHMARKS))))
        seen[name] = pd.DataFrame(False, index=list(benchmark.qrels["test"]), columns=list(COLUMNS))
    comparison = compare(MODELS, BENCHMARKS, runs=runs, leakage=seen, permutations=200, seed=0)
    compression = read_compression(MODELS, BENCHMARKS, runs)
    found = charts(comparison, compression, MODELS, runs=runs, curves=curves)
    changes = pd.DataFrame([("freeze_base", "true", SCRIPT)], columns=["key", "committed", "now"])
    sources = pd.DataFrame(
        [("pairs", SCRIPT, "CC0", "1", "9 rows")], columns=["data", "source", "licence", "revision", "size"]
    )
    return Contents(comparison, found, explorers, changes, sources, "a base", 42)
