"""Stand-in queries: short crops of documents, for what a corpus without queries would be asked."""

import random
from collections.abc import Sequence
from typing import NamedTuple

COUNT = 1_000
SHORTEST, LONGEST = 5, 10
_SEED = 0


class StandIn(NamedTuple):
    """A crop, and the row of its document in the corpus."""

    row: int
    text: str


def stand_in_queries(documents: Sequence[str], count: int = COUNT) -> list[StandIn]:
    """Draw up to `count` documents and crop a run of 5 to 10 words out of each, the same ones every time.

    Documents of one word or none give no crop.

    >>> stand_in_queries(["the river Rhine rises in the Alps"] * 2)[0].text
    'river Rhine rises in the Alps'
    """
    drawn = random.Random(_SEED)
    rows = drawn.sample(range(len(documents)), min(count, len(documents)))
    found = []
    for row in sorted(rows):
        words = documents[row].split()
        length = drawn.randint(SHORTEST, LONGEST)
        at = drawn.randrange(max(1, len(words) - length + 1))
        if len(words) > 1:
            found.append(StandIn(row, " ".join(words[at : at + length])))
    return found
