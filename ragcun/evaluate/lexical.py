"""BM25 on a benchmark."""

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import Evaluation, score_run, search_depth
from ragcun.measure.ranking import Run
from ragcun.search.bm25 import BM25Index


def evaluate_bm25(benchmark: Benchmark, top_k: int, *, progress: bool = False) -> Evaluation:
    """Evaluate BM25."""
    queries = benchmark.all_queries
    index = BM25Index(benchmark.doc_texts, progress=progress)
    rows, scores = index.search(list(queries.values()), search_depth(benchmark, top_k))
    run: Run = {
        query: {benchmark.doc_ids[row]: value for row, value in zip(line, values, strict=True) if value > 0}
        for query, line, values in zip(queries, rows.tolist(), scores.tolist(), strict=True)
    }
    return score_run(benchmark, run, top_k, None)
