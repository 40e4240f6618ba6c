"""Every model's runs → metrics/comparison.{csv,md,tex,png}, compression.{csv,png}, measures.csv, panels.md,
significance.csv, data/fused, data/figures, report/report.html.

Results of benchmarks and models that are no longer named are moved to data/set_aside first.
"""

from pathlib import Path
from typing import Any

from ragcun.core.files import atomic_file
from ragcun.data.benchmark import read_parts
from ragcun.params import Params, load_params
from ragcun.report.anchors import anchors
from ragcun.report.charts import Chart
from ragcun.report.comparison import Comparison, compare
from ragcun.report.compression import read_compression
from ragcun.report.explorer import explorer
from ragcun.report.fusion import FusedRow, write_fused
from ragcun.report.gallery import charts, write_figures
from ragcun.report.latex import to_latex
from ragcun.report.leakage import leakage, read_seen_texts
from ragcun.report.leftovers import set_leftovers_aside
from ragcun.report.page import Contents, per_pair, render
from ragcun.report.panels import panels
from ragcun.report.provenance import changed_params, data_sources
from ragcun.report.tables import to_csv, to_markdown
from ragcun.train.validation import read_validation_benchmark
from stages.launch import run_stage

FUSED, RUNS = Path("data/fused"), Path("data/runs")
REPORT = Path("report/report.html")
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
    found, explorers = {}, []
    for name in params.data.benchmarks:
        parts = read_parts(Path("data/benchmarks", name))
        explorers.append(explorer(name, parts, models, RUNS, per_pair(len(params.data.benchmarks))))
        found[name] = leakage(parts, seen)
        write_fused(name, parts, combined, runs=RUNS, root=FUSED)
    comparison = compare(
        models,
        params.data.benchmarks,
        runs=RUNS,
        leakage=found,
        permutations=params.evaluate.permutations,
        seed=params.seed,
        controls=controls,
        fused=[FusedRow.of(model, method, FUSED) for model, method in combined],
        strategies=[model for model in models if model not in NO_STRATEGIES],
    )
    compression = read_compression([*models, *controls], params.data.benchmarks, RUNS)
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
    figures = charts(comparison, compression, models, runs=RUNS, curves=Path("metrics/curves"))
    write_figures(figures, Path("data/figures"), Path("metrics"))
    write_report(comparison, figures, explorers, params)


def write_report(comparison: Comparison, figures: list[Chart], explorers: list[dict[str, Any]], params: Params) -> None:
    sources = data_sources(params.data.benchmarks)
    contents = Contents(comparison, figures, explorers, changed_params(), sources, params.base_model, params.seed)
    with atomic_file(REPORT) as partial:
        partial.write_text(render(contents), encoding="utf-8")


if __name__ == "__main__":
    run_stage(main)
