"""A dense model on a benchmark: vectors, exact search, scores.

Where the manifest says that the model's base made `data/embeddings/<benchmark>`, those vectors go through the projection
alone. Any other model encodes the texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragcun import distributed
from ragcun.adapt.stand_ins import stand_in_rows
from ragcun.data.benchmark import Benchmark
from ragcun.encode.store import read_embeddings, scratch_folder, shared_array
from ragcun.evaluate.adapted import adapted_vectors
from ragcun.evaluate.compression import compression
from ragcun.evaluate.cost import cost
from ragcun.evaluate.picture import picture
from ragcun.evaluate.results import Evaluation, score_run, search_depth
from ragcun.evaluate.space import corpus_space, query_space
from ragcun.evaluate.vectors import Vectors
from ragcun.model.saved import SavedProjection, saved_projection
from ragcun.params import Embed
from ragcun.search import exact


def evaluate_dense(
    model: Path,
    benchmark: Benchmark,
    embeddings: Path,
    embed: Embed,
    top_k: int,
    adapt: float | None = None,
    compress: bool = False,
) -> Evaluation:
    """Evaluate the model in a folder; all ranks share every part of the work.

    Args:
        embeddings: `data/embeddings/<benchmark>`, the base's vectors.
        embed: how texts are encoded, if they must be.
        top_k: documents retrieved for a query.
        adapt: the IsoScore that the model is also adapted towards, for `Evaluation.adapted`; None for no such evaluation.
        compress: whether the model is also evaluated in less space, for `Evaluation.compression`.
    """
    with benchmark_vectors(model, benchmark, embeddings, embed) as vectors, scratch_folder() as scratch:
        plain = replace(_evaluate(vectors, benchmark, top_k), cost=cost(model, vectors), picture=picture(vectors))
        if compress:
            plain = replace(plain, compression=compression(vectors, benchmark))
        rows = stand_in_rows(len(vectors.corpus))
        # Of fewer texts nothing can be learned.
        if adapt is None or len(rows) < 2:
            return plain
        there, adaptation = adapted_vectors(vectors, rows, adapt, scratch)
        adapted = plain if adaptation.left_alone else _evaluate(there, benchmark, top_k)
        adapted = replace(adapted, adaptation=adaptation.figures(), cost=plain.cost, compression=None, picture=None)
        return replace(plain, adapted=adapted)


def _evaluate(vectors: Vectors, benchmark: Benchmark, top_k: int) -> Evaluation:
    query_ids = list(benchmark.all_queries)
    mine = distributed.shard(len(query_ids))
    hits = exact.search(
        vectors.queries[mine],
        vectors.corpus,
        benchmark.doc_ids,
        search_depth(benchmark, top_k),
        vectors.similarity,
        device=distributed.device(),
        progress=distributed.is_main(),
    )
    parts = distributed.gather_objects(hits.to_run(query_ids[mine]))
    run = {query: found for part in parts for query, found in part.items()}
    scored = score_run(benchmark, run, top_k, corpus_space(vectors) or None)
    return replace(scored, query_space=query_space(vectors, benchmark) or None)


@contextmanager
def benchmark_vectors(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed) -> Iterator[Vectors]:
    """The model's vectors of the benchmark while the block runs, made from stored ones if they can be."""
    stored = read_embeddings(embeddings)
    projection = saved_projection(model, stored.description, embed, distributed.device())
    with scratch_folder() as scratch:
        if projection is not None:
            arrays = {
                name: _projected(projection, rows, scratch / f"{name}.npy") for name, rows in stored.arrays.items()
            }
            yield Vectors(arrays["corpus"], arrays["queries"], arrays["stand_ins"], projection.similarity)
        else:
            # Imports the libraries of models, which takes longer than the work that a projection leaves to do.
            from ragcun.evaluate.whole_model import whole_model_vectors

            yield whole_model_vectors(model, benchmark, stored, embed, scratch)


def _projected(projection: SavedProjection, rows: np.ndarray, path: Path) -> np.ndarray:
    """The projection of `rows`, memory-mapped in `path`; every rank projects its shard."""
    mine = distributed.shard(len(rows))
    with shared_array(path, (len(rows), projection.dim)) as projected:
        projected[mine] = projection.project(rows[mine])
    return np.load(path, mmap_mode="r")
