"""models/MODEL on data/benchmarks/BENCHMARK → metrics/MODEL/BENCHMARK.json, data/runs/MODEL/BENCHMARK.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.evaluate MODEL BENCHMARK
"""

import sys
from pathlib import Path

from ragcun import distributed
from ragcun.data.benchmark import read_parts
from ragcun.evaluate.dense import evaluate_dense
from ragcun.evaluate.results import join_parts, write_evaluation
from ragcun.params import load_params
from stages.launch import run_stage


def main() -> None:
    model, name = sys.argv[1:]
    params = load_params()
    with distributed.process_group(params.ddp.timeout):
        evaluations = {}
        for part, benchmark in read_parts(Path("data/benchmarks", name)).items():
            embeddings = Path("data/embeddings", name, part)
            evaluations[part] = evaluate_dense(
                Path("models", model),
                benchmark,
                embeddings,
                params.embed,
                params.evaluate.top_k,
                params.evaluate.adapt,
                params.evaluate.compression,
            )
        if distributed.is_main():
            write_evaluation(
                join_parts(evaluations),
                Path("metrics", model, f"{name}.json"),
                Path("data/runs", model, name),
                params.evaluate.run_depth,
                tag=model,
            )


if __name__ == "__main__":
    run_stage(main)
