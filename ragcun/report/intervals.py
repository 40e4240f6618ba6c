"""Bootstrap intervals of means over queries, many at a time: percentiles of the means of queries drawn with replacement.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. A mean of hundreds of queries is nearly
symmetric, so the percentiles need no correction for skewness.
"""

from collections.abc import Iterator

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
_BATCH = 512


def bootstrap_intervals(
    values: np.ndarray, seed: int, *, parts: np.ndarray | None = None, resamples: int = RESAMPLES
) -> np.ndarray:
    """95 % intervals (2, columns) of the column means of `values` (Q, columns): one drawing of queries serves all columns.

    Args:
        values: each times its query's weight in the mean.
        parts: (Q,), the part of the benchmark that a query is of; each part keeps its number of queries.

    >>> bootstrap_intervals(np.array([[0.0, 0.5], [1.0, 0.5]]), seed=0)
    array([[0. , 0.5],
           [1. , 0.5]])
    """
    drawn = (counts @ values / len(values) for counts in query_counts(len(values), seed, parts, resamples))
    return np.quantile(np.concatenate(list(drawn)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def query_counts(
    queries: int, seed: int, parts: np.ndarray | None = None, resamples: int = RESAMPLES
) -> Iterator[np.ndarray]:
    """Batches (n, Q) of how often each query was drawn, with replacement from its part.

    >>> next(query_counts(3, seed=0, resamples=5)).sum(axis=1)
    array([3., 3., 3., 3., 3.])
    """
    of_part = np.zeros(queries, dtype=np.int64) if parts is None else np.unique(parts, return_inverse=True)[1]
    order = np.argsort(of_part, kind="stable")
    sizes = np.bincount(of_part)
    size = np.repeat(sizes, sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _BATCH):
        rows = min(_BATCH, resamples - start)
        chosen = order[first + (rng.random((rows, queries)) * size).astype(np.int64)]
        places = chosen + queries * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float64)
