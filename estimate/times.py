"""What training took on this machine, as a Markdown table.

Usage: python -m estimate.times

Reads metrics/times/, where each training leaves its time. The files are in neither git nor dvc.lock: a time differs from run to
run, and would make every output that holds it differ too. A training that was interrupted counts from its last start.
"""

import json
from pathlib import Path

import pandas as pd

from estimate.report import duration
from ragcun.report.tables import markdown


def main() -> None:
    files = sorted(Path("metrics/times").glob("*.json"))
    if not files:
        raise SystemExit("error: no training has left its time in metrics/times here: run `dvc repro`")
    print(times_table({file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}))


def times_table(times: dict[str, dict]) -> str:
    """A row for each model."""
    rows = [
        {
            "model": model,
            "training time": duration(found["seconds"]),
            "processes": str(found["processes"]),
            "on": found["device"],
        }
        for model, found in times.items()
    ]
    return markdown(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
