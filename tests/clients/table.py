"""The table "What works where" of docs/serving.md, from the figures that `make clients` records.

    python -m tests.clients.table experiments/clients.json docs/serving.md

Page and figures are written by experiments/clients.sh.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- clients: made by experiments/clients.sh -->", "<!-- end of clients -->"


def table(figures: list[dict[str, Any]]) -> str:
    """The client table, then that of pgvector."""
    clients = [row for row in figures if "least_cosine" in row]
    databases = [row for row in figures if "dims" in row]
    lines = ["| client | version | loads | least cosine | mean cosine |", "| --- | --- | --- | --: | --: |"]
    for row in clients:
        place = "the folder" if row["loads"] == "." else f"`{row['loads']}`"
        cosines = f"{row['least_cosine']:.6f} | {row['mean_cosine']:.6f}"
        lines.append(f"| {row['client']} | {row['version']} | {place} | {cosines} |")
    if databases:
        lines += ["", "| pgvector | dimensions | documents | MB on disk | NDCG@10 in SQL | by ragcun |"]
        lines += ["| --- | --: | --: | --: | --: | --: |"]
    for row in databases:
        scores = f"{row['ndcg@10']:.4f} | {row['ours']:.4f}"
        size = f"{row['bytes'] / 1e6:.1f}"
        lines.append(f"| {row['version']} | {row['dims']} | {row['documents']:,} | {size} | {scores} |")
    return "\n".join(lines)


def put(page: str, made: str) -> str:
    """The page with the table between its marks."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    new, count = pattern.subn(lambda _: f"{BEGIN}\n\n{made}\n\n{END}", page)
    assert count == 1, "the page has the marks once"
    return new


if __name__ == "__main__":
    figures, page = map(Path, sys.argv[1:])
    page.write_text(put(page.read_text(encoding="utf-8"), table(json.loads(figures.read_text()))), encoding="utf-8")
