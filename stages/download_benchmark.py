"""Fetch one benchmark: `python -m stages.download_benchmark NAME` → data/benchmarks/NAME, in BEIR's layout."""

import argparse
from pathlib import Path

from ragcun.params import load_params
from ragcun.sources.registry import fetch_benchmark
from stages.launch import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="one of data.benchmarks in params.yaml")
    name = parser.parse_args().name
    fetch_benchmark(name, load_params().data, Path("data/benchmarks") / name)


if __name__ == "__main__":
    run_stage(main)
