"""The experiments of this folder's scripts as a Markdown table, from what dvc recorded of them.

Usage: python experiments/table.py MODEL PREFIX

Prints, for `workspace` and every experiment named PREFIX-…, the dev NDCG@10 of MODEL on each benchmark, their mean, and
the corpus' IsoScore: what defaults are chosen by. Test figures are left out on purpose.
"""

import json
import subprocess
import sys
from typing import Any


def main() -> None:
    model, prefix = sys.argv[1:]
    shown = json.loads(subprocess.check_output(["dvc", "exp", "show", "--json"], text=True))
    # The first revision is the workspace, the second the commit; experiments stand under the commits they left.
    found = {"defaults": shown[1]}
    for revision in shown:
        for experiment in revision.get("experiments") or []:
            name = experiment["name"] or ""
            if name.startswith(f"{prefix}-"):
                found[name.removeprefix(f"{prefix}-")] = experiment["revs"][0]
    rows = [row(name, revision["data"]["metrics"], model) for name, revision in found.items()]
    benchmarks = [name for name in rows[0] if name.startswith("dev")]
    header = ["experiment", *benchmarks, "mean", "IsoScore"]
    print("| " + " | ".join(header) + " |")
    print("| --- |" + " ---: |" * (len(header) - 1))
    for line in sorted(rows, key=lambda line: -float(line["mean"])):
        print("| " + " | ".join(str(line[name]) for name in header) + " |")


def row(name: str, metrics: dict[str, Any], model: str) -> dict[str, str]:
    """One experiment's figures."""
    files = {
        path.split("/")[2].removesuffix(".json"): value["data"]
        for path, value in metrics.items()
        if f"/{model}/" in path
    }
    dev = {benchmark: data["dev"]["ndcg@10"] for benchmark, data in files.items() if "dev" in data}
    isoscore = next(iter(files.values()))["isotropy"]["isoscore"]
    return {
        "experiment": name,
        **{f"dev {benchmark}": f"{value:.4f}" for benchmark, value in sorted(dev.items())},
        "mean": f"{sum(dev.values()) / len(dev):.4f}",
        "IsoScore": f"{isoscore:.3f}",
    }


if __name__ == "__main__":
    main()
