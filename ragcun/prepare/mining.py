"""Mine hard negatives: the passages that BM25 ranks first for a query, without those that answer it."""

from collections.abc import Collection, Sequence
from itertools import islice

import numpy as np

from ragcun.data.pairs import Ids
from ragcun.search.bm25 import BM25Index


def mine(
    passages: Sequence[str],
    queries: Sequence[str],
    known: Sequence[Collection[int]],
    asked: Ids,
    struck: Sequence[Collection[int]],
    count: int,
) -> list[Ids]:
    """For each training row at most `count` passages that share a word with its query, best first.

    Args:
        passages, queries: the texts; ids are indices into them.
        known: the passages that answer each query.
        asked: (R,) the query of each row.
        struck: for each row, the negatives that it has already.
    """
    most_struck = [0] * len(queries)
    for query, ids in zip(asked.tolist(), struck, strict=True):
        most_struck[query] = max(most_struck[query], len(ids))
    # Deep enough that `count` remain when all that are known and struck rank first. A depth for each query: with the
    # deepest for all, one query of many answers would cost its depth times the number of queries.
    depths = [count + len(answers) + most for answers, most in zip(known, most_struck, strict=True)]
    ranked = BM25Index(passages, progress=True).ranked(queries, depths)
    candidates = [
        rows[~np.isin(rows, list(answers))][: count + most]
        for (rows, _), answers, most in zip(ranked, known, most_struck, strict=True)
    ]
    mined = []
    for query, ids in zip(asked.tolist(), struck, strict=True):
        others = (row for row in candidates[query].tolist() if row not in ids)
        mined.append(np.fromiter(islice(others, count), dtype=np.int64))
    return mined
