"""Which of the given pairs may be used: those of a split that touch nothing held out, and their negatives.

All of it is decided on digests of the texts, in arrays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.data.digests import DigestList, Digests, Numbering, joined, ranges
from ragcun.data.pairs import Ids
from ragcun.data.text import document_keys, normal_form, query_key
from ragcun.sources.records import Pair, Passage, Split

_SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Documents:
    """The P given passages in digests of their normal forms: `full` is of title and body, `body` of the body alone.

    A pair holds a document as one text, with the title or without. So two texts are the same document where they are
    equal, or one is title and body of a passage and the other its body. Passages that share a body under different titles
    are different documents; the body without a title is the same as each of them.
    """

    full: Digests
    body: Digests

    @classmethod
    def of(cls, passages: Iterable[Passage]) -> "Documents":
        full, body = DigestList(), DigestList()
        for passage in passages:
            keys = document_keys(passage.title, passage.text)
            full.add(keys[0])
            body.add(keys[-1])
        return cls(full.array(), body.array())

    @cached_property
    def titled(self) -> tuple[Digests, Digests]:
        """`full` and `body` of the passages that have two forms, each once."""
        first = Numbering.of(joined(self.full, self.body)).first & (self.full != self.body)
        return self.full[first], self.body[first]

    @cached_property
    def _forms(self) -> tuple[Digests, Digests]:
        """Every form of the titled passages, ascending, and the other form of each."""
        full, body = self.titled
        one, other = np.concatenate([full, body]), np.concatenate([body, full])
        order = np.argsort(one)
        return one[order], other[order]

    def others(self, texts: Digests) -> tuple[Ids, Digests]:
        """The other forms of the texts' documents: (M,) the index in `texts` that each belongs to, and (M,) digests."""
        one, other = self._forms
        start, end = (np.searchsorted(one, texts, side) for side in ("left", "right"))
        return np.repeat(np.arange(len(texts)), end - start), other[ranges(start, end)]

    def spread(self, texts: Digests) -> Digests:
        """The texts, and the other forms of their documents."""
        return np.concatenate([texts, self.others(np.unique(texts))[1]])


@dataclass(frozen=True)
class Given:
    """The N given pairs in digests of their texts' normal forms; `key` is of `query_key`.

    Pair i's negatives are `negative[bounds[i] : bounds[i + 1]]`. `documents` are the given passages.
    """

    documents: Documents
    split: np.ndarray
    query: Digests
    key: Digests
    positive: Digests
    negative: Digests
    bounds: Ids

    @classmethod
    def of(cls, documents: Documents, pairs: Iterable[Pair]) -> "Given":
        splits, counts = bytearray(), [0]
        query, key, positive, negative = DigestList(), DigestList(), DigestList(), DigestList()
        for pair in pairs:
            splits.append(_SPLITS.index(pair.split))
            query.add(normal_form(pair.query))
            key.add(query_key(pair.query))
            positive.add(normal_form(pair.positive))
            for text in pair.negatives:
                negative.add(normal_form(text))
            counts.append(len(pair.negatives))
        return cls(
            documents,
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

    def answers(self, pairs: np.ndarray) -> Digests:
        """The positives of the pairs, (N,) bool, in every form."""
        return self.documents.spread(self.positive[pairs])


@dataclass(frozen=True)
class UsablePairs:
    """The distinct pairs of a split that touch nothing held out.

    rows: (R,) places of the distinct pairs among the given ones, ascending. every: (M,) places, duplicates included.
    row: (M,) the place in `rows` of each.
    """

    rows: Ids
    every: Ids
    row: Ids
    counts: dict[str, int]

    @classmethod
    def of(cls, given: Given, split: str, held_out: np.ndarray) -> "UsablePairs":
        """`held_out`, (N,) bool, are the pairs whose documents and queries must not be seen."""
        mine = given.of_split(split)
        document = mine & np.isin(given.positive, given.answers(held_out))
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
    """Given negatives that stay, by train row, then as they came: indices (S,) in `Given.negative`, and the row of each."""

    slots: Ids
    row: Ids
    counts: dict[str, int]

    @classmethod
    def of(cls, given: Given, train: UsablePairs, held_out: np.ndarray) -> "Negatives":
        """Each once a row, without held-out documents and known positives."""
        sizes = np.diff(given.bounds)[train.every]
        row = np.repeat(train.row, sizes)
        slots = ranges(given.bounds[train.every], given.bounds[train.every] + sizes)
        by_row = np.argsort(row, kind="stable")
        slots, row = slots[by_row], row[by_row]
        # Known: the positives, in every form, of all rows whose query has the same key.
        key, positive = given.key[train.rows], given.positive[train.rows]
        of, others = given.documents.others(positive)
        known = np.concatenate([joined(key, positive), joined(key[of], others)])
        text = Numbering.of(given.negative[slots]).number
        once = Numbering.of(row * (len(slots) + 1) + text).first
        slots, row = slots[once], row[once]
        is_held_out = np.isin(given.negative[slots], given.answers(held_out))
        is_known = np.isin(joined(key[row], given.negative[slots]), known)
        kept = ~is_held_out & ~is_known
        counts = {
            "given": len(slots),
            "removed_held_out": int(is_held_out.sum()),
            "removed_known_positive": int(is_known.sum()),
            "kept": int(kept.sum()),
        }
        return cls(slots[kept], row[kept], counts)
