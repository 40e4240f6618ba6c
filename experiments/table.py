"""The experiments of this folder's scripts as a Markdown table, from what dvc recorded of them.

Usage: python experiments/table.py PREFIX MODEL... [--split dev|test] [--baseline NAME]

For the commit (`defaults`) and every experiment named PREFIX-…: NDCG@10 of each model on each benchmark, their mean, and
the corpus' IsoScore, best mean first. A model that an experiment did not change has no row in it. Where an experiment is
the baseline of the others, on other data than the commit's, the commit has no row. Defaults are chosen by
dev, which is what it prints unless told; an ablation that chooses nothing reports test.
"""

import argparse
import json
import subprocess
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("prefix")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", choices=["dev", "test"], default="dev")
    parser.add_argument("--baseline", default="defaults")
    arguments = parser.parse_args()
    rows = []
    found = experiments(arguments.prefix)
    if arguments.baseline not in found:
        raise SystemExit(f"error: there is no experiment {arguments.prefix}-{arguments.baseline}: see `dvc exp show`")
    if arguments.baseline != "defaults":
        del found["defaults"]
    committed = found[arguments.baseline]["data"]["metrics"]
    for name, revision in found.items():
        for model in arguments.models:
            metrics = revision["data"]["metrics"]
            figures = measured(metrics, model, arguments.split)
            if figures and (name == arguments.baseline or files(metrics, model) != files(committed, model)):
                rows.append({"experiment": name, "model": model, **figures})
    rows.sort(key=lambda row: (arguments.models.index(row["model"]), -float(row["mean"])))
    header = list(dict.fromkeys(column for row in rows for column in row))
    print("| " + " | ".join(header) + " |")
    print("| --- | --- |" + " ---: |" * (len(header) - 2))
    for row in rows:
        print("| " + " | ".join(row.get(name, "") for name in header) + " |")


def experiments(prefix: str) -> dict[str, Any]:
    """What `dvc exp show` has of the commit, as `defaults`, and of the experiments by the rest of their names."""
    shown = json.loads(subprocess.check_output(["dvc", "exp", "show", "--json"], text=True))
    # The first revision is the workspace, the second the commit; experiments stand under the commits they left.
    found = {"defaults": shown[1]}
    for revision in shown:
        for experiment in revision.get("experiments") or []:
            name = experiment["name"] or ""
            # One that waits, runs or failed is shown with the figures of its commit.
            ended = (experiment["executor"] or {"state": "success"})["state"] == "success"
            if ended and name.startswith(f"{prefix}-"):
                found[name.removeprefix(f"{prefix}-")] = experiment["revs"][0]
    return found


def files(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """What a model's metrics files hold, by benchmark."""
    return {
        path.split("/")[2].removesuffix(".json"): value["data"]
        for path, value in metrics.items()
        if path.startswith(f"metrics/{model}/") and "data" in value
    }


def measured(metrics: dict[str, Any], model: str, split: str) -> dict[str, str]:
    """A model's figures in one experiment; none where it has no metrics."""
    measures = files(metrics, model)
    key = "ndcg@10" if split == "test" else "dev_ndcg@10"
    ndcg = {name: data[key] for name, data in sorted(measures.items()) if key in data}
    if not ndcg:
        return {}
    return {
        **{f"{split} {name}": f"{value:.4f}" for name, value in ndcg.items()},
        "mean": f"{sum(ndcg.values()) / len(ndcg):.4f}",
        "IsoScore": f"{next(iter(measures.values()))['isoscore']:.3f}",
    }


if __name__ == "__main__":
    main()
