"""A benchmark as a model sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragcun import distributed
from ragcun.encode.store import shared_array
from ragcun.params import Similarity

# Rows that are mapped at once.
_ROWS_A_CHUNK = 65_536


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


def mapped_array(rows: np.ndarray, function: Callable[[np.ndarray], np.ndarray], path: Path) -> np.ndarray:
    """`function` of the rows (N, D), which keeps their width, memory-mapped as float32 in `path`; each rank maps its shard."""
    mine = distributed.shard(len(rows))
    with shared_array(path, (len(rows), rows.shape[1])) as mapped:
        for at in range(mine.start, mine.stop, _ROWS_A_CHUNK):
            part = slice(at, min(at + _ROWS_A_CHUNK, mine.stop))
            mapped[part] = function(np.asarray(rows[part]))
    return np.load(path, mmap_mode="r")
