"""From raw passages and pairs to prepared ones: keep the splits apart, number the texts, mine hard negatives.

1. Nothing the held-out queries ask for is seen in training (C8). A document that answers a dev or test query, compared
   by its text, leaves the training passages, the train positives and the given negatives; a train pair whose query
   reads as a dev or test query leaves too. Dev is kept apart from test in the same way, so that the choice of a
   checkpoint does not look at test either.
2. Every distinct text becomes a row of one table: train passages first, so that their ids are 0 … T-1, in the order
   they came.
3. A train pair's hard negatives are those its source gave, then the first passages BM25 finds for its query among
   the train passages that are no known positive of it.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd

from ragcun.bm25 import BM25Index
from ragcun.errors import RagcunError
from ragcun.pairs import PreparedPairs, query_key
from ragcun.raw import Pair, Passage, document_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Row:
    """A distinct (query, positive) with the negatives its source gave, in texts."""

    query: str
    positive: str
    negatives: list[str]


@dataclass(frozen=True)
class _HeldOut:
    """What must not be seen: document texts and query keys."""

    documents: set[str]
    queries: set[str]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "_HeldOut":
        pairs = list(pairs)
        return cls({pair.positive.strip() for pair in pairs}, {query_key(pair.query) for pair in pairs})


def prepare(passages: Iterable[Passage], pairs: Iterable[Pair], *, mined_negatives: int) -> PreparedPairs:
    """Prepare the pairs for training; the same input gives the same output, to the byte.

    Args:
        passages: documents that may be trained on; those that answer held-out queries are removed.
        pairs: of all splits; the test pairs only say what to remove.
        mined_negatives: how many negatives to mine for a train pair, beside those it came with; 0 mines none.

    Raises:
        RagcunError: there is no train pair or no dev pair, or none is left.
    """
    by_split: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_split[pair.split].append(pair)
    if not by_split["test"]:
        logger.warning("the pairs have no test split: only the documents of the dev queries are kept out of training")
    held_out = _HeldOut.of(chain(by_split["dev"], by_split["test"]))
    report: dict[str, Any] = {}
    train, report["train_pairs"] = _select(by_split["train"], held_out, "train")
    dev, report["dev_pairs"] = _select(by_split["dev"], _HeldOut.of(by_split["test"]), "dev")
    train, report["negatives"] = _clean_negatives(train, held_out)
    documents = [document_text(passage.title, passage.text) for passage in passages]
    report["test"] = _test_report(by_split, documents)
    kept = [text for text in documents if text not in held_out.documents]
    table = _Table.of(kept, train, dev)
    report["passages"] = {
        "given": len(documents),
        "removed_held_out": len(documents) - len(kept),
        "train": table.train_passages,
        "dev": len(table.passages) - table.train_passages,
    }
    train_frame = _train_frame(table, train, mined_negatives)
    report["negatives"] |= _mined_report(train_frame, report["negatives"]["kept"])
    return PreparedPairs(table.frame(), train_frame, _frame(table, dev, [[] for _ in dev]), report)


def _select(pairs: Sequence[Pair], held_out: _HeldOut, split: str) -> tuple[list[_Row], dict[str, int]]:
    """The distinct pairs that touch nothing held out, and the counts."""
    rows: dict[tuple[str, str], _Row] = {}
    counts = {"given": len(pairs), "removed_document_held_out": 0, "removed_query_held_out": 0, "duplicates": 0}
    for pair in pairs:
        query, positive = pair.query.strip(), pair.positive.strip()
        if positive in held_out.documents:
            counts["removed_document_held_out"] += 1
        elif query_key(query) in held_out.queries:
            counts["removed_query_held_out"] += 1
        else:
            counts["duplicates"] += (query, positive) in rows
            row = rows.setdefault((query, positive), _Row(query, positive, []))
            row.negatives.extend(negative.strip() for negative in pair.negatives)
    if not rows:
        why = "all of them touch documents or queries of a held-out split" if pairs else "the source has none"
        raise RagcunError(f"there is no {split} pair: {why}; choose other data.pairs in params.yaml")
    return list(rows.values()), {**counts, "kept": len(rows)}


def _clean_negatives(rows: Sequence[_Row], held_out: _HeldOut) -> tuple[list[_Row], dict[str, int]]:
    """The rows with each given negative once, without held-out documents and known positives, and the counts."""
    positives: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        positives[query_key(row.query)].add(row.positive)
    counts = {"given": 0, "removed_held_out": 0, "removed_known_positive": 0}
    cleaned = []
    for row in rows:
        given = list(dict.fromkeys(row.negatives))
        known = positives[query_key(row.query)]
        negatives = [text for text in given if text not in held_out.documents and text not in known]
        counts["given"] += len(given)
        counts["removed_held_out"] += sum(text in held_out.documents for text in given)
        counts["removed_known_positive"] += sum(text in known for text in given)
        cleaned.append(_Row(row.query, row.positive, negatives))
    return cleaned, {**counts, "kept": sum(len(row.negatives) for row in cleaned)}


@dataclass(frozen=True)
class _Table:
    """The numbered texts: passages 0 … P-1, of which the first `train_passages` are train; then the queries."""

    passages: dict[str, int]
    train_passages: int
    queries: dict[str, int]
    train_queries: int

    @classmethod
    def of(cls, passages: Iterable[str], train: Sequence[_Row], dev: Sequence[_Row]) -> "_Table":
        in_train = dict.fromkeys(
            chain(passages, (row.positive for row in train), chain.from_iterable(row.negatives for row in train))
        )
        every = list(dict.fromkeys(chain(in_train, (row.positive for row in dev))))
        train_queries = dict.fromkeys(row.query for row in train)
        queries = list(dict.fromkeys(chain(train_queries, (row.query for row in dev))))
        return cls(
            passages={text: i for i, text in enumerate(every)},
            train_passages=len(in_train),
            queries={text: i for i, text in enumerate(queries, start=len(every))},
            train_queries=len(train_queries),
        )

    def frame(self) -> pd.DataFrame:
        parts = (
            ("passage", "train", self.train_passages),
            ("passage", "dev", len(self.passages) - self.train_passages),
            ("query", "train", self.train_queries),
            ("query", "dev", len(self.queries) - self.train_queries),
        )
        sizes = [size for _, _, size in parts]
        return pd.DataFrame(
            {
                "text": [*self.passages, *self.queries],
                "role": pd.Series(np.repeat([role for role, _, _ in parts], sizes), dtype="str"),
                "split": pd.Series(np.repeat([split for _, split, _ in parts], sizes), dtype="str"),
            }
        )


def _train_frame(table: _Table, rows: Sequence[_Row], mined_negatives: int) -> pd.DataFrame:
    given = [[table.passages[text] for text in row.negatives] for row in rows]
    if not mined_negatives:
        return _frame(table, rows, given)
    known: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        known[query_key(row.query)].add(table.passages[row.positive])
    passages = list(table.passages)[: table.train_passages]
    queries = list(table.queries)[: table.train_queries]
    # Enough that `mined_negatives` remain after known positives and given negatives are struck out, for any query.
    k = mined_negatives + max(map(len, known.values())) + max(map(len, given))
    found, scores = BM25Index(passages, progress=True).search(queries, min(k, len(passages)))
    first_query = len(table.passages)
    negatives = []
    for row, own in zip(rows, given, strict=True):
        rank = table.queries[row.query] - first_query
        struck = known[query_key(row.query)].union(own)
        matches = (i for i in found[rank][scores[rank] > 0].tolist() if i not in struck)
        negatives.append([*own, *islice(matches, mined_negatives)])
    return _frame(table, rows, negatives)


def _frame(table: _Table, rows: Sequence[_Row], negatives: Sequence[Sequence[int]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query": np.array([table.queries[row.query] for row in rows], dtype=np.int64),
            "positive": np.array([table.passages[row.positive] for row in rows], dtype=np.int64),
            "negatives": pd.Series([np.array(ids, dtype=np.int64) for ids in negatives], dtype=object),
        }
    )


def _mined_report(train: pd.DataFrame, given: int) -> dict[str, float]:
    counts = train["negatives"].map(len)
    return {
        "mined": int(counts.sum()) - given,
        "fewest_per_pair": int(counts.min()),
        "mean_per_pair": float(counts.mean()),
    }


def _test_report(by_split: dict[str, list[Pair]], passages: Sequence[str]) -> dict[str, float]:
    """How many of the test queries' documents training would have seen."""
    asked = {pair.positive.strip() for pair in by_split["test"]}
    seen = {text.strip() for pair in by_split["train"] for text in (pair.positive, *pair.negatives)}.union(passages)
    found = len(asked & seen)
    return {
        "queries": len({query_key(pair.query) for pair in by_split["test"]}),
        "documents": len(asked),
        "documents_found_in_training_and_removed": found,
        "share_found_in_training_and_removed": found / len(asked) if asked else 0.0,
    }
