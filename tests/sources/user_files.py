"""Small files of a user's, in every format, and what a source makes of them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.param_data import OwnPairs as Settings
from ragcun.sources.records import Pair, Passage
from ragcun.sources.source_report import SourceReport
from ragcun.sources.user_files.pairs import UserPairs
from ragcun.sources.user_files.passages import UserPassages

SETTINGS = Settings(dev_ratio=0.25, test_ratio=0.25)

Rows = list[dict[str, Any]]

ROWS: Rows = [
    {
        "query": f'query {i}, "quoted"\nin two lines' if i % 5 == 0 else f"שאלה {i}",
        "positive": f"positive {i} 日本語",
        "negatives": [f"negative {i}", "other"],
        "split": ("train", "dev", "test")[i % 3],
    }
    for i in range(12)
]
TEXT_SUFFIXES = [".jsonl", ".csv", ".tsv"]


def write(path: Path, rows: Rows) -> Path:
    """Write the rows as the path's suffix says; all have the columns of the first. A list in a cell of text is JSON."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
        path.write_bytes(text.getvalue().encode())
    return path


def pairs(path: Path, settings: Settings = SETTINGS, seed: int = 1) -> tuple[list[Pair], SourceReport]:
    """The pairs of a file, and their report."""
    report = SourceReport("data.pairs: test")
    return list(UserPairs(path, settings, seed).pairs(report)), report


def passages(path: Path) -> tuple[list[Passage], SourceReport]:
    """The passages of a file, and their report."""
    report = SourceReport("data.passages: test")
    return list(UserPassages(path).passages(report)), report
