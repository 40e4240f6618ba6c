"""BM25, the lexical baseline: `bm25s` with its defaults, English stop words and the English Snowball stemmer.

The defaults are Lucene's variant (of Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond,
2009) with k1 = 1.5 and b = .75. Its idf is positive, so a score is above 0 exactly if query and document share a stem.
"""

from collections.abc import Iterator, Sequence

import bm25s
import numpy as np
import Stemmer
from tqdm import tqdm

from ragcun.core.errors import RagcunError


class BM25Index:
    """An index of `texts`, whose row numbers name the documents.

    Raises:
        RagcunError: there is no text, or none has a word to index (two letters or more, not a stop word).

    >>> [(rows, scores)] = BM25Index(["bridges over a river", "a star"]).ranked(["the bridge"], depths=[2])
    >>> rows
    array([0])
    """

    def __init__(self, texts: Sequence[str], *, progress: bool = False) -> None:
        if not texts:
            raise RagcunError("BM25 was given no document to index: check the benchmark's corpus.")
        self._progress = progress
        tokens = self._tokenize(texts)
        if not any(tokens):
            raise RagcunError(
                f"None of the {len(texts)} documents has a word that BM25 can index (two letters or more, not an "
                "English stop word): check the corpus' texts and their language."
            )
        self._index = bm25s.BM25()
        self._index.index(tokens, show_progress=progress)

    def ranked(self, queries: Sequence[str], depths: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each query, one at a time, the rows, int64, and scores, float32, of its best documents.

        The order is score descending, then row ascending. A query gets as many documents as its depth says, or fewer:
        all that share a stem with it. A word that occurs twice in a query counts twice.

        Raises:
            RagcunError: a depth is below 1.
        """
        if min(depths, default=1) < 1:
            raise RagcunError(f"The number of documents to retrieve must be at least 1: it is {min(depths)}.")
        tokens = tqdm(self._tokenize(queries), desc="BM25 search", unit="query", disable=not self._progress)
        for words, depth in zip(tokens, depths, strict=True):
            every = self._index.get_scores_from_ids(self._index.get_tokens_ids(words))
            best = _best_rows(every, depth)
            yield best, every[best]

    def _tokenize(self, texts: Sequence[str]) -> list[list[str]]:
        # A new stemmer each time: threads cannot share one, and it costs nothing.
        return bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=Stemmer.Stemmer("english"),
            return_ids=False,
            show_progress=self._progress,
        )


def _best_rows(scores: np.ndarray, k: int) -> np.ndarray:
    """At most `k` rows of `scores` (N,) that are above 0: score descending, then row ascending."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k:
        # Keep all that tie with the k-th best: the row decides between them, not the partition.
        threshold = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= threshold]
    return rows[np.argsort(-scores[rows], kind="stable")][:k]
