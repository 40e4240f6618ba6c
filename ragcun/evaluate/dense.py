"""A model on a benchmark: vectors, exact search, scores.

A model whose base is the one that made `data/embeddings/<benchmark>` is evaluated from there, through its projection
alone; that it is so is seen from the manifest, not from a flag. Any other model encodes the texts live.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ragcun import distributed
from ragcun.data.benchmark import Benchmark
from ragcun.encode.base import LAYOUT_FILE, cut_texts_at, load_base
from ragcun.encode.encoder import TextEncoder, describe
from ragcun.encode.store import Texts, read_embeddings, scratch_folder, shared_array, write_embeddings
from ragcun.evaluate.results import Evaluation, score_run, search_depth
from ragcun.measure.isotropy import hubness, isotropy
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import Head
from ragcun.params import Embed, Similarity
from ragcun.search import exact

# Of a document, counted for hubness; a corpus that has no more documents has no hubness.
NEIGHBOURS = 10


@dataclass(frozen=True)
class Vectors:
    """A benchmark as a model sees it: corpus (N, D) and queries (Q, D) in file order, perhaps memory-mapped."""

    corpus: np.ndarray
    queries: np.ndarray
    similarity: Similarity


def evaluate_dense(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed, top_k: int) -> Evaluation:
    """Evaluate the model in a folder; all ranks together, each its share of every part of the work.

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
        # A single vector has no spread: the figures are left out.
        shape = isotropy(vectors.corpus) if len(vectors.corpus) > 1 else {}
        if len(vectors.corpus) > NEIGHBOURS:
            shape["hubness"] = hubness(vectors.corpus, similarity=vectors.similarity, k=NEIGHBOURS)
    return score_run(benchmark, {query: found for part in parts for query, found in part.items()}, top_k, shape or None)


@contextmanager
def benchmark_vectors(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed) -> Iterator[Vectors]:
    """The benchmark's vectors under the model, for the time of the block: from the store where they can be."""
    loaded, base = _load(model, embed)
    stored = read_embeddings(embeddings)
    similarity: Similarity = loaded.similarity_fn_name  # type: ignore[assignment]
    from_store = stored.manifest == describe(loaded, base, embed.dtype)
    if from_store and not isinstance(loaded, IsotropicGaussianEncoder):
        yield Vectors(stored.arrays["corpus"], stored.arrays["queries"], similarity)
        return
    with scratch_folder() as scratch:
        if from_store:
            assert isinstance(loaded, IsotropicGaussianEncoder)
            for name in ("corpus", "queries"):
                _project(loaded.head(), stored.arrays[name], scratch / f"{name}.npy")
            arrays = {name: np.load(scratch / f"{name}.npy", mmap_mode="r") for name in ("corpus", "queries")}
        else:
            encoder = TextEncoder.of(loaded, embed)
            lists = {
                "corpus": Texts.of(benchmark.doc_texts, "passage"),
                "queries": Texts.of(list(benchmark.all_queries.values()), "query"),
            }
            write_embeddings(scratch / "live", encoder, lists, transient=True)
            arrays = read_embeddings(scratch / "live").arrays
        yield Vectors(arrays["corpus"], arrays["queries"], similarity)


def _load(folder: Path, embed: Embed) -> tuple[SentenceTransformer, Sequence[Any]]:
    """A model and, of its modules, the base's; cut off at the same length as what was embedded."""
    device = str(distributed.device())
    if (folder / LAYOUT_FILE).is_file():
        encoder = IsotropicGaussianEncoder(str(folder), device=device)
        loaded, base = encoder, list(encoder.base)
    else:
        loaded = load_base(str(folder), device=device)  # type: ignore[assignment]
        base = list(loaded)
    cut_texts_at(loaded, embed.max_length)
    return loaded.eval(), base


def _project(head: Head, rows: np.ndarray, path: Path) -> None:
    """Every rank projects its shard of the rows into one shared array."""
    mine = distributed.shard(len(rows))
    with shared_array(path, (len(rows), head.get_embedding_dimension() or 0)) as projected:
        projected[mine] = head.project(rows[mine])
