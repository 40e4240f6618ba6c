"""Every model's runs → metrics/comparison.{csv,md,tex,png}, metrics/measures.csv.

Results of benchmarks and models that are no longer named are moved to data/set_aside first.
"""

from pathlib import Path

from ragcun.core.files import atomic_file
from ragcun.data.benchmark import read_parts
from ragcun.params import load_params
from ragcun.report.comparison import compare
from ragcun.report.figures import draw
from ragcun.report.leakage import leakage, read_seen_texts
from ragcun.report.leftovers import set_leftovers_aside
from ragcun.report.tables import to_csv, to_latex, to_markdown
from ragcun.train.validation import read_validation_benchmark
from stages.launch import run_stage


def main() -> None:
    params = load_params()
    controls = params.evaluate.controls
    models = ["bm25", *(model for model in params.evaluate.models if model not in controls)]
    set_leftovers_aside([*models, *controls], params.data.benchmarks)
    seen = read_seen_texts(Path("data/pairs/finetune"), read_validation_benchmark(Path("data/validation")))
    comparison = compare(
        models,
        params.data.benchmarks,
        runs=Path("data/runs"),
        leakage={name: leakage(read_parts(Path("data/benchmarks", name)), seen) for name in params.data.benchmarks},
        permutations=params.evaluate.permutations,
        seed=params.seed,
        controls=controls,
    )
    views = {
        "comparison.csv": to_csv(comparison),
        "comparison.md": to_markdown(comparison),
        "comparison.tex": to_latex(comparison),
        "measures.csv": comparison.measures.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in views.items():
        with atomic_file(Path("metrics", name)) as partial:
            partial.write_text(text, encoding="utf-8")
    with atomic_file(Path("metrics/comparison.png")) as partial:
        draw(comparison, partial)


if __name__ == "__main__":
    run_stage(main)
