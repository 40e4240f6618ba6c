"""The experiments of a script as a Markdown table, from what dvc recorded of them.

Usage: python -m estimate.table PREFIX MODEL... [--split dev|test] [--baseline NAME]

For the commit (`defaults`) and every experiment named PREFIX-…: NDCG@10 of each model on each benchmark, their mean, and
IsoScore of the corpus, best mean first. A model that an experiment did not change has no row in it. --baseline names the
experiment that stands for the commit, where the experiments are on other data than the commit's. Defaults are chosen on
dev, the split unless told; an ablation that chooses nothing reports test.
"""

import argparse
import json
import subprocess
from typing import Any

import pandas as pd

from ragcun.report.tables import markdown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m estimate.table")
    parser.add_argument("prefix")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--split", choices=["dev", "test"], default="dev")
    parser.add_argument("--baseline", default="defaults")
    arguments = parser.parse_args()
    found = experiments(arguments.prefix)
    if arguments.baseline not in found:
        raise SystemExit(f"error: there is no experiment {arguments.prefix}-{arguments.baseline}: see `dvc exp show`")
    if arguments.baseline != "defaults":
        del found["defaults"]
    committed = found[arguments.baseline]
    rows = []
    for model in arguments.models:
        changed = {
            name: figures(files(metrics, model), arguments.split)
            for name, metrics in found.items()
            if name == arguments.baseline or files(metrics, model) != files(committed, model)
        }
        best_first = sorted(filter(lambda item: item[1], changed.items()), key=lambda item: -float(item[1]["mean"]))
        rows += [{"experiment": name, "model": model, **measured} for name, measured in best_first]
    print(markdown(pd.DataFrame(rows).fillna(""), names=2))


def experiments(prefix: str) -> dict[str, dict[str, Any]]:
    """The metrics of the commit, as `defaults`, and of the experiments that ended, by the rest of their names."""
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
    return {name: revision["data"]["metrics"] for name, revision in found.items()}


def files(metrics: dict[str, Any], model: str) -> dict[str, Any]:
    """What a model's metrics files hold, by benchmark."""
    return {
        path.split("/")[2].removesuffix(".json"): value["data"]
        for path, value in metrics.items()
        if path.startswith(f"metrics/{model}/") and "data" in value
    }


def figures(measures: dict[str, Any], split: str) -> dict[str, str]:
    """The cells of a row; none for a model without metrics."""
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
