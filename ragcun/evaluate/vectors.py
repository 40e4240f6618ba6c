"""A benchmark as a model sees it."""

from dataclasses import dataclass

import numpy as np

from ragcun.params import Similarity


@dataclass(frozen=True)
class Vectors:
    """A model's vectors of a benchmark, in file order, perhaps memory-mapped.

    Attributes:
        corpus, queries: (N, D) and (Q, D).
        stand_ins: (S, D), of the queries that `ragcun.adapt.stand_ins` draws from the corpus.
        similarity: how a query and a document are compared.
        directions: whether adapting sees unit vectors, because nothing but their direction leaves the model.
    """

    corpus: np.ndarray
    queries: np.ndarray
    stand_ins: np.ndarray
    similarity: Similarity
    directions: bool = False
