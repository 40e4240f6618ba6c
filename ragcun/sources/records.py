"""The records of a source, `Passage` and `Pair`, and their parquet files in `data/raw`.

Files are written in row groups and read in batches, so millions of records stream without being held. Every text is
checked when it is written, so what is read back can be trusted. `report.json` says what the source read and dropped.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_json
from ragcun.data.text import document_text
from ragcun.sources.source_report import SourceReport

Split = Literal["train", "dev", "test"]

_PASSAGES = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_PAIRS = pa.schema(
    [("split", pa.string()), ("query", pa.string()), ("positive", pa.string()), ("negatives", pa.list_(pa.string()))]
)
_ROW_GROUP = 20_000
_BATCH = 5_000
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class Passage:
    """A document that may be trained on; its text for a model is `document_text(title, text)`."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a document text that answers it, with documents known not to.

    The test split is never written to `data/pairs`: it says which documents and queries training must not see.
    """

    split: Split
    query: str
    positive: str
    negatives: tuple[str, ...] = ()


def write_passage_records(passages: Iterable[Passage], folder: Path, report: SourceReport) -> None:
    """Write `folder`/passages.parquet and the report. Raises RagcunError for an empty text or no passage."""
    _write(map(_passage_row, passages), _PASSAGES, folder, "passages", report)


def read_passage_records(folder: Path) -> Iterable[Passage]:
    """The passages that `write_passage_records` wrote, in order; can be iterated several times."""
    return _Records(folder, "passages", lambda row: Passage(**row))


def write_pair_records(pairs: Iterable[Pair], folder: Path, report: SourceReport) -> None:
    """Write `folder`/pairs.parquet and the report. Raises RagcunError for an empty text, an unknown split or no pair."""
    _write(map(_pair_row, pairs), _PAIRS, folder, "pairs", report)


def read_pair_records(folder: Path) -> Iterable[Pair]:
    """The pairs that `write_pair_records` wrote, in order; can be iterated several times."""
    return _Records(folder, "pairs", lambda row: Pair(**{**row, "negatives": tuple(row["negatives"])}))


def _passage_row(passage: Passage) -> dict[str, Any]:
    if not document_text(passage.title, passage.text):
        raise RagcunError(
            f"passage {passage.id!r} has neither title nor text; correct the source or let it leave it out"
        )
    return {"id": passage.id, "title": passage.title, "text": passage.text}


def _pair_row(pair: Pair) -> dict[str, Any]:
    if pair.split not in get_args(Split):
        raise RagcunError(
            f"the pair of query {pair.query!r} has the split {pair.split!r}; use one of {get_args(Split)}"
        )
    if not all(text.strip() for text in (pair.query, pair.positive, *pair.negatives)):
        raise RagcunError(f"the pair {pair!r} has an empty text; correct the source or let it leave the pair out")
    return {"split": pair.split, "query": pair.query, "positive": pair.positive, "negatives": list(pair.negatives)}


def _write(rows: Iterator[dict[str, Any]], schema: pa.Schema, folder: Path, name: str, report: SourceReport) -> None:
    texts = [field.name for field in schema if field.type == pa.string() and field.name not in ("id", "split")]
    with atomic_folder(folder) as partial:
        with pq.ParquetWriter(partial / f"{name}.parquet", schema) as writer:
            while batch := list(islice(rows, _ROW_GROUP)):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                for row in batch:
                    report.keep({field: row[field] for field in texts})
        if not report.kept:
            raise RagcunError(
                f"{report.source} gives no {name}: {report.why_empty()}; choose another in params.yaml (data.{name})"
            )
        write_json(partial / "report.json", report.as_dict())


class _Records(Iterable[_Record]):
    """Records of a parquet file, read batch by batch. Raises RagcunError where the file is missing."""

    def __init__(self, folder: Path, name: str, make: Callable[[dict[str, Any]], _Record]) -> None:
        self._path, self._make = folder / f"{name}.parquet", make
        if not self._path.is_file():
            raise RagcunError(f"{self._path} is missing; run `dvc repro download@{name}`")

    def __iter__(self) -> Iterator[_Record]:
        # Buffering ahead would keep the whole file.
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH):
                yield from map(self._make, batch.to_pylist())
