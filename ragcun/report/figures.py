"""The comparison as a figure: NDCG@10 of the test queries, by benchmark and model."""

from pathlib import Path

import matplotlib

from ragcun.report.comparison import METRIC, WITH_ADAPT, Comparison

matplotlib.use("Agg")
from matplotlib import pyplot

_BAR_AREA = 0.8


def draw(comparison: Comparison, path: Path) -> None:
    """Write a PNG: a group of bars for each benchmark, a bar with its value for each model that is no control and no fusion.

    >>> draw(tiny_comparison, Path("comparison.png"))
    >>> pyplot.imread("comparison.png").shape
    (600, 825, 4)
    """
    test = comparison.test
    wide = test[~test["model"].isin(comparison.appendix)].pivot_table(
        index="benchmark", columns="model", values=METRIC, sort=False
    )
    figure, axes = pyplot.subplots(figsize=(2.5 + 3 * len(wide), 4), layout="constrained")
    width = _BAR_AREA / len(wide.columns)
    own = list(dict.fromkeys(str(model).removesuffix(WITH_ADAPT) for model in wide.columns))
    for place, model in enumerate(wide.columns):
        offsets = [group - _BAR_AREA / 2 + (place + 0.5) * width for group in range(len(wide))]
        # An adapted model has the colour of the model, but paler.
        color = f"C{own.index(str(model).removesuffix(WITH_ADAPT))}"
        alpha = 0.5 if str(model).endswith(WITH_ADAPT) else 1.0
        bars = axes.bar(offsets, wide[model], width, label=str(model), color=color, alpha=alpha)
        axes.bar_label(bars, fmt="%.3f", fontsize=7, rotation=90, padding=3)
    axes.set_xticks(range(len(wide)), [str(name) for name in wide.index])
    axes.set_ylabel("NDCG@10")
    axes.set_ylim(0, min(1.0, float(wide.max().max()) * 1.2))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    # No version of the library in the file: the same figures give the same bytes.
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)
