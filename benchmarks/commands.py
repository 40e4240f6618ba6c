"""The pipeline's commands: `dvc repro` with nothing to do, two ablations, and the start of a stage.

Usage: python -m benchmarks.commands --pipeline FOLDER [--only NAME ...]

FOLDER is a clone of the project in which `dvc repro` is done and committed; the ablations are run there, and its files are
restored after each. A stage's start is the time from its command, as dvc runs it, to the first file of the benchmark that it
opens. With --small a stage's start alone is measured, in a tiny folder.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from benchmarks.harness import Bar, Timed, options, pipeline, write_result
from benchmarks.small import BENCHMARK

ROOT = Path(__file__).parents[1]
RATE = "finetune.strategies.smart_hybrid.projection_learning_rate=5e-4"
# Put on a process' path, so that it, or what it starts, ends where it opens the file of the name in FIRST_WORK.
_HOOK = """
import os, sys, time
def hook(event, arguments):
    if event == "open" and os.environ["FIRST_WORK"] in str(arguments[0]):
        with os.fdopen(os.dup(2), "w") as stream:
            stream.write(f"\\nFIRST {time.time()}\\n")
        os._exit(0)
sys.addaudithook(hook)
"""


def environment(**more: str) -> dict[str, str]:
    """This process' environment, with the same Python first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TOKENIZERS_PARALLELISM": "false", **more}


def seconds(folder: Path, *command: str) -> float:
    """Of a command that must succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {folder}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


def ablation(folder: Path, setting: str) -> float:
    """Seconds of a whole `dvc exp run`; files and outputs are restored after it."""
    taken = seconds(folder, "dvc", "exp", "run", "-S", setting)
    seconds(folder, "git", "checkout", "--quiet", ".")
    seconds(folder, "dvc", "checkout", "--quiet")
    return taken


def stage_start(folder: Path) -> float:
    """Seconds from the command of evaluate@smart_hybrid to the first file of the benchmark that it opens."""
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["evaluate"]["cmd"]
    command = definition.replace("${item.model}", "smart_hybrid").replace("${item.benchmark}", BENCHMARK)
    command = command.replace("${ddp.nproc_per_node}", "1")
    with tempfile.TemporaryDirectory() as hook:
        Path(hook, "sitecustomize.py").write_text(_HOOK)
        paths = os.pathsep.join([hook, str(folder.resolve()), str(ROOT)])
        began = time.time()
        done = subprocess.run(
            command.split(),
            cwd=folder,
            env=environment(PYTHONPATH=paths, FIRST_WORK=f"data/benchmarks/{BENCHMARK}"),
            capture_output=True,
            text=True,
        )
    found = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("FIRST ")]
    if not found:
        raise SystemExit(f"the stage opened no file of {BENCHMARK}:\n{done.stderr}")
    return float(found[0]) - began


def measured(folder: Path, arguments: Namespace) -> dict[str, Timed]:
    """The seconds of each command that is asked for; an ablation is run once."""
    works: dict[str, Callable[[], float]] = {
        "stage": lambda: stage_start(folder),
        "repro": lambda: seconds(folder, "dvc", "repro"),
        "rate": lambda: ablation(folder, RATE),
        "live": lambda: ablation(folder, "freeze_base=false"),
    }
    timed = {}
    for name in ["stage"] if arguments.small else arguments.only:
        rounds = arguments.rounds if name in ("stage", "repro") else 1
        timed[name] = Timed([works[name]() for _ in range(rounds)])
        print(f"{name}: {timed[name].seconds}", file=sys.stderr, flush=True)
    return timed


def bars(timed: dict[str, Timed]) -> list[Bar]:
    """The claims of the table, by the median of the rounds."""
    claims = {
        "stage": ("a stage's start, evaluate from embeddings", 2.5),
        "rate": (f"`dvc exp run -S {RATE}`", 35.0),
        "live": ("`dvc exp run -S freeze_base=false`", 240.0),
        "repro": ("`dvc repro` with nothing to do", 4.0),
    }
    return [
        Bar(
            claim,
            statistics.median(timed[name].seconds) if name in timed else None,
            " s",
            at_most=most,
            why="not asked for in the last run",
        )
        for name, (claim, most) in claims.items()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument(
        "--only", nargs="+", default=["stage", "repro", "rate", "live"], choices=["stage", "repro", "rate", "live"]
    )
    arguments = parser.parse_args(argv)
    with pipeline(arguments) as folder:
        timed = measured(folder, arguments)
    figures = {f"{name}, s": round(work.median, 2) for name, work in timed.items()}
    same = "nothing is compared, the commands are the work"
    write_result("commands", arguments, bars(timed), timed, same=same, figures=figures)


if __name__ == "__main__":
    main()
