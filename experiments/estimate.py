"""What a run of the pipeline would take: time, disk and memory by stage, from measured rates and published sizes.

    python experiments/estimate.py [key=value...] [--bandwidth MBIT]
    python experiments/estimate.py --measure [BASE...]

The first prints an estimate for params.yaml with these settings; experiments/sizes.py has the sizes. The second measures
the rates of the machine and the devices it runs on, some minutes long, and writes them to experiments/rates.json: the
file in git is of two CPU cores. BASE is a base model as in params.yaml.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The package is not installed: it is the project's folder.
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from experiments.costs import Cost, Estimate, count  # noqa: E402
from ragcun.params import Params, describe  # noqa: E402

RATES = ROOT / "experiments/rates.json"


def report(estimate: Estimate, experiments: Mapping[str, Mapping[str, Cost]]) -> str:
    """The estimate as Markdown: a table by stage of the first experiment, then totals of all, disk and memory.

    Args:
        estimate: of the first experiment.
        experiments: by its name, what the stages cost that each runs.
    """
    copied = estimate.rates["files"]["copy_and_hash_bytes_a_second"]
    disks = {name: sum(cost.disk for cost in costs.values()) for name, costs in experiments.items()}
    copying = {name: disk / copied for name, disk in disks.items()}
    times = {name: copying[name] + sum(cost.seconds for cost in costs.values()) for name, costs in experiments.items()}
    (first, costs), *_ = experiments.items()
    disk = estimate.disk(list(disks.values()))
    own = f"| dvc | {gigabytes(disks[first])} of outputs | {gigabytes(copied)}/s | {duration(copying[first])} | |"
    lines = [
        f"ESTIMATES, not measurements of such a run: published sizes at rates measured on "
        f"{described(estimate.rates['machine'])}.",
        f"Downloads: at {estimate.bandwidth * 8 / 1e6:g} Mbit/s, assumed. Rates of your machine: "
        "`python experiments/estimate.py --measure`.",
        *table(
            "| stage | handles | rate | time | outputs |",
            [*map(stage_line, *zip(*grouped(costs).items(), strict=True)), own],
        ),
        *table(
            "| experiment | stages | time | outputs of its own |",
            (
                f"| {name} | {len(experiments[name])} | {duration(times[name])} | {gigabytes(disks[name])} |"
                for name in times
            ),
        ),
        "",
        f"Time of all: {duration(sum(times.values()))}.",
        *table("| disk, at the most | |", sizes_lines({**disk, "all": sum(disk.values())})),
        *table("| memory | |", sizes_lines(estimate.memory())),
    ]
    return "\n".join(lines)


def table(header: str, rows: Iterable[str]) -> list[str]:
    """Markdown; all columns but the first are figures."""
    return ["", header, "| --- |" + " ---: |" * (header.count("|") - 2), *rows]


def stage_line(name: str, costs: Sequence[Cost]) -> str:
    """Of stages that are alike; a rate that they do not share is left out."""
    seconds, disk = sum(cost.seconds for cost in costs), sum(cost.disk for cost in costs)
    shared = costs[0].rate if len({cost.rate for cost in costs}) == 1 else ""
    handles = f"{count(sum(cost.number for cost in costs))} {costs[0].unit}"
    return f"| {name} | {handles} | {shared} | {duration(seconds) if seconds else ''} | {gigabytes(disk)} |"


def sizes_lines(sizes: Mapping[str, float]) -> list[str]:
    return [f"| {what} | {gigabytes(size)} |" for what, size in sizes.items()]


def described(machine: Mapping[str, Any]) -> str:
    if not machine["gpus"]:
        return (
            f"{machine['cores']} CPU cores ({machine['processor']}, {machine['threads']} threads); no GPU was measured"
        )
    return f"one {machine['device']}, of {machine['gpus']}; time of encoding, of full training and of search is divided by them"


def grouped(costs: Mapping[str, Cost]) -> dict[str, list[Cost]]:
    """Those of the stages that are alike: one name before the @; evaluations by whether texts are encoded."""
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


def overridden(settings: Sequence[str]) -> Params:
    """params.yaml with these settings, read as dvc reads them."""
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text((ROOT / "params.yaml").read_text())
        try:
            apply_overrides(path, list(settings))
        except DvcException as error:
            raise SystemExit(f"error: {' '.join(settings)}: {error}; give KEY=VALUE, as for dvc exp run -S") from error
        return params_of(path)


def params_of(path: Path) -> Params:
    """Checked, but for the GPUs: an estimate needs none. A wrong one ends the program with its key and what to do."""
    try:
        return _params_of(path)
    except ValidationError as error:
        raise SystemExit(f"error: {describe(error)}") from error


def _params_of(path: Path) -> Params:
    raw = yaml.safe_load(path.read_text())
    wanted = raw["ddp"]["nproc_per_node"]
    raw["ddp"]["nproc_per_node"] = 1
    params = Params.model_validate(raw)
    if wanted == "gpu":
        wanted_by_all = params.ddp.model_copy(update={"nproc_per_node": wanted})
        return params.model_copy(update={"ddp": wanted_by_all})
    raw["ddp"]["nproc_per_node"] = wanted
    return Params.model_validate(raw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "words", nargs="*", metavar="KEY=VALUE | BASE", help="settings to estimate with; with --measure, base models"
    )
    parser.add_argument("--measure", action="store_true", help="measure this machine and write the rates")
    add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        from experiments import measure

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
        measure.write(measure.measure(arguments.words or measure.BASES), arguments.rates)
        return
    params = overridden(arguments.words)
    estimate = estimate_of(params, arguments)
    print(report(estimate, {"params.yaml" if not arguments.words else "these settings": estimate.costs()}))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", type=Path, default=RATES, help="the file of measured rates")
    parser.add_argument("--bandwidth", type=float, default=100, help="of the network, in Mbit/s")


def estimate_of(params: Params, arguments: argparse.Namespace) -> Estimate:
    if not arguments.rates.is_file():
        raise SystemExit(f"error: {arguments.rates} is missing: python experiments/estimate.py --measure")
    return Estimate(params, json.loads(arguments.rates.read_text()), bandwidth=arguments.bandwidth)


if __name__ == "__main__":
    main()
