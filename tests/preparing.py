"""Preparing pairs in one call, and what it does plainly: with the texts themselves in dicts and lists."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from ragcun.data.pairs import PreparedPairs, read_pairs, write_pairs
from ragcun.data.text import document_keys, document_text, normal_form, query_key
from ragcun.prepare.finetuning import prepare as prepare_streamed
from ragcun.sources.records import Pair, Passage


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


class Forms:
    """The forms of documents: a passage's title and body, and its body alone, are one document."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.keys = [set(document_keys(passage.title, passage.text)) for passage in passages]

    def of(self, texts: Iterable[str]) -> set[str]:
        """The texts' normal forms, and the others of their documents."""
        forms = set(map(normal_form, texts))
        return forms.union(*(keys for keys in self.keys if keys & forms))


def plain_prepare(passages: Sequence[Passage], pairs: Sequence[Pair]) -> Prepared:
    """Without mining; rows in texts, each as it stands in the table: of those with one normal form, the first."""
    forms = Forms(passages)
    splits: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        splits[pair.split].append(pair)
    held_out = splits["dev"] + splits["test"]
    documents = forms.of(pair.positive for pair in held_out)
    train = _distinct(splits["train"], documents, {query_key(pair.query) for pair in held_out})
    tests = splits["test"]
    dev = _distinct(splits["dev"], forms.of(pair.positive for pair in tests), {query_key(pair.query) for pair in tests})
    known: dict[str, list[str]] = defaultdict(list)
    for row in train:
        known[query_key(row.query)].append(row.positive)
    for row in train:
        left = documents | forms.of(known[query_key(row.query)])
        first = {
            normal_form(text): (text, came) for text, came in reversed([*zip(row.negatives, row.came, strict=True)])
        }
        own = [first[form] for form in dict.fromkeys(map(normal_form, row.negatives)) if form not in left]
        row.negatives, row.came = [text for text, _ in own], [came for _, came in own]
    for row in dev:
        row.negatives = []
    kept = [document_text(p.title, p.text) for p in passages]
    kept = [text for text in kept if normal_form(text) not in documents]
    came = sorted(each for row in train for each in zip(row.came, row.negatives, strict=True))
    in_train = _first(chain(kept, (row.positive for row in train), (text for _, text in came)))
    in_dev = {form: text for form, text in _first(row.positive for row in dev).items() if form not in in_train}
    train_queries = _first(row.query for row in train)
    dev_queries = {form: text for form, text in _first(row.query for row in dev).items() if form not in train_queries}
    for row in chain(train, dev):
        row.query = (train_queries | dev_queries)[normal_form(row.query)]
        row.positive = (in_train | in_dev)[normal_form(row.positive)]
        row.negatives = [in_train[normal_form(text)] for text in row.negatives]
    parts = (("passage", "train", in_train), ("passage", "dev", in_dev))
    parts += (("query", "train", train_queries), ("query", "dev", dev_queries))
    return Prepared([(text, role, split) for role, split, texts in parts for text in texts.values()], train, dev)


def _first(texts: Iterable[str]) -> dict[str, str]:
    """Normal form -> the first text that has it."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(normal_form(text), text)
    return first


def _distinct(pairs: Sequence[Pair], documents: set[str], queries: set[str]) -> list[Row]:
    rows: dict[tuple[str, str], Row] = {}
    count = 0
    for pair in pairs:
        query, positive = pair.query.strip(), pair.positive.strip()
        if normal_form(positive) not in documents and query_key(query) not in queries:
            row = rows.setdefault((normal_form(query), normal_form(positive)), Row(query, positive, [], []))
            row.negatives.extend(negative.strip() for negative in pair.negatives)
            row.came.extend(range(count, count + len(pair.negatives)))
        count += len(pair.negatives)
    return list(rows.values())
