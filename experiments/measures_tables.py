"""metrics/compression.csv → the table of docs/measures.md: NDCG@10 of each format, the mean of all benchmarks.

Usage: python experiments/measures_tables.py [PAGE]
"""

import re
import sys
from pathlib import Path

import pandas as pd

from ragcun.params import load_params
from ragcun.report.compression import compression_tables
from ragcun.report.tables import markdown

_PLACE = re.compile(r"(<!-- table: compression -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/measures.md")
    rows = pd.read_csv("metrics/compression.csv")
    rows = rows[~rows["model"].isin(load_params().evaluate.controls)]
    tables = compression_tables(rows)
    table = markdown(tables.get("mean", next(iter(tables.values()))), names=2)
    text = page.read_text(encoding="utf-8")
    page.write_text(_PLACE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
