"""Every model's runs → metrics/comparison.{csv,md,tex,png}, compression.{csv,png}, measures.csv, panels.md,
significance.csv, data/fused.

Results of benchmarks and models that are no longer named are moved to data/set_aside first.
"""

from pathlib import Path

from ragcun.core.files import atomic_file
from ragcun.data.benchmark import read_parts
from ragcun.params import load_params
from ragcun.report.anchors import anchors
from ragcun.report.comparison import compare
from ragcun.report.compression import draw_compression, read_compression
from ragcun.report.figures import draw
from ragcun.report.fusion import FusedRow, write_fused
from ragcun.report.latex import to_latex
from ragcun.report.leakage import leakage, read_seen_texts
from ragcun.report.leftovers import set_leftovers_aside
from ragcun.report.panels import panels
from ragcun.report.tables import to_csv, to_markdown
from ragcun.train.validation import read_validation_benchmark
from stages.launch import run_stage

FUSED = Path("data/fused")
# What stands among the models and is no strategy; the strategies are tested against each other.
NO_STRATEGIES = ("bm25", "base", "pretrain")


def main() -> None:
    params = load_params()
    controls = params.evaluate.controls
    models = ["bm25", *(model for model in params.evaluate.models if model not in controls)]
    set_leftovers_aside([*models, *controls], params.data.benchmarks)
    seen = read_seen_texts(Path("data/pairs/finetune"), read_validation_benchmark(Path("data/validation")))
    combined = [(model, method) for model in models[1:] for method in params.evaluate.fusion]
    FUSED.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in params.data.benchmarks:
        parts = read_parts(Path("data/benchmarks", name))
        found[name] = leakage(parts, seen)
        write_fused(name, parts, combined, runs=Path("data/runs"), root=FUSED)
    comparison = compare(
        models,
        params.data.benchmarks,
        runs=Path("data/runs"),
        leakage=found,
        permutations=params.evaluate.permutations,
        seed=params.seed,
        controls=controls,
        fused=[FusedRow.of(model, method, FUSED) for model, method in combined],
        strategies=[model for model in models if model not in NO_STRATEGIES],
    )
    compression = read_compression([*models, *controls], params.data.benchmarks, Path("data/runs"))
    views = {
        "comparison.csv": to_csv(comparison),
        "comparison.md": to_markdown(comparison),
        "comparison.tex": to_latex(comparison),
        "compression.csv": compression.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "panels.md": panels(comparison, compression, anchors(comparison, params.base_model)),
        "significance.csv": comparison.differences.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "measures.csv": comparison.measures.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in views.items():
        with atomic_file(Path("metrics", name)) as partial:
            partial.write_text(text, encoding="utf-8")
    with atomic_file(Path("metrics/comparison.png")) as partial:
        draw(comparison, partial)
    with atomic_file(Path("metrics/compression.png")) as partial:
        draw_compression(compression, models, partial)


if __name__ == "__main__":
    run_stage(main)
