"""The prepared pairs in `data/pairs`: every text once, everything else by its id.

    texts.parquet             text, role (query or passage), split (train or dev), task (finetune or pretrain);
                              a text's id is its row
    finetune/train.parquet    query, positive, negatives: ids; one row for each distinct (query, positive)
    finetune/dev.parquet      the same, for the selection of checkpoints; no negatives
    pretrain/…                the same, of the pairs that were made from the train passages alone
    report.json               what `ragcun.prepare` kept and dropped, and why

A dev text is never trained on in any way; no text of the pairs' test split is here at all.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.errors import RagcunError
from ragcun.files import atomic_folder, write_json

_TEXTS = pa.schema([(name, pa.string()) for name in ("text", "role", "split", "task")])
_PAIRS = pa.schema([("query", pa.int64()), ("positive", pa.int64()), ("negatives", pa.list_(pa.int64()))])

Task = Literal["finetune", "pretrain"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PreparedPairs:
    """Texts and the pairs over them.

    `texts` has the columns `text`, `role` ("query" | "passage"), `split` ("train" | "dev") and `task` ("finetune" |
    "pretrain"), and holds the texts of both tasks; the rest is of `task` alone. `train` and `dev` have `query` and
    `positive` (int64) and `negatives` (an int64 array a row, hardest first, of any length).
    """

    texts: pd.DataFrame
    train: pd.DataFrame
    dev: pd.DataFrame
    report: dict[str, Any]
    task: Task = "finetune"

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
        return np.flatnonzero((mask & (self.texts["task"] == self.task)).to_numpy()).astype(np.int64)


def query_key(text: str) -> str:
    """What two queries have in common when they ask the same: the text stripped and case-folded."""
    return text.strip().casefold()


def write_pairs(folder: Path, *tasks: PreparedPairs) -> None:
    """Write the folder, whole or not at all. The tasks' tables of texts must each begin with the one before."""
    with atomic_folder(folder) as partial:
        _write(tasks[-1].texts, _TEXTS, partial / "texts.parquet")
        for pairs in tasks:
            (partial / pairs.task).mkdir()
            _write(pairs.train, _PAIRS, partial / pairs.task / "train.parquet")
            _write(pairs.dev, _PAIRS, partial / pairs.task / "dev.parquet")
        write_json(partial / "report.json", {pairs.task: pairs.report for pairs in tasks})


def read_texts(folder: Path) -> pd.DataFrame:
    """The texts of all tasks. Raises RagcunError where there are none."""
    try:
        return pd.read_parquet(folder / "texts.parquet")
    except FileNotFoundError as error:
        raise RagcunError(f"{error.filename or folder} is missing; run `dvc repro prepare_pairs`") from error


def read_pairs(folder: Path, task: Task = "finetune") -> PreparedPairs:
    """Read one task of what `write_pairs` wrote. Raises RagcunError where a file is missing."""
    try:
        return PreparedPairs(
            texts=read_texts(folder),
            train=pd.read_parquet(folder / task / "train.parquet"),
            dev=pd.read_parquet(folder / task / "dev.parquet"),
            report=json.loads((folder / "report.json").read_text(encoding="utf-8"))[task],
            task=task,
        )
    except FileNotFoundError as error:
        raise RagcunError(f"{error.filename or folder} is missing; run `dvc repro prepare_pairs`") from error


def _write(frame: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    # No pandas metadata: it names library versions, and the stage's output must not change with them.
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(), path)
