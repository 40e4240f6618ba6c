"""Preparing pairs in one call, and what it does plainly: with the texts themselves in dicts and lists."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from ragcun.pairs import PreparedPairs, read_pairs, write_pairs
from ragcun.prepare import prepare as prepare_streamed
from ragcun.raw import Pair, Passage, document_text, query_key


def prepare(passages: Iterable[Passage], pairs: Iterable[Pair], *, mined_negatives: int) -> PreparedPairs:
    """What is prepared of records that may be gone through once, as it is read back."""
    streamed = prepare_streamed(list(passages), list(pairs), mined_negatives=mined_negatives)
    with TemporaryDirectory() as folder:
        write_pairs(Path(folder, "pairs"), streamed)
        return read_pairs(Path(folder, "pairs"))


@dataclass
class Row:
    query: str
    positive: str
    negatives: list[str]
    # How many of the source's negatives came before each.
    came: list[int]


@dataclass
class Prepared:
    texts: list[tuple[str, str, str]]
    train: list[Row]
    dev: list[Row]


def plain_prepare(passages: Iterable[Passage], pairs: Sequence[Pair]) -> Prepared:
    """Without mining; rows in texts."""
    splits: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        splits[pair.split].append(pair)
    held_out = splits["dev"] + splits["test"]
    documents = {pair.positive.strip() for pair in held_out}
    train = _distinct(splits["train"], documents, {query_key(pair.query) for pair in held_out})
    tests = splits["test"]
    dev = _distinct(splits["dev"], {p.positive.strip() for p in tests}, {query_key(p.query) for p in tests})
    known: dict[str, set[str]] = defaultdict(set)
    for row in train:
        known[query_key(row.query)].add(row.positive)
    for row in train:
        own = known[query_key(row.query)]
        first = dict(reversed([*zip(row.negatives, row.came, strict=True)]))
        row.negatives = [n for n in dict.fromkeys(row.negatives) if n not in documents and n not in own]
        row.came = [first[text] for text in row.negatives]
    for row in dev:
        row.negatives = []
    kept = [document_text(p.title, p.text) for p in passages]
    kept = [text for text in kept if text not in documents]
    came = sorted(each for row in train for each in zip(row.came, row.negatives, strict=True))
    in_train = dict.fromkeys(chain(kept, (row.positive for row in train), (text for _, text in came)))
    in_dev = dict.fromkeys(row.positive for row in dev if row.positive not in in_train)
    train_queries = dict.fromkeys(row.query for row in train)
    dev_queries = dict.fromkeys(row.query for row in dev if row.query not in train_queries)
    parts = (("passage", "train", in_train), ("passage", "dev", in_dev))
    parts += (("query", "train", train_queries), ("query", "dev", dev_queries))
    return Prepared([(text, role, split) for role, split, texts in parts for text in texts], train, dev)


def _distinct(pairs: Sequence[Pair], documents: set[str], queries: set[str]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    count = 0
    for pair in pairs:
        query, positive = pair.query.strip(), pair.positive.strip()
        if positive not in documents and query_key(query) not in queries:
            row = rows.setdefault((query, positive), Row(query, positive, [], []))
            row.negatives.extend(negative.strip() for negative in pair.negatives)
            row.came.extend(range(count, count + len(pair.negatives)))
        count += len(pair.negatives)
    return list(rows.values())
