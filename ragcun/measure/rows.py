"""What the measures of vectors share: sums over ranks, the same sample for all, unit vectors, and a check of the values."""

import numpy as np
import torch

from ragcun import distributed
from ragcun.core.errors import RagcunError

# Measures that compare vectors with each other look at this many at most.
SAMPLE = 5000


def sum_of_ranks(array: np.ndarray) -> np.ndarray:
    """The sum of every rank's `array`, on every rank.

    >>> sum_of_ranks(np.array([1.5]))
    array([1.5])
    """
    return distributed.sum_over_ranks(torch.from_numpy(array).to(distributed.device())).cpu().numpy()


def sampled(vectors: np.ndarray, sample: int = SAMPLE, seed: int = 0) -> np.ndarray:
    """At most `sample` rows of `vectors` (N, D), in their order, as float64; the same on every rank.

    Raises:
        RagcunError: a value is not finite.

    >>> sampled(np.arange(6.0).reshape(3, 2), sample=2).shape
    (2, 2)
    """
    chosen = np.arange(len(vectors))
    if sample < len(vectors):
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), size=sample, replace=False))
    rows = np.asarray(vectors[chosen], dtype=np.float64)
    check_finite(rows)
    return rows


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows (N, D) with length 1; a zero vector stays.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: np.ndarray = rows / np.where(norms > 0, norms, 1)
    return directions


def check_finite(rows: np.ndarray) -> None:
    """Raise RagcunError where a vector holds NaN or infinity.

    >>> check_finite(np.ones((2, 2)))
    """
    if not np.isfinite(rows).all():
        raise RagcunError(
            "A vector holds NaN or infinity. Find the text it comes from; encoding in fp32 instead of half precision "
            "is the usual remedy."
        )
