"""What a result comes from: params that differ from the committed ones, and the reports of the data."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

# What a report is of, and where it is, apart from the benchmarks'.
REPORTS = {"passages": Path("data/raw/passages/report.json"), "pairs": Path("data/raw/pairs/report.json")}


def changed_params(params: Path = Path("params.yaml")) -> pd.DataFrame | None:
    """The keys whose value is not the one in git's HEAD, with both values; None where there is no commit with the file.

    >>> changed_params(Path("nowhere.yaml")) is None
    True
    """
    # From the file's own folder, for which `./` stands.
    command = ["git", "show", f"HEAD:./{params.name}"]
    try:
        shown = subprocess.run(command, cwd=params.parent, capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        return None
    if shown.returncode or not params.is_file():
        return None
    return differences(yaml.safe_load(shown.stdout), yaml.safe_load(params.read_text(encoding="utf-8")))


def differences(committed: Any, now: Any) -> pd.DataFrame:
    """The leaves of two nested mappings that differ, by dotted key; a key that one of them lacks is blank there.

    >>> differences({"seed": 1, "data": {"pairs": "a"}}, {"seed": 1, "data": {"pairs": "b"}})
              key committed now
    0  data.pairs         a   b
    """
    before, after = dict(_leaves(committed)), dict(_leaves(now))
    keys = [key for key in dict.fromkeys((*before, *after)) if before.get(key, "") != after.get(key, "")]
    rows = [(key, str(before.get(key, "")), str(after.get(key, ""))) for key in keys]
    return pd.DataFrame(rows, columns=["key", "committed", "now"])


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, "null" if node is None else str(node)


def data_sources(benchmarks: Sequence[str], root: Path = Path("data/benchmarks")) -> pd.DataFrame:
    """A row for the passages, the pairs and each benchmark: source, licence, revision, and how much of it there is.

    >>> data_sources([]).columns.tolist()
    ['data', 'source', 'licence', 'revision', 'size']
    """
    rows = []
    for name, path in REPORTS.items():
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            rows.append(_source(name, report, f"{report.get('kept', 0):,} of {report.get('read', 0):,} rows"))
    for name in benchmarks:
        for path in sorted((root / name).glob("report.json")) or sorted((root / name).glob("*/report.json")):
            report = json.loads(path.read_text(encoding="utf-8"))
            of = name if path.parent.name == name else f"{name}/{path.parent.name}"
            queries = report["splits"]["test"]["queries"]
            rows.append(_source(of, report, f"{report['documents']:,} documents, {queries:,} test queries"))
    return pd.DataFrame(rows, columns=["data", "source", "licence", "revision", "size"])


def _source(name: str, report: dict[str, Any], size: str) -> tuple[str, str, str, str, str]:
    source, licence, revision = (str(report.get(key) or "not stated") for key in ("source", "licence", "revision"))
    return name, source, licence, revision, size
