"""What vectors lose in less space: the evaluations' tables put together."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ragcun.evaluate.results import COMPRESSION_FILE

COLUMNS = ["model", "benchmark", "dimensions", "format", "bytes", "ndcg@10", "dev_ndcg@10"]


def read_compression(models: Sequence[str], benchmarks: Sequence[str], runs: Path) -> pd.DataFrame:
    """The rows of all models and benchmarks, with the columns COLUMNS; none where `evaluate.compression` is false.

    >>> read_compression(["base"], ["tiny"], tiny_runs).empty
    True
    """
    tables = [pd.DataFrame(columns=COLUMNS)]
    for model in models:
        for benchmark in benchmarks:
            path = runs / model / benchmark / COMPRESSION_FILE
            if path.is_file():
                tables.append(pd.read_csv(path).assign(model=model, benchmark=benchmark))
    there = [table for table in tables if len(table)] or tables
    return pd.concat(there, ignore_index=True).reindex(columns=COLUMNS)


def compression_tables(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each benchmark, and their mean if there are several, NDCG@10 of the test queries: a row a format, a column a model.

    >>> rows = [("base", "a", 2, "float32", 8, 0.5, 0.4), ("base", "a", 2, "int8", 2, 0.25, 0.2)]
    >>> compression_tables(pd.DataFrame(rows, columns=COLUMNS))["a"]
       dimensions   format  bytes    base
    0           2  float32      8  0.5000
    1           2     int8      2  0.2500
    """
    keys = ["dimensions", "format", "bytes"]
    found = {str(name): part for name, part in table.groupby("benchmark", sort=False)}
    if len(found) > 1:
        # A mean over some of the benchmarks would look like one to compare.
        means = table.groupby(["model", *keys], sort=False)["ndcg@10"].agg(["mean", "size"]).reset_index()
        found["mean"] = means[means["size"] == len(found)].rename(columns={"mean": "ndcg@10"})
    wide = {
        name: part.pivot_table(index=keys, columns="model", values="ndcg@10", sort=False).reset_index()
        for name, part in found.items()
    }
    return {name: _as_text(part.rename_axis(columns=None), keys) for name, part in wide.items()}


def _as_text(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    table["bytes"] = table["bytes"].astype(int)
    scores = table.columns.difference(list(keys))
    table[scores] = table[scores].map(lambda value: "" if pd.isna(value) else f"{value:.4f}")
    return table


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """The rows, by bytes, that score above every row of as many bytes or fewer.

    >>> frontier(pd.DataFrame({"bytes": [8, 4, 2], "ndcg@10": [0.5, 0.25, 0.375]}))["bytes"].tolist()
    [2, 8]
    """
    ordered = table.sort_values(["bytes", "ndcg@10"], ascending=[True, False])
    before = ordered["ndcg@10"].cummax().shift(fill_value=float("-inf"))
    return ordered[ordered["ndcg@10"] > before]
