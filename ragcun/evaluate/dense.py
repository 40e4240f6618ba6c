"""A dense model on a benchmark: vectors, exact search, scores.

Where the manifest says that the model's base made `data/embeddings/<benchmark>`, those vectors go through the projection
alone. Any other model encodes the texts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from ragcun import distributed
from ragcun.data.benchmark import Benchmark
from ragcun.encode.base import LAYOUT_FILE, cut_texts_at, load_base, similarity_of
from ragcun.encode.encoder import TextEncoder, describe
from ragcun.encode.store import corpus_and_queries, read_embeddings, scratch_folder, shared_array, write_embeddings
from ragcun.evaluate.results import Evaluation, score_run, search_depth
from ragcun.measure.isotropy import hubness, isotropy
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import Head
from ragcun.params import Embed, Similarity
from ragcun.search import exact

# Of a document, counted for hubness; a corpus with no more documents has no hubness.
NEIGHBOURS = 10


@dataclass(frozen=True)
class Vectors:
    """A model's vectors of a benchmark: corpus (N, D) and queries (Q, D) in file order, perhaps memory-mapped."""

    corpus: np.ndarray
    queries: np.ndarray
    similarity: Similarity


def evaluate_dense(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed, top_k: int) -> Evaluation:
    """Evaluate the model in a folder; all ranks share every part of the work.

    Args:
        embeddings: `data/embeddings/<benchmark>`, the base's vectors.
        embed: how texts are encoded where they must be.
        top_k: documents retrieved for a query.
    """
    query_ids = list(benchmark.all_queries)
    mine = distributed.shard(len(query_ids))
    with benchmark_vectors(model, benchmark, embeddings, embed) as vectors:
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
        # A single vector has no spread.
        shape = isotropy(vectors.corpus) if len(vectors.corpus) > 1 else {}
        if len(vectors.corpus) > NEIGHBOURS:
            shape["hubness"] = hubness(vectors.corpus, similarity=vectors.similarity, k=NEIGHBOURS)
    return score_run(benchmark, {query: found for part in parts for query, found in part.items()}, top_k, shape or None)


@contextmanager
def benchmark_vectors(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed) -> Iterator[Vectors]:
    """The benchmark's vectors under the model while the block runs, made from stored ones where they can be."""
    loaded = _load(model, embed)
    stored = read_embeddings(embeddings)
    base = list(loaded.base if isinstance(loaded, IsotropicGaussianEncoder) else loaded)
    with scratch_folder() as scratch:
        if stored.manifest != describe(loaded, base, embed.dtype):
            lists = corpus_and_queries(benchmark.doc_texts, benchmark.all_queries)
            write_embeddings(scratch / "live", TextEncoder.of(loaded, embed), lists, transient=True)
            arrays = read_embeddings(scratch / "live").arrays
        elif isinstance(loaded, IsotropicGaussianEncoder):
            head = loaded.head()
            arrays = {name: _projected(head, rows, scratch / f"{name}.npy") for name, rows in stored.arrays.items()}
        else:
            arrays = stored.arrays
        yield Vectors(arrays["corpus"], arrays["queries"], similarity_of(loaded))


def _load(folder: Path, embed: Embed) -> SentenceTransformer:
    """A model that cuts texts at the same length as those that were embedded."""
    device = str(distributed.device())
    saved = (folder / LAYOUT_FILE).is_file()
    model = IsotropicGaussianEncoder(str(folder), device=device) if saved else load_base(str(folder), device=device)
    cut_texts_at(model, embed.max_length)
    return model.eval()


def _projected(head: Head, rows: np.ndarray, path: Path) -> np.ndarray:
    """The projection of `rows`, memory-mapped in `path`; every rank projects its shard."""
    mine = distributed.shard(len(rows))
    with shared_array(path, (len(rows), head.get_embedding_dimension() or 0)) as projected:
        projected[mine] = head.project(rows[mine])
    return np.load(path, mmap_mode="r")
