"""Fetch one benchmark: `python -m stages.download_benchmark NAME` → data/benchmarks/NAME, in BEIR's layout."""

import argparse
import logging
from pathlib import Path

from ragcun.benchmark import write_benchmark
from ragcun.params import load_params
from ragcun.sources import benchmark_source
from stages import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="one of data.benchmarks in params.yaml")
    name = parser.parse_args().name
    benchmark = benchmark_source(name, load_params().data.local).benchmark()
    write_benchmark(benchmark, Path("data/benchmarks") / name)
    counts = ", ".join(f"{len(queries)} {split} queries" for split, queries in benchmark.queries.items())
    logger.info("%s: %d documents, %s", name, len(benchmark.doc_ids), counts)


if __name__ == "__main__":
    run_stage(main)
