"""Exact top-k search whose result does not depend on how the work is cut.

The rounding of a matrix product depends on its shapes. So one query and document can score an ulp apart in two
chunkings: enough to reorder equal documents, or to change which enter the top k. Therefore

1. a float32 matrix product scores each block of the corpus, but it only *nominates*: every document that could reach
   the top k, given the product's largest rounding error, is a candidate (`candidates.py`);
2. each candidate that is left at the end is scored again by itself: products of float32 numbers are exact in float64,
   they are summed in one fixed order of elementwise additions, and the sum is rounded to float32 (`scores.py`);
3. these scores rank: score descending, then document id descending, as trec_eval ranks.

Memory is O(Q·k), and for each thread the products of one query chunk and one block. The corpus may be a memory map larger
than memory: all of it is read once, chunk by chunk, and the candidates' vectors again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from ragcun.core.errors import RagcunError
from ragcun.measure.ranking import Run
from ragcun.params import Similarity
from ragcun.search.candidates import Candidates
from ragcun.search.scores import Vectors

# Documents in one matrix product on a CPU: its result fits the cache.
_BLOCK = 4096


@dataclass(frozen=True)
class Hits:
    """The documents of each query, best first.

    `ids[i]` are the ids of query i's documents, and `scores[i]`, float32, their scores: the cosine, the dot product, or
    for euclidean 2q·d − ‖d‖² (‖q‖² minus it is the squared distance).
    """

    ids: list[list[str]]
    scores: list[np.ndarray]

    def to_run(self, query_ids: Sequence[str]) -> Run:
        """{query id: {document id: score}}; `query_ids` are in the order of the queries searched.

        >>> Hits([["river"]], [np.array([0.5])]).to_run(["q1"])
        {'q1': {'river': 0.5}}
        """
        ranked = zip(query_ids, self.ids, self.scores, strict=True)
        return {query: dict(zip(ids, scores.tolist(), strict=True)) for query, ids, scores in ranked}


def search(
    queries: np.ndarray,
    corpus: np.ndarray,
    corpus_ids: Sequence[str],
    k: int,
    similarity: Similarity,
    *,
    query_chunk: int = 512,
    corpus_chunk: int = 16384,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Hits:
    """The `k` best documents of each query: score descending, then document id descending (by code point).

    A query's result depends on its vector, the corpus and `similarity` alone: not on chunks, other queries, threads or
    the device (if it has float64). A zero vector has cosine 0 with everything.

    Args:
        queries: (Q, D), any float type, taken as float32; may be memory-mapped, and empty.
        corpus: (N, D), likewise, but not empty. A query gets min(k, N) documents.
        corpus_ids: N unique ids.

    Raises:
        RagcunError: shapes or ids do not fit; a vector is not finite, or so long that a score may overflow float32.

    >>> search(np.eye(2), np.array([[3, 4], [4, 3]]), ["river", "boat"], k=1, similarity="dot").ids
    [['boat'], ['river']]
    """
    _check_arguments(queries, corpus, corpus_ids, k, similarity, (query_chunk, corpus_chunk))
    _check_unique(corpus_ids)
    wanted, device = min(k, len(corpus)), torch.device(device)
    with _full_precision(), _side_by_side(device) as (threads, side_by_side):
        size = max(1, min(query_chunk, -(-len(queries) // threads)))
        parts = [
            Candidates(queries[at : at + size], corpus, corpus_ids, wanted, similarity, device)
            for at in range(0, len(queries), size)
        ]
        block = min(corpus_chunk, _BLOCK if device.type == "cpu" else corpus_chunk)
        for start in tqdm(range(0, len(corpus), corpus_chunk), desc="search", unit="chunk", disable=not progress):
            starts = range(start, min(start + corpus_chunk, len(corpus)), block)
            end = min(start + corpus_chunk, len(corpus))
            blocks = [corpus[at : min(at + block, end)] for at in starts]
            prepare = partial(Vectors.of, similarity=similarity, device=device, name="document")
            documents = list(zip(side_by_side(prepare, blocks), starts, strict=True))
            list(side_by_side(partial(_add, documents=documents), parts))
        found = list(side_by_side(Candidates.best, parts))
    return _unpack(found, corpus_ids)


def merge(parts: Sequence[Hits], k: int) -> Hits:
    """The `k` best documents of each query, from searches of the same queries in the parts of a corpus.

    >>> merge([Hits([["river"]], [np.array([0.5])]), Hits([["boat"]], [np.array([0.75])])], k=1).ids
    [['boat']]
    """
    merged = Hits([], [])
    for query in range(len(parts[0].ids)):
        found = [pair for part in parts for pair in zip(part.scores[query].tolist(), part.ids[query], strict=True)]
        best = sorted(found, reverse=True)[:k]
        merged.ids.append([document for _, document in best])
        merged.scores.append(np.array([score for score, _ in best], dtype=np.float32))
    return merged


def _add(candidates: Candidates, documents: Sequence[tuple[Vectors, int]]) -> None:
    for vectors, start in documents:
        candidates.add(vectors, start)


def _unpack(found: Sequence[tuple[np.ndarray, np.ndarray]], corpus_ids: Sequence[str]) -> Hits:
    hits = Hits([], [])
    for rows, scores in found:
        hits.ids.extend(list(map(corpus_ids.__getitem__, row)) for row in rows.tolist())
        hits.scores.extend(scores)
    return hits


@contextmanager
def _side_by_side(device: torch.device) -> Iterator[tuple[int, Callable[..., Iterable[Any]]]]:
    """The number of threads, and a `map` that on a CPU runs its calls in that many threads of one core each.

    The calls are many small operations. If each were spread over the cores, it would wait for the slowest core: beside
    another busy process, that made the search ten times slower.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield 1, map
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield threads, pool.map
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 matrix products in float32: the error bound does not hold for TF32 or bfloat16."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _check_arguments(
    queries: np.ndarray, corpus: np.ndarray, corpus_ids: Sequence[str], k: int, similarity: str, chunks: tuple[int, int]
) -> None:
    if similarity not in get_args(Similarity):
        raise RagcunError(f"Unknown similarity {similarity!r}: choose one of {', '.join(get_args(Similarity))}.")
    if k < 1 or min(chunks) < 1:
        raise RagcunError(f"k and the chunk sizes must be at least 1: k is {k}, the chunks are {chunks}.")
    if queries.ndim != 2 or corpus.ndim != 2 or queries.shape[1] != corpus.shape[1] or queries.shape[1] == 0:
        raise RagcunError(
            f"Queries {queries.shape} and corpus {corpus.shape} must be matrices of one width: encode both with one model."
        )
    if len(corpus_ids) != len(corpus) or len(corpus) == 0:
        raise RagcunError(f"{len(corpus)} document vectors and {len(corpus_ids)} ids: each document needs one of each.")


def _check_unique(ids: Sequence[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for row, name in enumerate(ids):
        first = seen.setdefault(name, row)
        if first != row:
            raise RagcunError(
                f"Rows {first} and {row} of the corpus share the id {name!r}: give each document its own."
            )
