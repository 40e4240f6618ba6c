"""Every model's metrics and runs → metrics/comparison.{csv,md,tex,png}.

Results of benchmarks and models that are no longer named are moved to data/set_aside first.

Usage: python -m stages.compare MODEL... [--controls MODEL...]
"""

import argparse
from pathlib import Path

from ragcun.core.files import atomic_file
from ragcun.data.benchmark import read_parts
from ragcun.params import load_params
from ragcun.report.comparison import compare
from ragcun.report.figures import draw
from ragcun.report.leakage import leakage, read_seen_texts
from ragcun.report.leftovers import set_leftovers_aside
from ragcun.train.validation import read_validation_benchmark
from stages.launch import run_stage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--controls", nargs="*", default=[])
    arguments = parser.parse_args()
    params = load_params()
    set_leftovers_aside([*arguments.models, *arguments.controls], params.data.benchmarks)
    seen = read_seen_texts(Path("data/pairs/finetune"), read_validation_benchmark(Path("data/validation")))
    comparison = compare(
        arguments.models,
        params.data.benchmarks,
        metrics=Path("metrics"),
        runs=Path("data/runs"),
        leakage={name: leakage(read_parts(Path("data/benchmarks", name)), seen) for name in params.data.benchmarks},
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


if __name__ == "__main__":
    run_stage(main)
