"""Stand-in queries: short crops of documents, for what a corpus without queries would be asked."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

COUNT = 1_000
# Words of a crop.
SHORTEST, LONGEST = 5, 10
_SEED = 0


class StandIn(NamedTuple):
    """A crop, and the row of its document in the corpus."""

    row: int
    text: str


def stand_in_rows(documents: int) -> np.ndarray:
    """Which of so many documents are cropped: all, or COUNT of them, ascending and the same every time.

    >>> stand_in_rows(3).tolist()
    [0, 1, 2]
    """
    return np.array(sorted(random.Random(_SEED).sample(range(documents), min(COUNT, documents))), dtype=np.int64)


def stand_in_queries(documents: Sequence[str]) -> list[StandIn]:
    """A run of 5 to 10 words out of each document of `stand_in_rows`, the same ones every time; shorter documents whole.

    >>> stand_in_queries(["the river Rhine"])
    [StandIn(row=0, text='the river Rhine')]
    """
    drawn = random.Random(_SEED)
    found = []
    for row in stand_in_rows(len(documents)).tolist():
        words = documents[row].split()
        length = drawn.randint(SHORTEST, LONGEST)
        at = drawn.randrange(max(1, len(words) - length + 1))
        found.append(StandIn(row, " ".join(words[at : at + length])))
    return found
