"""The figures of scores: NDCG@10 with its intervals, over isotropy, over bytes, and while training."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ragcun.report.charts import Chart, Panel, Series
from ragcun.report.comparison import METRIC, Comparison
from ragcun.report.compression import frontier
from ragcun.report.looks import Looks

ISOSCORE = "isotropy.isoscore"


def scores_chart(comparison: Comparison, looks: Looks) -> Chart:
    """NDCG@10 of the test queries with 95 % intervals: a panel a benchmark, a row a model that is no control and no fusion.

    >>> chart = scores_chart(tiny_comparison, Looks(["bm25", "base"]))
    >>> chart.panels[0].rows, chart.panels[0].series[1].low
    (['bm25', 'base'], [0.6309...])
    """
    means = comparison.differences.drop_duplicates(["model", "benchmark"])
    means = means[~means["model"].isin(comparison.appendix)]
    models = list(dict.fromkeys(means["model"]))
    panels = []
    for benchmark, part in means.groupby("benchmark", sort=False):
        series = [
            Series(
                row["model"],
                looks[row["model"]],
                [row[METRIC]],
                [models.index(row["model"])],
                "points",
                [row[f"{METRIC}.low"]],
                [row[f"{METRIC}.high"]],
                [f"95 % interval {row[f'{METRIC}.low']:.4f} to {row[f'{METRIC}.high']:.4f}"],
            )
            for row in part.to_dict("records")
        ]
        panels.append(Panel(str(benchmark), "NDCG@10", "", series, rows=models))
    return Chart(
        "comparison",
        "Retrieval",
        "NDCG@10 of the test queries, one seed. Whiskers: 95 % bootstrap intervals of the mean over queries. Whether two models "
        "differ is not to be read from overlaps, for all models answer the same queries: the paired tests say it.",
        panels,
        columns=3,
        size=(3.2, 0.6 + 0.21 * len(models)),
        legend=False,
    )


def isotropy_chart(comparison: Comparison, looks: Looks) -> Chart:
    """NDCG@10 over IsoScore of the corpus: a panel a benchmark, a point a model.

    >>> isotropy_chart(tiny_comparison, Looks(["bm25", "base"])).panels
    []
    """
    test = comparison.test
    test = test[[model in looks for model in test["model"]]]
    panels = []
    if ISOSCORE in test:
        for benchmark, part in test.dropna(subset=[ISOSCORE]).groupby("benchmark", sort=False):
            series = [
                Series(row["model"], looks[row["model"]], [row[ISOSCORE]], [row[METRIC]], "points")
                for row in part.to_dict("records")
            ]
            panels.append(Panel(str(benchmark), "IsoScore of the documents", "NDCG@10", series))
    return Chart(
        "isotropy",
        "Retrieval over isotropy",
        "NDCG@10 of the test queries over IsoScore of the documents' vectors; 1 is isotropic. Hollow: adapted to the corpus.",
        panels,
    )


def compression_chart(table: pd.DataFrame, models: Sequence[str], looks: Looks) -> Chart:
    """NDCG@10 over bytes a document: a panel a benchmark, a colour a model.

    >>> columns = ["model", "benchmark", "dimensions", "format", "bytes", "ndcg@10"]
    >>> rows = [("base", "a", 2, "float32", 8, 0.5), ("base", "a", 2, "int8", 2, 0.25)]
    >>> chart = compression_chart(pd.DataFrame(rows, columns=columns), ["base"], Looks(["base"]))
    >>> [list(series.x) for series in chart.panels[0].series]
    [[2, 8], [2, 8]]
    """
    panels = []
    for benchmark, part in table.groupby("benchmark", sort=False):
        series = []
        for model in models:
            own = part[part["model"] == model].sort_values("bytes")
            if len(own):
                series += [_formats(own, model, looks, faint=True), _formats(frontier(own), model, looks, faint=False)]
        panels.append(Panel(str(benchmark), "bytes a document", "NDCG@10", series, log_x=2))
    return Chart(
        "compression",
        "Quality over bytes",
        "NDCG@10 of the test queries over what a document's vector takes: float32, float16, int8 and one bit a dimension, of all "
        "or the first dimensions. Pale: every format. A line joins those that no smaller format equals or beats.",
        panels,
        size=(3.6, 3.0),
    )


def _formats(table: pd.DataFrame, model: str, looks: Looks, *, faint: bool) -> Series:
    notes = [f"{row['format']}, {row['dimensions']} dimensions" for row in table.to_dict("records")]
    sizes, scores = table["bytes"].tolist(), table[METRIC].tolist()
    return Series(model, looks[model], sizes, scores, "points" if faint else "both", notes=notes, faint=faint)


def curves_chart(curves: Mapping[str, pd.DataFrame], looks: Looks) -> Chart:
    """What the dev queries said while training: NDCG@10 and IsoScore over epochs, a line a model.

    Args:
        curves: metrics/curves/<model>.tsv by model.

    >>> curve = pd.DataFrame({"step": [0, 5], "epoch": [0, 1], "dev_ndcg@10": [0.4, 0.5], "dev_isoscore": [0.3, 0.2]})
    >>> [panel.y for panel in curves_chart({"mine": curve}, Looks(["mine"])).panels]
    ['dev NDCG@10', 'dev IsoScore']
    """
    panels = []
    for column, label in (("dev_ndcg@10", "dev NDCG@10"), ("dev_isoscore", "dev IsoScore")):
        series = []
        for model, curve in curves.items():
            if column in curve:
                there = curve.dropna(subset=[column])
                notes = [f"step {step}" for step in there["step"]]
                series.append(Series(model, looks[model], there["epoch"].tolist(), there[column].tolist(), notes=notes))
        if series:
            panels.append(Panel("", "epoch", label, series))
    return Chart(
        "curves",
        "While training",
        "The dev queries of each run while it trains; the checkpoint is chosen on them. Heights of two runs compare only where "
        "both are scored on the same queries and passages: pretraining has its own, and a base that trains has a part of them.",
        panels,
    )
