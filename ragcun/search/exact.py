"""Exact top-k search whose result does not depend on how the work is cut.

The rounding of a matrix product depends on its shapes. So one query and document can score an ulp apart in two
chunkings: enough to reorder equal documents, or to change which enter the top k. Therefore

1. one fp32 matrix product scores each chunk of the corpus, but it only *nominates*: every document that could reach
   the top k, given the product's largest rounding error, is a candidate;
2. each candidate's score is computed again by itself: products of float32 numbers are exact in float64, they are summed
   in one fixed order of elementwise additions, and the sum is rounded to float32;
3. score and document id are packed into one int64 key, larger being better, so that a running `topk` over keys is a
   total order: score descending, then document id descending, as trec_eval ranks.

The error bound is |fl(q·d) − q·d| ≤ n·u/(1 − n·u) · Σ|q_i d_i|, for any order of summation (Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1). Memory is O(Q·k), and for each thread one query chunk times one
corpus chunk. The corpus is read once, chunk by chunk, and may be a memory map larger than memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import get_args

import numpy as np
import torch
from tqdm import tqdm

from ragcun.core.errors import RagcunError
from ragcun.measure.ranking import Run
from ragcun.params import Similarity

# Numbers in a block of candidates' vectors: few enough for a CPU's cache, enough to keep a GPU busy.
_BLOCK = {"cpu": 2**18}
_BLOCK_ELSEWHERE = 2**26
# Below every real key: only a score of NaN would be so small.
_EMPTY = torch.iinfo(torch.int64).min


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
    query_chunk: int = 128,
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
    by_id = sorted(range(len(corpus_ids)), key=corpus_ids.__getitem__)
    _check_unique(corpus_ids, by_id)
    rank_of_row = torch.tensor(by_id, dtype=torch.int64).argsort()
    best = torch.full((len(queries), min(k, len(corpus_ids))), _EMPTY, dtype=torch.int64, device=device)
    _fill(best, queries, corpus, rank_of_row, similarity, (query_chunk, corpus_chunk), progress)
    return _unpack(best.sort(dim=1, descending=True).values.cpu(), [corpus_ids[row] for row in by_id])


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


def _fill(
    best: torch.Tensor,
    queries: np.ndarray,
    corpus: np.ndarray,
    rank_of_row: torch.Tensor,
    similarity: Similarity,
    chunks: tuple[int, int],
    progress: bool,
) -> None:
    """Put each query's best keys into `best`, (Q, wanted), in no order."""
    with _full_precision(), _side_by_side(best.device) as side_by_side:
        sides = list(_sides(queries, chunks[0], similarity, best.device, "query"))
        parts = best.split(chunks[0])[: len(sides)]
        bar = tqdm(rank_of_row.split(chunks[1]), desc="search", unit="chunk", disable=not progress)
        for documents, ranks in zip(_sides(corpus, chunks[1], similarity, best.device, "document"), bar, strict=True):
            step = partial(_merge, documents=documents, ranks=ranks.to(best.device), similarity=similarity)
            for part, merged in zip(parts, side_by_side(step, parts, sides), strict=True):
                part.copy_(merged)


def _sides(rows: np.ndarray, size: int, similarity: Similarity, device: torch.device, name: str) -> Iterator["_Side"]:
    for at in range(0, len(rows), size):
        yield _Side(rows[at : at + size], similarity, device, name)


class _Side:
    """A chunk of queries or documents on the device: float32 vectors, their float64 copies and squared norms."""

    def __init__(self, rows: np.ndarray, similarity: Similarity, device: str | torch.device, name: str) -> None:
        # A copy: torch warns of read-only memory maps.
        self.vectors = torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)
        self.exact = self.vectors.double()
        self.squared_norms = _sum_rows(self.exact.square())
        if not bool(torch.isfinite(self.squared_norms).all()):
            raise RagcunError(
                f"A {name}'s vector holds NaN or infinity. Find the text it comes from; encoding in fp32 instead of "
                "half precision is the usual remedy."
            )
        if similarity == "cosine":
            norms = self.squared_norms.sqrt()
            self.vectors = (self.exact / torch.where(norms > 0, norms, 1.0)[:, None]).float()
            self.exact = self.vectors.double()
            self.squared_norms = _sum_rows(self.exact.square())


def _merge(
    best: torch.Tensor, queries: _Side, documents: _Side, ranks: torch.Tensor, similarity: Similarity
) -> torch.Tensor:
    """The best keys, (Q, wanted) int64 in no order, among `best` and this chunk's documents."""
    wanted = best.shape[1]
    query, document = _nominate(best, queries, documents, similarity)
    keys = _keys(_scores(queries, documents, query, document, similarity), ranks[document])
    # Candidates are sorted by query: a candidate's column is its place among those of its query.
    counts = torch.bincount(query, minlength=len(best))
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = int(counts.max())
    candidates = torch.full((len(best), width), _EMPTY, dtype=torch.int64, device=best.device)
    candidates[query, column] = keys
    return torch.cat([best, candidates], dim=1).topk(wanted, dim=1, sorted=False).values


def _nominate(
    best: torch.Tensor, queries: _Side, documents: _Side, similarity: Similarity
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of `queries` and of `documents`, (P,) each: all pairs that may be among the best."""
    wanted = best.shape[1]
    approximate = queries.vectors @ documents.vectors.T
    if similarity == "euclidean":
        approximate.mul_(2).sub_(documents.squared_norms.float())
    error = _error_bound(queries, documents, similarity)
    worst = best.min(dim=1).values
    floor = torch.where(worst == _EMPTY, -torch.inf, _score_of_key(worst).double())
    if bool((worst == _EMPTY).any()) and approximate.shape[1] >= wanted:
        # `wanted` documents of this chunk score at least this much, so none below it is needed.
        reached = approximate.topk(wanted, dim=1, sorted=False).values.min(dim=1).values.double()
        floor = torch.maximum(floor, reached - error)
    # One more float32 step down, for the rounding of the floor itself.
    lowest = (floor - error).float()
    lowest = lowest.nextafter(torch.full_like(lowest, -torch.inf))
    query, document = (approximate >= lowest[:, None]).nonzero(as_tuple=True)
    return query, document


def _error_bound(queries: _Side, documents: _Side, similarity: Similarity) -> torch.Tensor:
    """For each query, (Q,) float64, how far a score by float32 matrix product may lie from the true one."""
    query_norms, longest = queries.squared_norms.sqrt(), documents.squared_norms.max().sqrt()
    magnitude = query_norms * longest
    if similarity == "euclidean":
        magnitude = 2 * magnitude + longest.square()
    if bool((magnitude >= torch.finfo(torch.float32).max / 4).any()):
        raise RagcunError(
            "The vectors are so long that a score may overflow float32. Scale them down, or use the cosine similarity."
        )
    # n·u/(1 − n·u) ≤ 2·n·u, with a few more operations for doubling, subtracting and rounding. A product that
    # underflows loses up to `tiny`, the smallest normal number.
    operations = queries.vectors.shape[1] + 8
    precision = torch.finfo(torch.float32)
    return operations * (precision.eps * magnitude + precision.tiny)


def _scores(
    queries: _Side, documents: _Side, query: torch.Tensor, document: torch.Tensor, similarity: Similarity
) -> torch.Tensor:
    """The pairs' scores, (P,) float32, each computed by itself."""
    scores = torch.empty(len(query), dtype=torch.float64, device=query.device)
    size = max(1, _BLOCK.get(query.device.type, _BLOCK_ELSEWHERE) // queries.exact.shape[1])
    for start in range(0, len(query), size):
        pairs = slice(start, start + size)
        products = documents.exact.index_select(0, document[pairs])
        scores[pairs] = _sum_rows(products.mul_(queries.exact.index_select(0, query[pairs])))
    if similarity == "euclidean":
        scores = scores.mul_(2).sub_(documents.squared_norms[document])
    return scores.float()


def _sum_rows(values: torch.Tensor) -> torch.Tensor:
    """Row sums, (P,), of `values` (P, D), which are overwritten.

    The right half of the columns is added to the left until one column is left. Elementwise additions are the same
    everywhere; the order of `sum` may follow the shape and the number of threads.
    """
    width = values.shape[1]
    while width > 1:
        half = (width + 1) // 2
        values[:, : width - half] += values[:, half:width]
        width = half
    return values[:, 0].clone()


def _keys(scores: torch.Tensor, ranks: torch.Tensor) -> torch.Tensor:
    """int64 keys ordered by score, then by `ranks` (the id's place in ascending order)."""
    # Adding 0 turns −0 into +0: the two must tie.
    bits = (scores + 0.0).view(torch.int32)
    return _monotone(bits).long() * 2**32 + ranks


def _score_of_key(keys: torch.Tensor) -> torch.Tensor:
    return _monotone((keys >> 32).int()).view(torch.float32)


def _monotone(bits: torch.Tensor) -> torch.Tensor:
    """float32 bits as int32 in the order of the floats, negative ones too; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _unpack(keys: torch.Tensor, ids_by_rank: list[str]) -> Hits:
    """Sorted keys, (Q, wanted), as hits."""
    scores, ranks = _score_of_key(keys).numpy(), (keys & 0xFFFFFFFF).numpy()
    return Hits([[ids_by_rank[rank] for rank in row] for row in ranks.tolist()], list(scores))


@contextmanager
def _side_by_side(device: torch.device) -> Iterator[Callable[..., Iterable[torch.Tensor]]]:
    """A `map` that on a CPU runs its calls in threads of one core each.

    The calls are many small operations. If each were spread over the cores, it would wait for the slowest core: beside
    another busy process, that made the search ten times slower.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield map
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
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


def _check_unique(ids: Sequence[str], by_id: list[int]) -> None:
    for first, second in pairwise(by_id):
        if ids[first] == ids[second]:
            raise RagcunError(
                f"Rows {first} and {second} of the corpus share the id {ids[first]!r}: give each document its own."
            )
