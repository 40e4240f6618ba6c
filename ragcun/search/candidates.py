"""The documents that may be among a query's best, kept while a corpus goes by.

A float32 matrix product scores each block of documents. A document becomes a candidate if its score, given the product's
largest rounding error, could reach the top k of what was seen so far. Where a query has many candidates, those that can no
longer reach it are dropped. Only the candidates that are left at the end get an exact score: little more than k a query.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ragcun.params import Similarity
from ragcun.search.scores import Vectors, error_bound, exact_scores, exact_vectors

# Candidates that a query may have beyond the k wanted, at least.
_ROOM = 256


class Candidates:
    """The candidates of some queries.

    Args:
        rows: (Q, D) the queries' vectors.
        corpus: (N, D), likewise, perhaps memory-mapped.
        corpus_ids: N unique ids.
        wanted: k, at most N.

    They are held as triples `query`, `row` of the corpus and `score`, ascending by query.

    >>> cpu, corpus = torch.device("cpu"), np.array([[3, 4], [4, 3], [0, 1]])
    >>> candidates = Candidates(np.eye(2), corpus, ["river", "boat", "star"], wanted=1, similarity="dot", device=cpu)
    >>> candidates.add(Vectors.of(corpus, "dot", cpu, "document"), start=0)
    >>> candidates.best()[0].tolist()
    [[1], [0]]
    """

    def __init__(
        self,
        rows: np.ndarray,
        corpus: np.ndarray,
        corpus_ids: Sequence[str],
        wanted: int,
        similarity: Similarity,
        device: torch.device,
    ) -> None:
        self.vectors = Vectors.of(rows, similarity, device, "query")
        self.exact, _ = exact_vectors(rows, similarity, device)
        self.corpus, self.corpus_ids, self.wanted, self.similarity = corpus, corpus_ids, wanted, similarity
        self.pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.counts = np.zeros(len(rows), dtype=np.int64)
        self.limit = wanted + max(wanted, _ROOM)
        # A query's k-th best exact score is this or more.
        self.floor = np.full(len(rows), -np.inf)
        # How far a held score may lie from the exact one.
        self.error = np.zeros(len(rows))

    def add(self, documents: Vectors, start: int) -> None:
        """Nominate among `documents`, which are the corpus' rows from `start` on."""
        products = self.vectors.values @ documents.values.T
        if self.similarity == "euclidean":
            products.mul_(2).sub_(documents.squared_norms.float())
        error = error_bound(self.vectors, documents, self.similarity)
        self.error = np.maximum(self.error, error)
        if self.counts.min() < self.wanted <= products.shape[1]:
            # As many documents of this block as are wanted score at least this much.
            self.floor = np.maximum(self.floor, kth_best(products, self.wanted) - error)
        query, column, score = at_least(products, _float32_below(self.floor - error))
        self.pieces.append((query, start + column, score))
        self.counts += np.bincount(query, minlength=len(self.counts))
        if self.counts.max() > self.limit:
            self._drop()

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """(Q, k) rows of the corpus and (Q, k) float32 exact scores: score descending, then document id descending."""
        self._settle()
        _, row, score = self.pieces[0]
        return row.reshape(-1, self.wanted), score.reshape(-1, self.wanted)

    def _drop(self) -> None:
        """Drop the candidates that have too low a score; where too many tie within the error, their exact scores decide."""
        query, row, score = self._gathered()
        table = self._table(query, score)
        enough = self.counts >= self.wanted
        kth = kth_best(torch.from_numpy(table), self.wanted).astype(np.float64)
        self.floor = np.where(enough, np.maximum(self.floor, kth - self.error), self.floor)
        self._keep(query, row, score, score >= (self.floor - self.error)[query])
        if self.counts.max() > (self.wanted + self.limit) // 2:
            self._settle()

    def _settle(self) -> None:
        """Give every candidate its exact score, and keep those that are wanted, best first."""
        query, row, _ = self._gathered()
        score = exact_scores(self.exact, self.corpus, query, row, self.similarity)
        order = ranked(query, row, score, self.corpus_ids)
        place = np.arange(len(query)) - (self.counts.cumsum() - self.counts)[query]
        self._keep(query, row[order], score[order], place < self.wanted)

    def _keep(self, query: np.ndarray, row: np.ndarray, score: np.ndarray, kept: np.ndarray) -> None:
        self.pieces = [(query[kept], row[kept], score[kept])]
        self.counts = np.bincount(query[kept], minlength=len(self.counts))

    def _gathered(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pieces as one, ascending by query."""
        query, row, score = (np.concatenate(parts) for parts in zip(*self.pieces, strict=True))
        order = np.argsort(query, kind="stable")
        return query[order], row[order], score[order]

    def _table(self, query: np.ndarray, score: np.ndarray) -> np.ndarray:
        """(Q, most candidates of a query) scores, padded with −∞."""
        table = np.full((len(self.counts), max(self.wanted, int(self.counts.max()))), -np.inf, dtype=np.float32)
        table[query, np.arange(len(query)) - (self.counts.cumsum() - self.counts)[query]] = score
        return table


def kth_best(scores: Tensor, k: int) -> np.ndarray:
    """The k-th largest number of each row, (Q,) float32.

    >>> kth_best(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    array([2.], dtype=float32)
    """
    if scores.device.type != "cpu":
        found: np.ndarray = scores.topk(k, dim=1, sorted=False).values.amin(dim=1).cpu().numpy()
        return found
    # Ten times as fast as topk on a CPU.
    at = scores.shape[1] - k
    return np.partition(scores.numpy(), at, axis=1)[:, at]


def at_least(scores: Tensor, lowest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and score of all `scores` (Q, N) that are `lowest` (Q,) or more, ascending by row; (P,) each.

    >>> at_least(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), np.array([2, 1], dtype=np.float32))[1]
    array([1, 0])
    """
    threshold = torch.from_numpy(lowest).to(scores.device)[:, None]
    if scores.device.type == "cpu":
        # Five times as fast as nonzero, where few are found.
        place = np.flatnonzero(np.greater_equal(scores.numpy(), threshold.numpy()))
        found = scores.numpy().ravel()[place]
    else:
        places = (scores >= threshold).view(-1).nonzero()[:, 0]
        place, found = places.cpu().numpy(), scores.view(-1)[places].cpu().numpy()
    row, column = np.divmod(place, scores.shape[1])
    # A short integer is sorted in linear time.
    return row.astype(np.int16 if len(scores) < 2**15 else np.int64), column, found


def ranked(query: np.ndarray, row: np.ndarray, score: np.ndarray, corpus_ids: Sequence[str]) -> np.ndarray:
    """The order, (P,), of pairs by query, then score descending, then the document's id descending.

    >>> ranked(np.array([0, 0]), np.array([0, 1]), np.array([0.5, 0.5], dtype=np.float32), ["boat", "river"])
    array([1, 0])
    """
    # One integer holds both: the bits of a float, where it is not negative, are in its order.
    bits = score.view(np.int32)
    key = query.astype(np.int64) * 2**32 - (bits ^ ((bits >> 31) & 0x7FFFFFFF))
    order = np.argsort(key)
    equal = key[order[:-1]] == key[order[1:]]
    if equal.any():
        # Ids are compared where they decide: sorting all of them takes as long as the search of a small corpus.
        places = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
        tied = order[places]
        rows, place = np.unique(row[tied], return_inverse=True)
        by_id = sorted(range(len(rows)), key=[corpus_ids[at] for at in rows.tolist()].__getitem__)
        rank = np.argsort(by_id)[place]
        order[places] = tied[np.lexsort((-rank, key[tied]))]
    return order


def _float32_below(values: np.ndarray) -> np.ndarray:
    """The float32 numbers next below, so that their own rounding excludes nothing."""
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf))
