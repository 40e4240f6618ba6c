"""BM25 on a benchmark."""

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import Evaluation, score_run, search_depth
from ragcun.measure.ranking import Run
from ragcun.search.bm25 import BM25Index


def evaluate_bm25(benchmark: Benchmark, top_k: int, *, progress: bool = False) -> Evaluation:
    """Evaluate BM25."""
    queries = benchmark.all_queries
    index = BM25Index(benchmark.doc_texts, progress=progress)
    ranked = index.ranked(list(queries.values()), [search_depth(benchmark, top_k)] * len(queries))
    run: Run = {
        query: {benchmark.doc_ids[row]: score for row, score in zip(rows.tolist(), scores.tolist(), strict=True)}
        for query, (rows, scores) in zip(queries, ranked, strict=True)
    }
    return score_run(benchmark, run, top_k, None)
