"""What training has seen of a benchmark's test queries.

Nothing is removed here: the pairs' own test was kept out before training (ragcun.prepare); of any other benchmark the
comparison only says how much there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from ragcun.benchmark import Benchmark
from ragcun.digests import digest
from ragcun.raw import query_key


@dataclass(frozen=True)
class Leakage:
    """For each test query: whether it is asked in training too, and whether a relevant document is a training positive."""

    asked: dict[str, bool]
    answered: dict[str, bool]


@dataclass(frozen=True)
class TrainingTexts:
    """Digests of the train queries, by `query_key`, and of the train positives."""

    queries: frozenset[bytes]
    positives: frozenset[bytes]


def read_training_texts(folder: Path) -> TrainingTexts:
    """What training on the pairs in `folder` sees, without holding the texts."""
    positives = set(pq.read_table(folder / "train.parquet", columns=["positive"])["positive"].to_numpy().tolist())
    asked, answers, first = set(), set(), 0
    with pq.ParquetFile(folder / "texts.parquet") as file:
        for batch in file.iter_batches():
            for row, text, role, split in zip(
                range(first, first + len(batch)),
                *(batch[name].to_pylist() for name in ("text", "role", "split")),
                strict=True,
            ):
                if role == "query" and split == "train":
                    asked.add(digest(query_key(text)))
                elif row in positives:
                    answers.add(digest(text))
            first += len(batch)
    return TrainingTexts(frozenset(asked), frozenset(answers))


def leakage(parts: Mapping[str, Benchmark], trained: TrainingTexts) -> Leakage:
    """Of a benchmark's test queries, under the ids they have in its evaluation: `part/id` where it has parts."""
    found = Leakage({}, {})
    for part, benchmark in parts.items():
        rows = {document: row for row, document in enumerate(benchmark.doc_ids)}
        texts = benchmark.doc_texts
        seen: dict[str, bool] = {}
        for query, judged in benchmark.qrels["test"].items():
            name = f"{part}/{query}" if part else query
            found.asked[name] = digest(query_key(benchmark.queries["test"][query])) in trained.queries
            relevant = [document for document, score in judged.items() if score > 0 and document in rows]
            for document in relevant:
                if document not in seen:
                    seen[document] = digest(texts[rows[document]]) in trained.positives
            found.answered[name] = any(seen[document] for document in relevant)
    return found
