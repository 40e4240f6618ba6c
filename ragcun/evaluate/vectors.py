"""A benchmark as a model sees it."""

from dataclasses import dataclass

import numpy as np

from ragcun.params import Similarity


@dataclass(frozen=True)
class Vectors:
    """A model's vectors of a benchmark: corpus (N, D) and queries (Q, D) in file order, perhaps memory-mapped."""

    corpus: np.ndarray
    queries: np.ndarray
    similarity: Similarity
