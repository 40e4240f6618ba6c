"""The tables of docs/serving.md: "What works where", from the figures that `make clients` records, and that of exports.

    python -m tests.clients.table experiments/clients.json docs/serving.md
    python -m tests.clients.table --parity EXPORTS experiments/parity.json docs/serving.md

Pages and figures are written by experiments/clients.sh and experiments/parity.sh.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

CLIENTS = "<!-- clients: made by experiments/clients.sh -->", "<!-- end of clients -->"
PARITY = "<!-- parity: made by experiments/parity.sh -->", "<!-- end of parity -->"


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


def parity_table(exports: dict[str, dict[str, Any]]) -> str:
    """What parity.json says of each file of each export."""
    lines = ["| model | file | MB | least cosine | mean cosine | NDCG@10 |", "| --- | --- | --: | --: | --: | --: |"]
    for model, parity in exports.items():
        lines.append(f"| `{model}` | *in torch* |  |  |  | {parity['ndcg@10']:.4f} |")
        for name, each in parity["artefacts"].items():
            score = "" if each["ndcg@10"] is None else f"{each['ndcg@10']:.4f}"
            cosines = f"{each['least_cosine']:.6f} | {each['mean_cosine']:.6f}"
            place = "the folder" if name == "." else f"`{name}`"
            lines.append(f"| `{model}` | {place} | {each['bytes'] / 1e6:.1f} | {cosines} | {score} |")
    return "\n".join(lines)


def put(page: str, made: str, marks: tuple[str, str] = CLIENTS) -> str:
    """The page with the table between its marks."""
    begin, end = marks
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    new, count = pattern.subn(lambda _: f"{begin}\n\n{made}\n\n{end}", page)
    assert count == 1, "the page has the marks once"
    return new


def main(arguments: list[str]) -> None:
    figures, page = map(Path, arguments[-2:])
    text = page.read_text(encoding="utf-8")
    if arguments[0] == "--parity":
        exports = {path.parent.name: json.loads(path.read_text()) for path in Path(arguments[1]).glob("*/parity.json")}
        figures.write_text(json.dumps(exports, indent=2, sort_keys=True) + "\n")
        text = put(text, parity_table(json.loads(figures.read_text())), PARITY)
    else:
        text = put(text, table(json.loads(figures.read_text())))
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
