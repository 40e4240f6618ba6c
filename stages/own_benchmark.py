"""Links to the user's folder of the benchmark NAME → data/own/benchmarks/NAME, as stages.own_files does.

Usage: python -m stages.own_benchmark NAME
"""

import sys
from pathlib import Path

from ragcun.params import load_params
from ragcun.sources.user_files.links import link_benchmark
from stages.launch import run_stage


def main() -> None:
    (name,) = sys.argv[1:]
    local = load_params().data.local.get(name)
    folder = Path("data/own/benchmarks", name)
    link_benchmark(Path(local) if local else None, folder, key=f"data.local.{name}")


if __name__ == "__main__":
    run_stage(main)
