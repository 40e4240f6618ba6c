"""TREC run files, as the evaluations write them, read into arrays: a line for each document that a query found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ragcun.core.errors import RagcunError

_COLUMNS = {"query": pa.string(), "document": pa.string(), "score": pa.float64()}


@dataclass(frozen=True)
class TrecRun:
    """A run of N lines, each query's documents best first.

    query, document: (N,) places in `queries` and in `documents`, which name each once. score: (N,).
    """

    queries: list[str]
    documents: list[str]
    query: np.ndarray
    document: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, run: Mapping[str, Mapping[str, float]]) -> "TrecRun":
        """A run of dictionaries, each query's documents best first.

        >>> TrecRun.of({"q1": {"d2": 0.5, "d1": 0.25}}).documents
        ['d2', 'd1']
        """
        lines = [(query, document, score) for query, found in run.items() for document, score in found.items()]
        return _coded(*(pa.array([line[i] for line in lines], kind) for i, kind in enumerate(_COLUMNS.values())))


def read_run(path: Path) -> TrecRun:
    """The file of one split.

    >>> run = read_run(tiny_runs / "base" / "tiny" / "test.trec")
    >>> run.documents, run.score
    (['d2', 'd1'], array([2., 1.]))

    Raises:
        RagcunError: it is missing.
    """
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run the evaluation first, with `dvc repro`")
    if not path.stat().st_size:
        return TrecRun.of({})
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=["query", "q0", "document", "rank", "score", "tag"]),
        parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=_COLUMNS, include_columns=list(_COLUMNS)),
    ).combine_chunks()
    run = _coded(*(pa.concat_arrays(table.column(name).chunks) for name in _COLUMNS))
    queries, documents = ([_unquoted(name) for name in names] for names in (run.queries, run.documents))
    return replace(run, queries=queries, documents=documents)


def _coded(query: pa.Array, document: pa.Array, score: pa.Array) -> TrecRun:
    queries, documents = query.dictionary_encode(), document.dictionary_encode()
    return TrecRun(
        queries=queries.dictionary.to_pylist(),
        documents=documents.dictionary.to_pylist(),
        query=queries.indices.to_numpy(zero_copy_only=False),
        document=documents.indices.to_numpy(zero_copy_only=False),
        score=score.to_numpy(zero_copy_only=False),
    )


@lru_cache(maxsize=2**17)
def _unquoted(name: str) -> str:
    """An id; those with white space stand percent-encoded in the file."""
    return unquote(name)
