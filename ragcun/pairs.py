"""The prepared pairs in `data/pairs`: every text once, everything else by its id.

    texts.parquet             text, role (query or passage), split (train or dev); a text's id is its row
    finetune/train.parquet    query, positive, negatives: ids; one row for each distinct (query, positive)
    finetune/dev.parquet      the same, for the selection of checkpoints; no negatives
    report.json               what `ragcun.prepare` kept and dropped, and why

A dev text is never trained on in any way; no text of the pairs' test split is here at all.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.errors import RagcunError
from ragcun.files import atomic_folder, write_json

_TEXTS = pa.schema([("text", pa.string()), ("role", pa.string()), ("split", pa.string())])
_PAIRS = pa.schema([("query", pa.int64()), ("positive", pa.int64()), ("negatives", pa.list_(pa.int64()))])

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparedPairs:
    """Texts and the pairs over them.

    `texts` has the columns `text`, `role` ("query" | "passage") and `split` ("train" | "dev"); `train` and `dev` have
    `query` and `positive` (int64) and `negatives` (an int64 array a row, hardest first, of any length).
    """

    texts: pd.DataFrame
    train: pd.DataFrame
    dev: pd.DataFrame
    report: dict[str, Any]

    @cached_property
    def passage_ids(self) -> Ids:
        """Ids (P,) of all passages, ascending: what dev queries search."""
        return self._ids(self.texts["role"] == "passage")

    @cached_property
    def train_passage_ids(self) -> Ids:
        """Ids (T,) of the passages training may see, ascending."""
        return self._ids((self.texts["role"] == "passage") & (self.texts["split"] == "train"))

    @cached_property
    def known_positives(self) -> dict[int, frozenset[int]]:
        """Query id -> ids of all its positives: of every row whose query reads the same, by `query_key`."""
        rows = pd.concat([self.train, self.dev])[["query", "positive"]]
        keys = rows["query"].map(self.texts["text"].map(query_key))
        positives = rows["positive"].groupby(keys).agg(frozenset)
        return dict(zip(rows["query"].tolist(), keys.map(positives).tolist(), strict=True))

    def _ids(self, mask: "pd.Series[bool]") -> Ids:
        return np.flatnonzero(mask.to_numpy()).astype(np.int64)


def query_key(text: str) -> str:
    """What two queries have in common when they ask the same: the text stripped and case-folded."""
    return text.strip().casefold()


def write_pairs(pairs: PreparedPairs, folder: Path) -> None:
    """Write the folder, whole or not at all."""
    with atomic_folder(folder) as partial:
        (partial / "finetune").mkdir()
        _write(pairs.texts, _TEXTS, partial / "texts.parquet")
        _write(pairs.train, _PAIRS, partial / "finetune" / "train.parquet")
        _write(pairs.dev, _PAIRS, partial / "finetune" / "dev.parquet")
        write_json(partial / "report.json", pairs.report)


def read_pairs(folder: Path) -> PreparedPairs:
    """Read what `write_pairs` wrote. Raises RagcunError where a file is missing."""
    try:
        return PreparedPairs(
            texts=pd.read_parquet(folder / "texts.parquet"),
            train=pd.read_parquet(folder / "finetune" / "train.parquet"),
            dev=pd.read_parquet(folder / "finetune" / "dev.parquet"),
            report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        )
    except FileNotFoundError as error:
        raise RagcunError(f"{error.filename or folder} is missing; run `dvc repro prepare_pairs`") from error


def _write(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    # No pandas metadata: it names library versions, and the stage's output must not change with them.
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(), path)
