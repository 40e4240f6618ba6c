"""Every model's metrics and runs → metrics/comparison.{csv,md,tex,png}.

Usage: python -m stages.compare MODEL... [--controls MODEL...]
"""

import argparse
from pathlib import Path

from ragcun.benchmark import Benchmark, read_benchmark
from ragcun.figure import draw
from ragcun.files import atomic_file
from ragcun.pairs import PreparedPairs, read_pairs
from ragcun.params import load_params
from ragcun.report import compare
from stages import run_stage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--controls", nargs="*", default=[])
    arguments = parser.parse_args()
    params = load_params()
    pairs = read_pairs(Path("data/pairs/finetune"))
    benchmarks = [read_benchmark(Path("data/benchmarks", name)) for name in params.data.benchmarks]
    comparison = compare(
        arguments.models,
        params.data.benchmarks,
        metrics=Path("metrics"),
        runs=Path("data/runs"),
        relevant={benchmark.name: seen_in_training(benchmark, pairs) for benchmark in benchmarks},
        permutations=params.evaluate.permutations,
        seed=params.seed,
        controls=arguments.controls,
    )
    views = {"csv": comparison.to_csv(), "md": comparison.to_markdown(), "tex": comparison.to_latex()}
    for suffix, text in views.items():
        with atomic_file(Path("metrics", f"comparison.{suffix}")) as partial:
            partial.write_text(text, encoding="utf-8")
    with atomic_file(Path("metrics/comparison.png")) as partial:
        draw(comparison, partial)


def seen_in_training(benchmark: Benchmark, pairs: PreparedPairs) -> dict[str, bool]:
    """For each test query, whether the text of a relevant document is a training positive."""
    positives = set(pairs.texts["text"].iloc[pairs.train["positive"].unique()])
    seen = {key for key, text in zip(benchmark.doc_ids, benchmark.doc_texts, strict=True) if text in positives}
    return {
        query: any(score > 0 and document in seen for document, score in judged.items())
        for query, judged in benchmark.qrels["test"].items()
    }


if __name__ == "__main__":
    run_stage(main)
