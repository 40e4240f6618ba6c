"""A user's pairs: a .jsonl, .csv, .tsv or .parquet file; each row has a query and its answer.

    query       also called anchor or question
    positive    also called positives, pos, answer, passage or document; a list gives a pair for each of its texts
    negatives   optional, also called negative or neg, and the columns negative_1, negative_2, …; a text or a list of
                texts; all of these columns are taken together
    split       optional: train, dev (or validation) and test

A column of the first name wins over those of the other names; two of the others are an error. Further columns are not
read, but label, labels and, without negatives, score and scores are an error: they say that some rows hold no answer.
In a .csv and .tsv a cell of negatives, neg, positives or pos that begins with [ is a list in JSON. The layouts are those of
sentence-transformers' datasets, and the triplets and n-tuples of its `mine_hard_negatives`.

Without a column `split` the file is read twice: first to see which queries share answers, as these must lie in one split
(`user_files.splits`).
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ragcun.core.errors import RagcunError
from ragcun.data.text import normal_form
from ragcun.param_data import OwnPairs as Settings
from ragcun.sources.clean import clean_text
from ragcun.sources.records import Pair, Split
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.file import Reading, listed, reading, shown
from ragcun.sources.user_files.splits import Division, Draw
from ragcun.sources.user_files.tables import Columns, Row, read_rows

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


class UserPairs:
    """The pairs of the file at `path`: relative to the project's folder, absolute, or from `~`.

    Without a column `split`, `settings` has the shares of dev and test queries, and `seed` draws them.
    """

    def __init__(self, path: Path, settings: Settings, seed: int) -> None:
        self.path, self.settings, self.seed = path, settings, seed

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        """Stream the pairs, in the file's order.

        Raises RagcunError as `reading` does, and for unknown columns, an unknown split, a split in some rows only, or no
        pair of a split.
        """
        kept: Counter[Split] = Counter()
        with reading(self.path, report, key=KEY, suffixes=SUFFIXES) as account:
            division = self._division(account)
            for pair in _read(account, lambda names: _columns(account.path, names)):
                split = pair.split or (division.split_of(pair.query) if division else "train")
                kept[split] += 1
                yield Pair(split, pair.query, pair.positive, pair.negatives)
        if kept:
            self._check(account.path, kept, division)

    def _division(self, account: Reading) -> Division | None:
        """The splits, where the file has no column for them; pairs lost to them are logged and counted."""
        draw = Draw(self.settings, self.seed)
        first = Reading(account.path, SourceReport(account.report.source), quiet=True)
        with closing(_read(first, lambda names: _layout(account.path, names).columns)) as pairs:
            for pair in pairs:
                if pair.split:
                    return None
                draw.add(pair.query, pair.positive)
        division = draw.division()
        if division.divided:
            account.report.noted[
                "pairs for training that preparing leaves out: held-out queries share their answers"
            ] = division.lost
            logger.warning(
                "%s: %d of %d queries share answers in groups too large for dev or test (the largest has %d): these are "
                "divided by their answers, and %d pairs for training are lost, as their answers are held out; give the "
                "file a column `split` to divide it otherwise",
                account.path,
                division.divided,
                division.queries,
                division.largest,
                division.lost,
            )
        return division

    def _check(self, path: Path, kept: Counter[Split], division: Division | None) -> None:
        """Raise RagcunError where there is no pair of a split that there should be."""
        for split in ("train", "dev", *(("test",) if division and self.settings.test_ratio else ())):
            if kept[split]:
                continue
            if not division:
                raise RagcunError(
                    f"{path} gives no pair of the split {split}: name some rows so, or remove the column `split` to "
                    "have the pairs divided by query"
                )
            count = f"{division.queries} queries"
            if division.groups < division.queries:
                count += f" in {division.groups} groups that share answers (the largest has {division.largest})"
            if split == "train":
                change = "lower data.own_pairs.dev_ratio and test_ratio"
            elif division.divided:
                change = (
                    "raise data.own_pairs.dev_ratio and test_ratio, as no group larger than these is held out whole,"
                )
            else:
                ratio = "test_ratio (or set it to 0)" if split == "test" else "dev_ratio"
                change = f"raise data.own_pairs.{ratio}"
            raise RagcunError(
                f"{path} has {count}, and none of them falls into the split {split}: {change} in params.yaml, or "
                "give the file a column `split`"
            )


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
    """The columns that are read; logged, so that the user sees what each was taken for."""
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
        raise RagcunError(
            f"{path} has the columns {listed(names)}; it needs `query` (or {', '.join(_QUERY[1:])}) and `positive` "
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


class _Parsed(NamedTuple):
    """A pair of the file; `split` is None where the file has no such column."""

    split: Split | None
    query: str
    positive: str
    negatives: tuple[str, ...]


def _read(account: Reading, columns: Columns) -> Generator[_Parsed, None, None]:
    """The pairs of the file. Raises RagcunError for an unknown split, and for one in some rows alone."""
    with_split: bool | None = None
    for row in read_rows(account, columns):
        try:
            layout = _layout(account.path, tuple(row.values))
        except RagcunError as error:
            # Only in a .jsonl: the columns of its first row alone were checked.
            account.drop(row.number, "columns that are not those of a pair", str(error))
            continue
        if with_split not in (None, bool(layout.split)):
            raise RagcunError(
                f"{account.path}, {account.where(row.number)}: some rows have a `split` and others have none; give one to "
                "all or to none"
            )
        with_split = bool(layout.split)
        yield from _pairs(row, layout, account)


def _pairs(row: Row, layout: _Layout, account: Reading) -> Iterator[_Parsed]:
    """The pairs of a row, one for each positive; none where it is no use."""
    # First, as a wrong split is an error even in a row that is left out.
    split = _split(row, layout, account)
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
        yield from _build(split, query, positives, negatives, row.number, account)


def _split(row: Row, layout: _Layout, account: Reading) -> Split | None:
    if layout.split is None:
        return None
    value = row.values[layout.split]
    if not isinstance(value, str) or value not in _SPLITS:
        raise RagcunError(
            f"{account.path}, {account.where(row.number)}: the split is {shown(value)}; write one of {', '.join(_SPLITS)}"
        )
    return _SPLITS[value]


def _build(
    split: Split | None, query: str, positives: list[str], negatives: list[str], number: int, account: Reading
) -> Iterator[_Parsed]:
    answers = set(map(normal_form, positives))
    kept = tuple(text for text in negatives if normal_form(text) not in answers)
    if len(kept) < len(negatives):
        account.report.altered["negatives equal to the positive were left out"] += len(negatives) - len(kept)
    if len(positives) > 1:
        account.report.noted["several positives in a row, each a pair"] += 1
    for positive in positives:
        if normal_form(positive) == normal_form(query):
            account.drop(number, "a positive equal to its query")
        else:
            yield _Parsed(split, query, positive, kept)


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
