"""Splits for a user's pairs that name none: queries that share an answer lie in one split.

1. Queries with an answer in common, directly or through further queries, are a group. A keyed hash of one of its queries
   draws the split of them all, so that no training pair's answer is a held-out one.
2. A group of more queries than the smaller of the dev and test shares is divided by its answers: each is drawn by its
   own hash, and a query is held out where all its answers are, in one split. Its other queries are for training; those
   of their pairs whose answer is held out are lost, as preparing removes them.
3. An answer that alone has more queries than that is never held out.

Only hashes of 8 bytes are held. Two texts of one hash would do no more than join their groups.
"""

from array import array
from dataclasses import dataclass
from typing import get_args

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ragcun.data.text import normal_form, query_key
from ragcun.param_data import OwnPairs as Settings
from ragcun.sources.draw import keyed_hash
from ragcun.sources.records import Split

_SPLITS: tuple[Split, ...] = get_args(Split)
_TRAIN, _DEV, _TEST = map(_SPLITS.index, ("train", "dev", "test"))


@dataclass(frozen=True)
class Division:
    """The drawn splits.

    held_out: the split of each held-out query, by its hash; all others are for training.
    queries, groups: their numbers. largest: the queries of the largest group.
    divided: queries of groups too large for one split. lost: their training pairs with a held-out answer.
    """

    key: bytes
    held_out: dict[int, Split]
    queries: int
    groups: int
    largest: int
    divided: int
    lost: int

    def split_of(self, query: str) -> Split:
        return self.held_out.get(keyed_hash(query_key(query), self.key), "train")


class Draw:
    """Gathers the pairs, then draws: `settings` has the shares of dev and test, `seed` keys the hashes."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings, self._key = settings, seed.to_bytes(8, "big")
        self._queries, self._answers = array("Q"), array("Q")

    def add(self, query: str, answer: str) -> None:
        self._queries.append(keyed_hash(query_key(query), self._key))
        self._answers.append(keyed_hash(normal_form(answer), self._key))

    def division(self) -> Division:
        """The splits of all pairs that were added."""
        if not self._queries:
            return Division(self._key, {}, 0, 0, 0, 0, 0)
        queries, query = np.unique(np.frombuffer(self._queries, dtype=np.uint64), return_inverse=True)
        answers, answer = np.unique(np.frombuffer(self._answers, dtype=np.uint64), return_inverse=True)
        group = _groups(query, answer)
        sizes = np.bincount(group)
        most = max(1.0, len(queries) * min(filter(None, (self.settings.dev_ratio, self.settings.test_ratio))))
        # A group's drawing query is chosen by the low bytes of the hash, as the high ones draw.
        order = np.argsort(queries.byteswap())
        first = order[np.unique(group[order], return_index=True)[1]]
        split = self._drawn(queries[first])[group]
        divided = (sizes > most)[group]
        if divided.any():
            by_answers = _by_answers(query, answer, self._drawn(answers), most)
            split = np.where(divided, by_answers, split)
        held_out = np.zeros(len(answers), dtype=bool)
        held_out[answer[split[query] != _TRAIN]] = True
        chosen = np.flatnonzero(split != _TRAIN)
        return Division(
            key=self._key,
            held_out={int(queries[i]): _SPLITS[split[i]] for i in chosen},
            queries=len(queries),
            groups=len(sizes),
            largest=int(sizes.max()),
            divided=int(divided.sum()),
            lost=int((held_out[answer] & (split[query] == _TRAIN)).sum()),
        )

    def _drawn(self, hashes: np.ndarray) -> np.ndarray:
        share, test = hashes / 2.0**64, self.settings.test_ratio
        return np.select([share < test, share < test + self.settings.dev_ratio], [_TEST, _DEV], _TRAIN)


def _groups(query: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The number of each query's group."""
    count, size = query.max() + 1, query.max() + answer.max() + 2
    graph = coo_array((np.ones(len(query), dtype=np.int8), (query, count + answer)), shape=(size, size))
    _, number = connected_components(graph, directed=False)
    return number[:count]


def _by_answers(query: np.ndarray, answer: np.ndarray, drawn: np.ndarray, most: float) -> np.ndarray:
    """Each query's split where the answers are drawn: that of all its answers where it is one, else train."""
    distinct = np.unique(query * len(drawn) + answer)
    drawn = np.where(np.bincount(distinct % len(drawn)) > most, _TRAIN, drawn)
    lowest, highest = np.full(query.max() + 1, len(_SPLITS)), np.full(query.max() + 1, -1)
    np.minimum.at(lowest, query, drawn[answer])
    np.maximum.at(highest, query, drawn[answer])
    return np.where(lowest == highest, lowest, _TRAIN)
