"""A user's own pairs: a .jsonl, .csv, .tsv or .parquet file with a row a query and its answer.

    query       also called anchor or question
    positive    also called positives, pos, answer, passage or document; a list gives a pair for each of its texts
    negatives   optional, also called negative or neg, and the columns negative_1, negative_2, …; a text or a list of
                texts; all of these columns are taken together
    split       optional: train, dev (or validation) and test

A column of the first name wins over those of the other names; two of the others are an error. Further columns are not
read; but label, labels and, where there are no negatives, score and scores are an error: by them some rows hold no answer.
In a .csv and .tsv a cell of negatives, neg, positives or pos that begins with [ is a list in JSON. The layouts are those of
sentence-transformers' datasets, and what its `mine_hard_negatives` writes as triplets and n-tuples.

Without a column `split` the pairs are divided by query: a keyed hash of the query, read as `query_key` reads it, decides,
so that all pairs of a query lie together, and a row stays in its split when the file grows.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ragcun import params
from ragcun.errors import RagcunError
from ragcun.raw import Pair, Split, query_key
from ragcun.source_report import SourceReport
from ragcun.sources.own_file import Reading, reading, shown
from ragcun.sources.tables import Row, read_rows
from ragcun.text import clean_text

logger = logging.getLogger(__name__)

KEY = "data.pairs"
SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")

_QUERY = ("query", "anchor", "question")
_POSITIVE = ("positive", "positives", "pos", "answer", "passage", "document")
_NEGATIVES = ("negatives", "negative", "neg")
_LABELS = ("label", "labels", "score", "scores")
_NUMBERED = re.compile(r"negative_(\d{1,4})")
_LISTS = ("negatives", "neg", "positives", "pos")
_SPLITS: dict[str, Split] = {"train": "train", "dev": "dev", "validation": "dev", "test": "test"}
# Queries told apart for a message about too few of them.
_COUNTED = 10_000


class OwnPairs:
    """The pairs of the file at `path`.

    Args:
        path: relative to the project's folder, absolute, or from `~`.
        settings: the shares of dev and test queries, where the file has no column `split`.
        seed: of the division into splits.
    """

    def __init__(self, path: Path, settings: params.OwnPairs, seed: int) -> None:
        self.path, self.settings, self.seed = path, settings, seed

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        """Stream the pairs, in the file's order.

        Raises RagcunError as `own_file.reading` does, and for: unknown columns, an unknown split, a split in some rows
        and not in others, no pair of a split.
        """
        with reading(self.path, report, key=KEY, suffixes=SUFFIXES) as account:
            splits = _Splits(account, self.settings, self.seed)
            for row in read_rows(account, lambda names: _columns(account.path, names)):
                for pair in _pairs(row, account, splits):
                    splits.given[pair.split] += 1
                    yield pair
        splits.check()


@dataclass(frozen=True)
class _Layout:
    """Which columns hold what."""

    query: str
    positive: str
    negatives: tuple[str, ...]
    split: str | None

    @property
    def columns(self) -> set[str]:
        return {self.query, self.positive, *self.negatives} | ({self.split} if self.split else set())


def _columns(path: Path, names: tuple[str, ...]) -> set[str]:
    """The columns that are read; logged, as what a column is called decides what it is."""
    layout = _layout(path, names)
    unread = [shown(name) for name in names if name not in layout.columns]
    logger.info(
        "queries are read from %s, positives from %s, negatives from %s; splits from %s; not read: %s",
        layout.query,
        layout.positive,
        ", ".join(layout.negatives) or "nowhere",
        layout.split or "data.own_pairs",
        ", ".join(unread[:20]) or "none",
    )
    return layout.columns


@lru_cache(maxsize=64)
def _layout(path: Path, names: tuple[str, ...]) -> _Layout:
    query, positive = (_pick(path, names, role) for role in (_QUERY, _POSITIVE))
    if query is None or positive is None:
        found = ", ".join(map(shown, names[:20])) + (", …" if len(names) > 20 else "")
        raise RagcunError(
            f"{path} has the columns {found or 'none'}; it needs `query` (or {', '.join(_QUERY[1:])}) and `positive` "
            f"(or {', '.join(_POSITIVE[1:])}), and may have `negatives` and `split`: rename them"
        )
    numbered = sorted((int(match[1]), match[0]) for match in map(_NUMBERED.fullmatch, names) if match)
    negatives = (*(name for name in _NEGATIVES if name in names), *(name for _, name in numbered))
    for label in _LABELS:
        # Beside negatives, a score is how near they are.
        if label in names and not (negatives and label.startswith("score")):
            raise RagcunError(
                f"{path} has a column {label}, by which not every row need hold an answer; keep the rows that do, and "
                "remove it"
            )
    return _Layout(query, positive, negatives, "split" if "split" in names else None)


def _pick(path: Path, names: tuple[str, ...], role: tuple[str, ...]) -> str | None:
    found = [name for name in role if name in names]
    if len(found) > 1 and found[0] != role[0]:
        raise RagcunError(
            f"{path}: both {found[0]} and {found[1]} may be the {role[0]}; rename the right one to {role[0]}"
        )
    return found[0] if found else None


class _BadCell(Exception):
    """A cell that holds neither text nor texts."""


def _pairs(row: Row, account: Reading, splits: "_Splits") -> Iterator[Pair]:
    """The pairs of a row: none where it is no use, one for each positive else."""
    try:
        layout = _layout(account.path, tuple(row.values))
    except RagcunError as error:
        # In a .jsonl, where only the first row's columns are known to be right.
        account.drop(row.number, "columns that are not those of a pair", str(error))
        return
    # Before anything is left out: a split that is wrong is an error wherever it stands.
    given = splits.given_in(row, layout)
    try:
        query, *more = _texts(row, layout.query, account) or [""]
        positives = _texts(row, layout.positive, account)
        negatives = [text for name in layout.negatives for text in _texts(row, name, account)]
    except _BadCell as error:
        account.unreadable(row.number, "a cell that holds neither text nor a list of texts", str(error))
        return
    if more:
        account.unreadable(row.number, "several queries in a row")
    elif not query:
        account.drop(row.number, "no query")
    elif not positives:
        account.drop(row.number, "no positive")
    else:
        split = given or splits.drawn_for(query)
        yield from _build(split, query, positives, negatives, row.number, account)


def _build(
    split: Split, query: str, positives: list[str], negatives: list[str], number: int, account: Reading
) -> Iterator[Pair]:
    answers = set(positives)
    kept = tuple(text for text in negatives if text not in answers)
    if len(kept) < len(negatives):
        account.report.altered["negatives equal to the positive were left out"] += len(negatives) - len(kept)
    if len(positives) > 1:
        account.report.noted["several positives in a row, each a pair"] += 1
    for positive in positives:
        if positive == query:
            account.drop(number, "a positive equal to its query")
        else:
            yield Pair(split, query, positive, kept)


def _texts(row: Row, name: str, account: Reading) -> list[str]:
    """The cleaned texts of a cell, without blank ones."""
    value = row.values[name]
    if account.suffix in (".csv", ".tsv") and name in _LISTS and value.lstrip().startswith("["):
        value = _parse_list(value, name)
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if part is not None and not isinstance(part, str):
            raise _BadCell(f"{name} holds {type(part).__name__}")
    return [text for text in (clean_text(part, account.report) for part in parts if part) if text]


def _parse_list(cell: str, name: str) -> list[Any]:
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise _BadCell(f"{name} begins with [ and is no list in JSON: write it with json.dumps") from error
    assert isinstance(value, list)
    return value


class _Splits:
    """Which split a row belongs to, and that none stays empty."""

    def __init__(self, account: Reading, settings: params.OwnPairs, seed: int) -> None:
        self.account, self.settings = account, settings
        self.given: Counter[Split] = Counter()
        self._key = seed.to_bytes(8, "big")
        self._column: bool | None = None
        self._queries: set[bytes] = set()

    def given_in(self, row: Row, layout: _Layout) -> Split | None:
        """The split that the row names; None where the file has no such column."""
        where = f"{self.account.path}, {self.account.where(row.number)}"
        if self._column is None:
            self._column = layout.split is not None
        if self._column != (layout.split is not None):
            raise RagcunError(f"{where}: some rows have a `split` and others have none; give one to all or to none")
        if layout.split is None:
            return None
        value = row.values[layout.split]
        if not isinstance(value, str) or value not in _SPLITS:
            raise RagcunError(f"{where}: the split is {shown(value)}; write one of {', '.join(_SPLITS)}")
        return _SPLITS[value]

    def drawn_for(self, query: str) -> Split:
        """The split of a query: the same in every file, whatever else is there."""
        digest = blake2b(query_key(query).encode(), key=self._key, digest_size=8).digest()
        if len(self._queries) < _COUNTED:
            self._queries.add(digest)
        share = int.from_bytes(digest, "big") / 2**64
        if share < self.settings.test_ratio:
            return "test"
        return "dev" if share < self.settings.test_ratio + self.settings.dev_ratio else "train"

    def check(self) -> None:
        """Raise RagcunError where there are pairs, and none of a split that there should be."""
        if not self.given:
            return
        for split in ("train", "dev", *(() if self._column or not self.settings.test_ratio else ("test",))):
            if self.given[split]:
                continue
            if self._column:
                raise RagcunError(
                    f"{self.account.path} gives no pair of the split {split}: name some rows so, or remove the column "
                    "`split` to have the pairs divided by query"
                )
            count = f"{len(self._queries)}{' or more' if len(self._queries) == _COUNTED else ''}"
            ratio = "test_ratio (or set it to 0)" if split == "test" else "dev_ratio"
            change = (
                "lower data.own_pairs.dev_ratio and test_ratio" if split == "train" else f"raise data.own_pairs.{ratio}"
            )
            raise RagcunError(
                f"{self.account.path} has {count} queries, and none of them falls into the split {split}: {change} in "
                "params.yaml, or give the file a column `split`"
            )
