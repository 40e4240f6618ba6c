"""What training, and the choice of a checkpoint, have seen of a benchmark's test queries.

Queries are compared by `query_key`, documents by `normal_form`. A prepared text has no separate title, so a benchmark's
document counts as seen where its title and body together, or its body alone, is among the texts seen.

Nothing is removed here. The pairs' own test was kept out before training (ragcun.prepare.finetuning); for any other
benchmark the comparison counts what has been seen. The texts stream, and only their digests are held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ragcun.data.benchmark import Benchmark
from ragcun.data.digests import DigestList, Digests
from ragcun.data.pairs import TextRow
from ragcun.data.text import document_keys, normal_form, query_key

_BATCH = 10_000

QUERY_IN_TRAINING = "query_in_training"
QUERY_IN_DEV = "query_in_dev"
POSITIVE_IN_TRAINING = "answer_is_training_positive"
PASSAGE_IN_TRAINING = "answer_is_training_passage"
ANSWER_IN_DEV = "answer_is_dev_positive"
# What each column says of a query: in a heading, and in full.
COLUMNS = {
    QUERY_IN_TRAINING: ("asked in training", "a training query asks the same"),
    POSITIVE_IN_TRAINING: (
        "answer is a training positive",
        "a relevant document is a training positive: training taught that it answers a question",
    ),
    PASSAGE_IN_TRAINING: (
        "answer is a training passage",
        "a relevant document is any passage of training: a positive, a hard negative, a store negative, or a passage that "
        "pretraining makes its pairs from",
    ),
    QUERY_IN_DEV: (
        "asked in dev",
        "a dev query asks the same: one of the pairs, or of the benchmark `data.validation`; checkpoints are chosen on dev queries",
    ),
    ANSWER_IN_DEV: ("answer is a dev positive", "a relevant document answers a dev query"),
}


@dataclass(frozen=True)
class SeenTexts:
    """Distinct digests of queries (by `query_key`) and documents (by `normal_form`), ascending, by column."""

    queries: dict[str, Digests]
    documents: dict[str, Digests]


def read_seen_texts(pairs: Path, validation: Benchmark | None = None) -> SeenTexts:
    """The texts of the pairs in the folder `pairs`, and of the dev split of the benchmark `validation`, if any.

    >>> {column: len(digests) for column, digests in read_seen_texts(tiny_pairs).queries.items()}
    {'query_in_training': 1, 'query_in_dev': 1}
    """
    queries = {name: DigestList() for name in (QUERY_IN_TRAINING, QUERY_IN_DEV)}
    documents = {name: DigestList() for name in (POSITIVE_IN_TRAINING, PASSAGE_IN_TRAINING, ANSWER_IN_DEV)}
    train, dev = (_positives(pairs / f"{split}.parquet") for split in ("train", "dev"))
    for row, (text, role, split) in enumerate(_texts(pairs / "texts.parquet")):
        if role == "query":
            queries[QUERY_IN_TRAINING if split == "train" else QUERY_IN_DEV].add(query_key(text))
            continue
        form = normal_form(text)
        if split == "train":
            documents[PASSAGE_IN_TRAINING].add(form)
        for name, positives in ((POSITIVE_IN_TRAINING, train), (ANSWER_IN_DEV, dev)):
            if row in positives:
                documents[name].add(form)
    if validation is not None:
        for query in validation.qrels["dev"]:
            queries[QUERY_IN_DEV].add(query_key(validation.queries["dev"][query]))
        for _, form in _relevant_documents(validation, "dev"):
            documents[ANSWER_IN_DEV].add(form)
    return SeenTexts(_distinct(queries), _distinct(documents))


def leakage(parts: dict[str, Benchmark], seen: SeenTexts) -> pd.DataFrame:
    """What has been seen of each test query of a benchmark.

    >>> leakage({"": tiny_benchmark}, read_seen_texts(tiny_pairs)).T
    query                           q1
    query_in_training             True
    query_in_dev                 False
    answer_is_training_positive   True
    answer_is_training_passage    True
    answer_is_dev_positive       False

    Returns:
        A row for each query, under the id that it has in the evaluation (`part/id` where the benchmark has parts), and the
        bool columns of COLUMNS.
    """
    return pd.concat([_of_part(f"{part}/" if part else "", benchmark, seen) for part, benchmark in parts.items()])


def _of_part(prefix: str, benchmark: Benchmark, seen: SeenTexts) -> pd.DataFrame:
    qrels = benchmark.qrels["test"]
    keys = DigestList(query_key(benchmark.queries["test"][query]) for query in qrels).array()
    table = {name: _among(keys, known).tolist() for name, known in seen.queries.items()}
    ids, forms = [], DigestList()
    for document, form in _relevant_documents(benchmark, "test"):
        ids.append(document)
        forms.add(form)
    for name, known in seen.documents.items():
        found = set(compress(ids, _among(forms.array(), known)))
        table[name] = [
            any(score > 0 and document in found for document, score in judged.items()) for judged in qrels.values()
        ]
    return pd.DataFrame(table, index=pd.Index([f"{prefix}{query}" for query in qrels], name="query"))


def _relevant_documents(benchmark: Benchmark, split: str) -> Iterator[tuple[str, str]]:
    """The id of each document that is relevant to a query of the split, with each of its normal forms (`document_keys`)."""
    judged = benchmark.qrels[split].values()
    wanted = {document for documents in judged for document, score in documents.items() if score > 0}
    for row, document in enumerate(benchmark.doc_ids):
        if document in wanted:
            for form in document_keys(benchmark.titles[row], benchmark.bodies[row]):
                yield document, form


def _texts(path: Path) -> Iterator[TextRow]:
    """The texts in the order of their ids."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH):
            yield from zip(*(batch[name].to_pylist() for name in ("text", "role", "split")), strict=True)


def _positives(path: Path) -> set[int]:
    return set(pq.read_table(path, columns=["positive"])["positive"].to_numpy().tolist())


def _distinct(lists: dict[str, DigestList]) -> dict[str, Digests]:
    return {name: np.unique(found.array()) for name, found in lists.items()}


def _among(digests: Digests, known: Digests) -> np.ndarray:
    """(N,) bool: which digests are known. By bisection: `np.isin` would sort millions of them for each benchmark."""
    if not len(known):
        return np.zeros(len(digests), dtype=bool)
    places = np.searchsorted(known, digests).clip(max=len(known) - 1)
    found: np.ndarray = known[places] == digests
    return found
