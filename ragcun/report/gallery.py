"""All figures of a comparison, and their files."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ragcun.core.files import atomic_file, atomic_folder
from ragcun.report.charts import Chart
from ragcun.report.comparison import Comparison
from ragcun.report.drawing import draw
from ragcun.report.figures import compression_chart, curves_chart, isotropy_chart, scores_chart
from ragcun.report.looks import Looks
from ragcun.report.space_figures import read_pictures, space_charts

# Of these the PNG is in git too, in metrics/.
TRACKED = ("comparison", "compression")


def charts(
    comparison: Comparison, compression: pd.DataFrame, models: Sequence[str], *, runs: Path, curves: Path
) -> list[Chart]:
    """Every figure; those without data have no panels.

    Args:
        models: BM25 and the models that are no controls, in the order of the table.
        curves: the folder with <model>.tsv.

    >>> none = pd.DataFrame(columns=["benchmark"])
    >>> found = charts(tiny_comparison, none, ["bm25", "base"], runs=tiny_runs, curves=Path())
    >>> [chart.name for chart in found if chart.panels]
    ['comparison']
    """
    looks = Looks([*models, *comparison.controls])
    benchmarks = list(dict.fromkeys(comparison.test["benchmark"]))
    there = {model: curves / f"{model}.tsv" for model in models}
    return [
        scores_chart(comparison, looks),
        isotropy_chart(comparison, looks),
        compression_chart(compression, models, looks),
        curves_chart({model: pd.read_csv(path, sep="\t") for model, path in there.items() if path.is_file()}, looks),
        *space_charts(read_pictures(models, benchmarks, runs), looks),
    ]


def write_figures(found: Sequence[Chart], folder: Path, tracked: Path) -> None:
    """Write each figure as PNG and PDF into `folder`, and the PNG of those in git (TRACKED), drawn or empty, into `tracked`.

    >>> Path("metrics").mkdir()
    >>> write_figures([Chart("comparison", "", "", [])], Path("figures"), Path("metrics"))
    >>> [path.name for path in Path("metrics").iterdir()]
    ['comparison.png']
    """
    with atomic_folder(folder) as partial:
        for chart in found:
            if chart.panels:
                draw(chart, png=partial / f"{chart.name}.png", pdf=partial / f"{chart.name}.pdf")
    for chart in found:
        if chart.name in TRACKED:
            with atomic_file(tracked / f"{chart.name}.png") as partial:
                if chart.panels:
                    shutil.copyfile(folder / f"{chart.name}.png", partial)
                else:
                    draw(chart, png=partial)
