"""BM25 on a benchmark."""

from ragcun.benchmark import Benchmark
from ragcun.bm25 import BM25Index
from ragcun.evaluation import Evaluation, score_run
from ragcun.metrics import Run


def evaluate_bm25(benchmark: Benchmark, top_k: int, *, progress: bool = False) -> Evaluation:
    """Evaluate BM25; a document with the query's own id is dropped, as for dense models."""
    queries = benchmark.all_queries
    rows, scores = BM25Index(benchmark.doc_texts, progress=progress).search(list(queries.values()), top_k + 1)
    run: Run = {}
    for query, line, values in zip(queries, rows.tolist(), scores.tolist(), strict=True):
        found = {benchmark.doc_ids[row]: value for row, value in zip(line, values, strict=True) if value > 0}
        found.pop(query, None)
        run[query] = dict(list(found.items())[:top_k])
    return score_run(benchmark, run, None)
