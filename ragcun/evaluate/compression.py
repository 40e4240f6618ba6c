"""What a benchmark's documents lose in less space: NDCG@10 of a model's vectors in several formats, by bytes a document.

Queries stay in float32, but for `bits, both`, which compares bits with bits. `bits, then int8` searches bits with bits for
four times as many documents and ranks these by their int8 vectors, which are kept beside (on disk, as a rule). Every other
search is exact, so the differences are the formats' and not an index's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ragcun import distributed
from ragcun.data.benchmark import Benchmark
from ragcun.encode.store import scratch_folder
from ragcun.evaluate.formats import Decoded, Ranges, as_bits, as_float16, as_float32, as_int8
from ragcun.evaluate.results import search_depth
from ragcun.evaluate.vectors import Vectors, mapped_array
from ragcun.measure.ranking import Run, best_others, mean_scores, score_queries
from ragcun.measure.rows import unit
from ragcun.params import Similarity
from ragcun.search import exact

# The first so many dimensions of a vector, where it has more.
DIMENSIONS = (256, 128, 64, 32)
K = 10
# So many times K documents are found by bits and ranked by int8.
OVERSAMPLING = 4


@dataclass(frozen=True)
class _Format:
    """What comes back of a document and of a query, and how many bytes a document takes.

    reranked: what then ranks the documents that were found, with the query in float32.
    """

    name: str
    size: int
    documents: Decoded
    queries: Decoded = as_float32
    reranked: Decoded | None = None


def compression(vectors: Vectors, benchmark: Benchmark) -> pd.DataFrame:
    """A row for each format: `dimensions`, `format`, `bytes` a document, `ndcg@10` of the test queries and `dev_ndcg@10`.

    All ranks share the work. Arrays of the corpus' size are on disk, two at a time.
    """
    width = vectors.corpus.shape[1]
    rows: list[dict] = []
    for dimensions in (width, *(fewer for fewer in DIMENSIONS if fewer < width)):
        with scratch_folder() as scratch:
            cut = _cut(vectors, dimensions, scratch / "cut.npy")
            for each in _formats(cut.corpus, whole=dimensions == width):
                run = _run(cut, benchmark, each, scratch / f"{len(rows)}.npy")
                score = {"dimensions": dimensions, "format": each.name, "bytes": each.size}
                rows.append(score | _scores(benchmark, run))
    return pd.DataFrame(rows)


def _cut(vectors: Vectors, dimensions: int, path: Path) -> Vectors:
    """The first dimensions, at length 1 where the similarity is cosine, for a format is of what that sees."""

    def shaped(rows: np.ndarray) -> np.ndarray:
        return as_float32(unit(rows.astype(np.float64)) if vectors.similarity == "cosine" else rows)

    corpus = mapped_array(vectors.corpus[:, :dimensions], shaped, path)
    return replace(vectors, corpus=corpus, queries=shaped(np.asarray(vectors.queries[:, :dimensions])))


def _formats(corpus: np.ndarray, *, whole: bool) -> Iterator[_Format]:
    """The formats of the whole vectors, or of their first dimensions."""
    width = corpus.shape[1]
    packed, int8 = -(-width // 8), as_int8(Ranges.of(corpus))
    yield _Format("float32", 4 * width, as_float32)
    if whole:
        yield _Format("float16", 2 * width, as_float16)
    yield _Format("int8", width, int8)
    if whole:
        yield _Format("bits", packed, as_bits)
        yield _Format("bits, both", packed, as_bits, as_bits)
        yield _Format("bits, then int8", packed + width, as_bits, as_bits, reranked=int8)


def _run(cut: Vectors, benchmark: Benchmark, format_: _Format, path: Path) -> Run:
    """The best documents of every query, found by all ranks."""
    query_ids = list(benchmark.all_queries)
    mine = distributed.shard(len(query_ids))
    corpus = cut.corpus if format_.documents is as_float32 else mapped_array(cut.corpus, format_.documents, path)
    depth = search_depth(benchmark, K)
    hits = exact.search(
        format_.queries(cut.queries[mine]),
        corpus,
        benchmark.doc_ids,
        depth if format_.reranked is None else OVERSAMPLING * depth,
        cut.similarity,
        device=distributed.device(),
    )
    run = hits.to_run(query_ids[mine])
    if format_.reranked is not None:
        run = _reranked(run, cut, benchmark, mine, format_.reranked)
    return {query: found for part in distributed.gather_objects(run) for query, found in part.items()}


def _reranked(run: Run, cut: Vectors, benchmark: Benchmark, mine: slice, decoded: Decoded) -> Run:
    """The same documents with the scores of their `decoded` vectors, best first."""
    row_of = {document: row for row, document in enumerate(benchmark.doc_ids)}
    ranked: Run = {}
    for vector, (query, found) in zip(cut.queries[mine], run.items(), strict=True):
        documents = decoded(cut.corpus[[row_of[document] for document in found]])
        scores = dict(zip(found, _similarities(vector, documents, cut.similarity).tolist(), strict=True))
        ranked[query] = dict(sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True))
    return ranked


def _similarities(query: np.ndarray, documents: np.ndarray, similarity: Similarity) -> np.ndarray:
    """(n,), as ragcun.search.exact scores them, but for a factor that a query's scores share."""
    products = documents @ query
    squares: np.ndarray = np.square(documents).sum(axis=1)
    if similarity == "euclidean":
        return 2 * products - squares
    return products / np.sqrt(np.where(squares > 0, squares, 1)) if similarity == "cosine" else products


def _scores(benchmark: Benchmark, run: Run) -> dict[str, float]:
    best = best_others(run, benchmark.own_documents, K)
    names = {"test": "ndcg@10", "dev": "dev_ndcg@10"}
    return {
        names[split]: mean_scores(score_queries(qrels, best, (K,)))["ndcg@10"]
        for split, qrels in benchmark.qrels.items()
    }
