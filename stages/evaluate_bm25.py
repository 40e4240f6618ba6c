"""BM25 on data/benchmarks/BENCHMARK → metrics/bm25/BENCHMARK.json, data/runs/bm25/BENCHMARK.

Usage: python -m stages.evaluate_bm25 BENCHMARK
"""

import sys
from pathlib import Path

from ragcun.data.benchmark import read_parts
from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.evaluate.results import join_parts, write_evaluation
from ragcun.params import load_params
from stages.launch import run_stage


def main() -> None:
    (name,) = sys.argv[1:]
    settings = load_params().evaluate
    parts = read_parts(Path("data/benchmarks", name))
    evaluation = join_parts(
        {part: evaluate_bm25(benchmark, settings.top_k, progress=True) for part, benchmark in parts.items()}
    )
    write_evaluation(
        evaluation, Path("metrics/bm25", f"{name}.json"), Path("data/runs/bm25", name), settings.run_depth, tag="bm25"
    )


if __name__ == "__main__":
    run_stage(main)
