"""Prepared pairs, a folder a task (`data/pairs/finetune`, `data/pairs/pretrain`): every text once, then ids of texts.

    texts.parquet   text, role (query or passage), split (train or dev); a text's id is its row
    train.parquet   query, positive, negatives: ids; one row for each distinct (query, positive)
    dev.parquet     the same, for the selection of checkpoints; no negatives
    same.parquet    titled, body: ids of two passages that are one document, with its title and without
    report.json     what was kept, dropped or made, and why

A dev text is never trained on; no text of the pairs' test split is here.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_json
from ragcun.data.digests import DigestList, Digests
from ragcun.data.text import normal_form, query_key

_TEXTS = pa.schema([(name, pa.string()) for name in ("text", "role", "split")])
_PAIRS = pa.schema([("query", pa.int64()), ("positive", pa.int64()), ("negatives", pa.list_(pa.int64()))])
_SAME = pa.schema([("titled", pa.int64()), ("body", pa.int64())])

_ROW_GROUP = 50_000

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparedPairs:
    """Texts and the pairs over them, with the columns of the files above.

    role is query or passage, split train or dev; negatives are an int64 array a row, hardest first, of any length.
    """

    texts: pd.DataFrame
    train: pd.DataFrame
    dev: pd.DataFrame
    report: dict[str, Any]
    same: pd.DataFrame = field(default_factory=lambda: same_frame([], []))

    @cached_property
    def passage_ids(self) -> Ids:
        """Ids (P,) of all passages, ascending: what dev queries search."""
        return np.flatnonzero(self.texts["role"] == "passage").astype(np.int64)

    @cached_property
    def train_passage_ids(self) -> Ids:
        """Ids (T,) of the passages training may see, ascending."""
        return train_passage_ids(self.texts)

    @cached_property
    def known_positives(self) -> dict[int, frozenset[int]]:
        """Query id -> ids of all its positives: of every row whose query has the same `query_key`.

        Every passage that is the same document as a positive is one too, so that none is taken for a negative.
        """
        rows = pd.concat([self.train, self.dev])[["query", "positive"]]
        asked = self.texts["text"].iloc[rows["query"].unique()]
        keys = rows["query"].map(asked.map(query_key))
        positives = rows["positive"].groupby(keys).agg(frozenset).map(SameDocuments(self.same).spread)
        return dict(zip(rows["query"].tolist(), keys.map(positives).tolist(), strict=True))


def same_frame(titled: npt.ArrayLike, body: npt.ArrayLike) -> pd.DataFrame:
    """`PreparedPairs.same` of two columns of ids."""
    return pd.DataFrame({"titled": titled, "body": body}, dtype=np.int64)


class SameDocuments:
    """Which other passages are the same document, by `PreparedPairs.same`."""

    def __init__(self, same: pd.DataFrame) -> None:
        self._others: defaultdict[int, set[int]] = defaultdict(set)
        for titled, body in same[["titled", "body"]].itertuples(index=False):
            self._others[titled].add(body)
            self._others[body].add(titled)

    def spread(self, ids: Iterable[int]) -> frozenset[int]:
        """The ids, and those of the same documents."""
        ids = frozenset(ids)
        return ids.union(*(self._others[i] for i in ids if i in self._others))


TextRow = tuple[str, str, str]
"""A text, its role and its split."""


@dataclass(frozen=True)
class StreamedPairs:
    """As `PreparedPairs`, except that `texts` yields the texts at each call, in the order of their ids."""

    texts: Callable[[], Iterator[TextRow]]
    train: pd.DataFrame
    dev: pd.DataFrame
    report: dict[str, Any]
    same: pd.DataFrame


def train_passage_ids(texts: pd.DataFrame) -> Ids:
    """Ids (T,), ascending, of the passages of the train split."""
    return np.flatnonzero((texts["role"] == "passage") & (texts["split"] == "train")).astype(np.int64)


def train_passage_digests(folder: Path) -> Digests:
    """Digests (T,) of the normal forms of the passages training may see. Raises RagcunError where there are none."""
    with _missing_named(), pq.ParquetFile(folder / "texts.parquet", pre_buffer=False) as file:
        batches = (pd.DataFrame(batch.to_pydict()) for batch in file.iter_batches(_ROW_GROUP))
        return DigestList(
            normal_form(text) for batch in batches for text in batch["text"].iloc[train_passage_ids(batch)].tolist()
        ).array()


def write_pairs(folder: Path, pairs: PreparedPairs | StreamedPairs) -> None:
    """Write the folder, whole or not at all."""
    rows = pairs.texts() if isinstance(pairs, StreamedPairs) else pairs.texts.itertuples(index=False, name=None)
    with atomic_folder(folder) as partial:
        _write_texts(rows, partial / "texts.parquet")
        for name, frame, schema in (
            ("train", pairs.train, _PAIRS),
            ("dev", pairs.dev, _PAIRS),
            ("same", pairs.same, _SAME),
        ):
            # No pandas metadata: it names library versions, and the stage's output must not change with them.
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            pq.write_table(table.replace_schema_metadata(), partial / f"{name}.parquet")
        write_json(partial / "report.json", pairs.report)


def read_texts(folder: Path) -> pd.DataFrame:
    """The texts alone. Raises RagcunError where there are none."""
    with _missing_named():
        return pd.read_parquet(folder / "texts.parquet")


def read_pairs(folder: Path) -> PreparedPairs:
    """Read what `write_pairs` wrote. Raises RagcunError where a file is missing."""
    with _missing_named():
        frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("texts", "train", "dev", "same")}
        return PreparedPairs(**frames, report=json.loads((folder / "report.json").read_text(encoding="utf-8")))


@contextmanager
def _missing_named() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise RagcunError(f"{error.filename or error} is missing; run `dvc repro`") from error


def _write_texts(rows: Iterator[TextRow], path: Path) -> None:
    with pq.ParquetWriter(path, _TEXTS) as writer:
        while batch := list(islice(rows, _ROW_GROUP)):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=_TEXTS))
