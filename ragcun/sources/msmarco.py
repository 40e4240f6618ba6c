"""MS MARCO (Bajaj et al. 2016, arXiv 1611.09268), question answering v2.1, as pairs for retrieval.

A row is a query of Bing with about ten passages that were retrieved for it; people selected those that answer it. Each
selected passage makes a pair; the others are its hard negatives, in the order of retrieval. Train is the data's train
split; its validation queries are divided into dev and test, as its test split has no answers.

Both draws are keyed hashes of the query's id, so they depend on the seed and the data, not on the order or the number of
the files, and a smaller draw of the same seed lies inside a larger one. The price: an exact number of queries needs a
first reading, which finds the smallest hashes of the queries that give a pair.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from ragcun.fetch.hub.client import HubRepo
from ragcun.param_data import MsMarco as Settings
from ragcun.sources.clean import clean_text
from ragcun.sources.draw import keyed_hash
from ragcun.sources.hub_rows import HubDataset
from ragcun.sources.records import Pair, Split
from ragcun.sources.source_report import SourceReport

logger = logging.getLogger(__name__)

REPOSITORY, CONFIGURATION = "microsoft/ms_marco", "v2.1"
TERMS = "non-commercial research only (https://microsoft.github.io/msmarco/Notice)"

_PASSAGES = pa.struct([("is_selected", pa.list_(pa.int32())), ("passage_text", pa.list_(pa.string()))])
_SCHEMA = pa.schema([("query_id", pa.int32()), ("query", pa.string()), ("passages", _PASSAGES)])


class MsMarco:
    """The pairs, fetched when they are read; `seed` draws the subset of train, and dev from test."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        """Stream train, then dev and test as they come. Raises RagcunError where the data cannot be had or has changed."""
        revision, setting = self.settings.revision, "data.pairs msmarco"
        repo = HubRepo("dataset", REPOSITORY, revision, setting=setting, instead="name other data.pairs")
        train, held_out = (
            HubDataset(repo, configuration=CONFIGURATION, split=split, schema=_SCHEMA)
            for split in ("train", "validation")
        )
        report.revision = f"{REPOSITORY} {CONFIGURATION} at {repo.commit}"
        report.licence = TERMS + (f"; the dataset's card says {repo.licence}" if repo.licence else "")
        yield from self._train(train, report)
        for row in _progress(held_out.rows(report), "validation"):
            if query := _read_query(row, report):
                dev = self._hash("split", query.id) < self.settings.split_ratio * 2**64
                yield from self._pairs("dev" if dev else "test", query, report)

    def _train(self, dataset: HubDataset, report: SourceReport) -> Iterator[Pair]:
        last = self._last_hash(dataset)
        for row in _progress(dataset.rows(report), "train"):
            if query := _read_query(row, report):
                if self._hash("train", query.id) <= last:
                    yield from self._pairs("train", query, report)
                else:
                    report.dropped["train queries beyond max_train_samples"] += 1

    def _last_hash(self, dataset: HubDataset) -> int:
        """The largest hash of the queries that are taken."""
        wanted = self.settings.max_train_samples
        if wanted is None:
            return 2**64
        aside = SourceReport("the first reading")
        queries = (_read_query(row, aside) for row in _progress(dataset.rows(aside), "train, first reading"))
        hashes = np.fromiter((self._hash("train", query.id) for query in queries if query), dtype=np.uint64)
        hashes = np.unique(hashes)
        if wanted > len(hashes):
            logger.warning("MS MARCO has %d train queries, fewer than max_train_samples (%d)", len(hashes), wanted)
            return 2**64
        return int(hashes[wanted - 1])

    def _hash(self, purpose: str, query_id: int) -> int:
        return keyed_hash(str(query_id), f"{purpose} {self.seed}".encode())

    def _pairs(self, split: Split, query: "_Query", report: SourceReport) -> Iterator[Pair]:
        limit = self.settings.max_negatives if split == "train" else 0
        negatives = tuple(_distinct(query.others, query.text, report, limit=limit, known=query.positives))
        for positive in query.positives:
            yield Pair(split, query.text, positive, negatives)


@dataclass(frozen=True, slots=True)
class _Query:
    """A query that gives a pair: its selected passages cleaned, the others as they came."""

    id: int
    text: str
    positives: tuple[str, ...]
    others: list[Any]


def _read_query(row: dict[str, Any], report: SourceReport) -> _Query | None:
    """The query of a row, or None where it gives no pair, which is counted."""
    report.read += 1
    flags, texts = ((row["passages"] or {}).get(name) or [] for name in ("is_selected", "passage_text"))
    text = clean_text(row["query"] or "", report)
    if row["query_id"] is None or not text:
        report.dropped["queries without an id or a text"] += 1
    elif len(flags) != len(texts):
        report.dropped["queries whose marks and passages differ in number"] += 1
    elif not any(flags):
        report.dropped["queries without a selected passage"] += 1
    else:
        selected = [passage for flag, passage in zip(flags, texts, strict=True) if flag]
        others = [passage for flag, passage in zip(flags, texts, strict=True) if not flag]
        if positives := tuple(_distinct(selected, text, report)):
            return _Query(row["query_id"], text, positives, others)
        report.dropped["queries without a selected passage that can be used"] += 1
    return None


def _distinct(
    passages: list[Any], query: str, report: SourceReport, *, limit: int | None = None, known: tuple[str, ...] = ()
) -> Iterator[str]:
    """At most `limit` cleaned passages, without those that are empty, the query itself or repeated, which are counted."""
    seen = set(known)
    for passage in passages:
        if limit is not None and len(seen) - len(known) >= limit:
            return
        text = clean_text(passage or "", report)
        if not text:
            report.dropped["passages without text"] += 1
        elif text.casefold() == query.casefold():
            report.dropped["passages that are their query"] += 1
        elif text in seen:
            report.dropped["passages that a query has twice"] += 1
        else:
            seen.add(text)
            yield text


def _progress(rows: Iterator[dict[str, Any]], of: str) -> Iterator[dict[str, Any]]:
    return tqdm(rows, desc=f"MS MARCO {of}", unit="query", disable=None)
