"""How far a few vectors are the neighbours of all others, and how many are nobody's.

All ranks call together, each computes a share, and all get the same answer.
"""

import numpy as np

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.measure.rows import SAMPLE, sampled, sum_of_ranks
from ragcun.params import Similarity


def hubness(
    vectors: np.ndarray, *, similarity: Similarity = "cosine", k: int = 10, sample: int = SAMPLE, seed: int = 0
) -> dict[str, float]:
    """`hubness` and `antihubs` of vectors, from N_k: how often a vector is among the k nearest of another one.

    * `hubness`: the skewness of N_k, E(N_k − k)³ / σ³. It is near 0 without hubs, above 1 if a few vectors are everyone's
      neighbours, and 0 if all N_k are equal.
    * `antihubs`: the share of vectors with N_k = 0, which no other vector would find; 0 to 1.

    Source: Radovanović, Nanopoulos & Ivanović, Hubs in Space, JMLR 2010. Both grow with the number of vectors: compare equal
    samples.

    Args:
        vectors: (N, D), the same on every rank, perhaps memory-mapped. If N is above `sample`, so many rows are drawn
            with `seed`, and are neighbours among themselves.

    Raises:
        RagcunError: there are k or fewer vectors, or a value is not finite.

    >>> hubness(np.vstack([np.eye(3), np.full((1, 3), 0.5)]), k=1)["antihubs"]
    0.5
    """
    if similarity not in ("cosine", "dot", "euclidean"):
        raise RagcunError(f"Unknown similarity {similarity!r}: choose cosine, dot or euclidean.")
    rows = min(len(vectors), sample)
    if vectors.ndim != 2 or k < 1 or rows <= k:
        raise RagcunError(
            f"Hubness needs a k of 1 or more, and more vectors than k: k is {k}, the vectors {vectors.shape}."
        )
    points = sampled(vectors, sample, seed)
    occurrences = np.zeros(rows, dtype=np.int64)
    blocks = range(0, rows, 512)
    for start in blocks[distributed.shard(len(blocks))]:
        occurrences += np.bincount(_neighbours(points, start, start + 512, k, similarity).ravel(), minlength=rows)
    counts = sum_of_ranks(occurrences).astype(np.float64)
    return {"hubness": _skewness(counts), "antihubs": float((counts == 0).mean())}


def _neighbours(points: np.ndarray, start: int, stop: int, k: int, similarity: str) -> np.ndarray:
    """The k nearest other rows, (rows, k) in no order, of the rows from `start` to `stop`."""
    square_norms = np.einsum("ij,ij->i", points, points)
    nearness = points[start:stop] @ points.T
    if similarity == "cosine":
        # The norm of the row itself does not change the order.
        nearness /= np.sqrt(np.where(square_norms > 0, square_norms, 1))
    elif similarity == "euclidean":
        nearness = 2 * nearness - square_norms
    own = np.arange(len(nearness))
    nearness[own, start + own] = -np.inf
    return np.argpartition(-nearness, k - 1, axis=1)[:, :k]


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / variance**1.5 if variance > 0 else 0.0
