"""The stages that queued experiments would run, in order, and what they would take; nothing is run.

Usage: python -m estimate.dry --experiment NAME key=value... [--experiment ...]; `--dry` of the scripts calls it.

It applies each experiment's settings to a copy of the last commit and lets dvc resolve and order the stages there. An
experiment runs a stage unless one before it has run it with the same command, params and inputs: dvc then takes the
outputs from its run-cache. A stage whose outputs persist is not kept there and runs each time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from estimate.costs import ROOT
from estimate.inputs import add_arguments, estimate_of, params_of
from estimate.report import report
from ragcun.params import Params


@dataclass(frozen=True)
class Step:
    """A stage that an experiment runs."""

    stage: str
    command: str


@dataclass(frozen=True)
class Planned:
    """An experiment: its params and what it runs."""

    params: Params
    steps: list[Step]


def plan(folder: Path, experiments: Mapping[str, Sequence[str]]) -> dict[str, Planned]:
    """What each experiment runs, by name, given its settings; its params are written to `folder`, a copy of the project."""
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro
    from dvc.utils.hydra import apply_overrides

    params = folder / "params.yaml"
    committed = params.read_text()
    ran: set[str] = set()
    planned: dict[str, Planned] = {}
    for name, settings in experiments.items():
        params.write_text(committed)
        apply_overrides(params, list(settings))
        repo = Repo(str(folder), config={"core": {"no_scm": True}})
        graph = repo.index.graph
        values = yaml.safe_load(params.read_text())
        keys: dict[Any, str] = {}
        steps = []
        for stage in plan_repro(graph):
            # Everything that decides its outputs, through the stages before it too.
            keys[stage] = json.dumps(
                [decides(stage, values), sorted(keys[before] for before in graph.successors(stage))]
            )
            if keys[stage] not in ran or any(out.persist for out in stage.outs):
                steps.append(Step(stage.name, command(stage)))
            ran.add(keys[stage])
        repo.close()
        planned[name] = Planned(params_of(params), steps)
    return planned


def decides(stage: Any, values: Any) -> list[Any]:
    """A stage's command, params with values, and paths that it reads; all experiments find the same there."""
    from dvc.dependency.param import ParamsDependency

    keys = sorted(key for dep in stage.deps if isinstance(dep, ParamsDependency) for key in dep.params)
    tracked = {key: reduce(getitem, key.split("."), values) for key in keys}
    return [stage.name, stage.cmd, tracked, sorted(str(dep) for dep in stage.deps)]


def command(stage: Any) -> str:
    """The last command of a stage; the one before it checks params.yaml."""
    return str(stage.cmd if isinstance(stage.cmd, str) else stage.cmd[-1])


def copy_of_commit(folder: Path) -> None:
    """Fill the folder with the last commit."""
    tree = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "--extract"], cwd=folder, check=True, input=tree)
    # What ran before does not matter here, and the lock takes seconds to read.
    (folder / "dvc.lock").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m estimate.dry", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", action="append", nargs="+", required=True, metavar=("NAME", "key=value"))
    add_arguments(parser)
    arguments = parser.parse_args()
    experiments = {name: settings for name, *settings in arguments.experiment}
    if subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode:
        print("note: this is the plan of the last commit, without the changes since", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Keep dvc's notes on this copy out of the user's folder.
        os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "site")
        copy_of_commit(folder)
        planned = plan(folder, experiments)
    print_plan({name: each.steps for name, each in planned.items()}, experiments)
    estimates = {name: estimate_of(each.params, arguments) for name, each in planned.items()}
    ran = {}
    for name, estimate in estimates.items():
        costs = estimate.costs()
        ran[name] = {step.stage: costs[step.stage] for step in planned[name].steps}
    first, *_ = estimates.values()
    print(report(first, ran))


def print_plan(planned: Mapping[str, Sequence[Step]], experiments: Mapping[str, Sequence[str]]) -> None:
    first, *_ = experiments
    common = set(experiments[first])
    for name, steps in planned.items():
        own = [setting for setting in experiments[name] if name == first or setting not in common]
        runs = (
            f"runs all {len(steps)} stages" if name == first else f"runs {len(steps)} of {len(planned[first])} stages"
        )
        print(f"{name} {runs}")
        print("".join(f"    -S {setting}\n" for setting in own))
        print("".join(f"{number:4} {step.stage}: {step.command}\n" for number, step in enumerate(steps, start=1)))


if __name__ == "__main__":
    main()
