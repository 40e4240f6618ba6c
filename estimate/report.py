"""An estimate as text: Markdown tables of time, disk and memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from estimate.costs import Cost, Estimate, count
from ragcun.report.tables import markdown


def report(estimate: Estimate, experiments: Mapping[str, Mapping[str, Cost]]) -> str:
    """A table by stage of the first experiment, then totals of all experiments, disk and memory.

    Args:
        estimate: of the first experiment.
        experiments: for each by name, the costs of the stages that it runs.
    """
    copied = estimate.rates["files"]["copy_and_hash_bytes_a_second"]
    disks = {name: sum(cost.disk for cost in costs.values()) for name, costs in experiments.items()}
    times = {
        name: disks[name] / copied + sum(cost.seconds for cost in costs.values()) for name, costs in experiments.items()
    }
    (first, costs), *_ = experiments.items()
    dvc = (
        "dvc",
        f"{gigabytes(disks[first])} of outputs",
        f"{gigabytes(copied)}/s",
        duration(disks[first] / copied),
        "",
    )
    stages = [stage_row(name, group) for name, group in grouped(costs).items()]
    totals = [(name, len(experiments[name]), duration(times[name]), gigabytes(disks[name])) for name in times]
    disk = estimate.disk(list(disks.values()))
    return "\n\n".join(
        [
            "ESTIMATES, not measurements of such a run: published sizes at rates measured on "
            f"{described(estimate.rates['machine'])}.\n"
            f"Downloads: at {estimate.bandwidth * 8 / 1e6:g} Mbit/s, assumed. Rates of your machine: "
            "`python -m estimate --measure`.",
            table([*stages, dvc], "stage", "handles", "rate", "time", "outputs"),
            table(totals, "experiment", "stages", "time", "outputs of its own"),
            f"Time of all: {duration(sum(times.values()))}.",
            sizes_table("disk, at the most", {**disk, "all": sum(disk.values())}),
            sizes_table("memory", estimate.memory()),
        ]
    )


def table(rows: Sequence[tuple], *columns: str) -> str:
    return markdown(pd.DataFrame(rows, columns=columns))


def stage_row(name: str, costs: Sequence[Cost]) -> tuple[str, ...]:
    """The row of stages that are alike; a rate that they do not share is left out."""
    seconds, disk = sum(cost.seconds for cost in costs), sum(cost.disk for cost in costs)
    shared = costs[0].rate if len({cost.rate for cost in costs}) == 1 else ""
    handles = f"{count(sum(cost.number for cost in costs))} {costs[0].unit}"
    return name, handles, shared, duration(seconds) if seconds else "", gigabytes(disk)


def sizes_table(what: str, sizes: Mapping[str, float]) -> str:
    return table([(name, gigabytes(size)) for name, size in sizes.items()], what, "size")


def described(machine: Mapping[str, Any]) -> str:
    if not machine["gpus"]:
        return (
            f"{machine['cores']} CPU cores ({machine['processor']}, {machine['threads']} threads); no GPU was measured"
        )
    return f"one {machine['device']}, of {machine['gpus']}; time of encoding, of full training and of search is divided by them"


def grouped(costs: Mapping[str, Cost]) -> dict[str, list[Cost]]:
    """Stages that are alike in one group: by the name before the @, evaluations by whether texts are encoded."""
    groups: dict[str, list[Cost]] = {}
    for name, cost in costs.items():
        stage = name.partition("@")[0]
        alone = stage in ("download", "embed_pairs", "finetune")
        label = f"evaluate, {cost.rate}" if stage == "evaluate" else stage
        groups.setdefault(name if alone else label, []).append(cost)
    return groups


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
