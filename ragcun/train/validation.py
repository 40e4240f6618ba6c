"""The dev queries of `data.validation`, a benchmark that checkpoints are chosen on.

The ids of its texts follow those of the training pairs, so that a trainee embeds them like any other text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.core.files import is_none
from ragcun.data.benchmark import Benchmark, read_benchmark, read_parts

SPLIT = "dev"


@dataclass(frozen=True)
class Validation:
    """Queries with judgements and the corpus they are ranked over.

    passages, queries: the texts. A passage's id is `first_id` plus its place; the queries' ids follow the passages'.
    relevance: for each query's id, the relevance of the judged passages by their ids.
    own: for each query's id, the id of the passage that the query itself is; empty where queries are no documents.
    """

    first_id: int
    passages: Sequence[str]
    queries: list[str]
    relevance: dict[int, dict[int, int]]
    own: dict[int, int]

    @property
    def passage_ids(self) -> np.ndarray:
        """(P,) ids of the corpus."""
        return self.first_id + np.arange(len(self.passages))


def read_validation(folder: Path, first_id: int) -> Validation | None:
    """The dev split of what `download@validation` wrote; None where data.validation names nothing.

    Raises:
        RagcunError: the benchmark has no dev split, or several parts.
    """
    benchmark = read_validation_benchmark(folder)
    return None if benchmark is None else validation_of(benchmark, first_id)


def read_validation_benchmark(folder: Path) -> Benchmark | None:
    """What `download@validation` wrote; None where data.validation names nothing. Raises RagcunError for several parts."""
    if is_none(folder):
        return None
    if list(read_parts(folder)) != [""]:
        raise RagcunError("data.validation names a benchmark of several parts: name one without, or null")
    return read_benchmark(folder)


def validation_of(benchmark: Benchmark, first_id: int) -> Validation:
    """A benchmark's dev split with ids from `first_id` on."""
    if not benchmark.qrels.get(SPLIT):
        raise RagcunError(f"data.validation names a benchmark that has no {SPLIT} queries: name another, or null")
    places = {doc_id: first_id + place for place, doc_id in enumerate(benchmark.doc_ids)}
    queries = sorted(benchmark.qrels[SPLIT])
    after = first_id + len(places)
    relevance = {
        after + place: {
            places[doc_id]: grade for doc_id, grade in benchmark.qrels[SPLIT][query].items() if doc_id in places
        }
        for place, query in enumerate(queries)
    }
    texts = [benchmark.queries[SPLIT][query] for query in queries]
    documents = benchmark.own_documents
    own = {
        after + place: places[documents[query]] for place, query in enumerate(queries) if documents.get(query) in places
    }
    return Validation(first_id, benchmark.doc_texts, texts, relevance, own)
