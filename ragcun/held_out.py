"""Which of the raw pairs may be used: those of a split that touch nothing held out, and their negatives.

All of it is decided on digests of the texts, in arrays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ragcun.digests import DigestList, Digests, Numbering, joined
from ragcun.errors import RagcunError
from ragcun.pairs import Ids
from ragcun.raw import Pair, Split, query_key

_SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Given:
    """The N raw pairs in digests: `key` is of what a query has in common with those that ask the same.

    Pair i's negatives are `negative[bounds[i] : bounds[i + 1]]`.
    """

    split: np.ndarray
    query: Digests
    key: Digests
    positive: Digests
    negative: Digests
    bounds: Ids

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "Given":
        splits, counts = bytearray(), [0]
        query, key, positive, negative = DigestList(), DigestList(), DigestList(), DigestList()
        for pair in pairs:
            splits.append(_SPLITS.index(pair.split))
            query.add(pair.query.strip())
            key.add(query_key(pair.query))
            positive.add(pair.positive.strip())
            for text in pair.negatives:
                negative.add(text.strip())
            counts.append(len(pair.negatives))
        return cls(
            np.frombuffer(splits, dtype=np.uint8),
            query.array(),
            key.array(),
            positive.array(),
            negative.array(),
            np.cumsum(counts, dtype=np.int64),
        )

    def of_split(self, *splits: str) -> np.ndarray:
        """(N,) bool."""
        return np.isin(self.split, [_SPLITS.index(split) for split in splits])


@dataclass(frozen=True)
class Selection:
    """The distinct pairs of a split that touch nothing held out.

    rows: (R,) raw places of the distinct pairs, ascending. every: (M,) raw places, duplicates included; row: (M,) the
    place in `rows` of each.
    """

    rows: Ids
    every: Ids
    row: Ids
    counts: dict[str, int]

    @classmethod
    def of(cls, given: Given, split: str, held_out: np.ndarray) -> "Selection":
        """`held_out`, (N,) bool, are the pairs whose documents and queries must not be seen."""
        mine = given.of_split(split)
        document = mine & np.isin(given.positive, given.positive[held_out])
        query = mine & ~document & np.isin(given.key, given.key[held_out])
        every = np.flatnonzero(mine & ~document & ~query)
        if not len(every):
            why = "all of them touch documents or queries of a held-out split" if mine.any() else "the source has none"
            raise RagcunError(f"there is no {split} pair: {why}; choose other data.pairs in params.yaml")
        distinct = Numbering.of(joined(given.query[every], given.positive[every]))
        counts = {
            "given": int(mine.sum()),
            "removed_document_held_out": int(document.sum()),
            "removed_query_held_out": int(query.sum()),
            "duplicates": int((~distinct.first).sum()),
            "kept": int(distinct.first.sum()),
        }
        return cls(every[distinct.first], every, distinct.number, counts)


@dataclass(frozen=True)
class Negatives:
    """Given negatives that stay: their places (S,) in `Given.negative`, and the train row of each; by row, as they came."""

    slots: Ids
    row: Ids
    counts: dict[str, int]

    @classmethod
    def of(cls, given: Given, train: Selection, held_out: np.ndarray) -> "Negatives":
        """Each once a row, without held-out documents and known positives."""
        sizes = np.diff(given.bounds)[train.every]
        row = np.repeat(train.row, sizes)
        slots = np.repeat(given.bounds[train.every] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        by_row = np.argsort(row, kind="stable")
        slots, row = slots[by_row], row[by_row]
        # Known are the positives of all rows whose query asks the same.
        known = joined(given.key[train.rows], given.positive[train.rows])
        text = Numbering.of(given.negative[slots]).number
        once = Numbering.of(row * (len(slots) + 1) + text).first
        slots, row = slots[once], row[once]
        is_held_out = np.isin(given.negative[slots], given.positive[held_out])
        is_known = np.isin(joined(given.key[train.rows[row]], given.negative[slots]), known)
        kept = ~is_held_out & ~is_known
        counts = {
            "given": len(slots),
            "removed_held_out": int(is_held_out.sum()),
            "removed_known_positive": int(is_known.sum()),
            "kept": int(kept.sum()),
        }
        return cls(slots[kept], row[kept], counts)
