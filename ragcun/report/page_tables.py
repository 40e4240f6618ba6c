"""Tables as the report's template wants them: cells with their text and, to sort by, their value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ragcun.report.comparison import BASELINE, METRIC, WITH_ADAPT, Comparison
from ragcun.report.marks import STAR, places
from ragcun.report.tables import SIGNIFICANT

ISOSCORE = "isotropy.isoscore"


@dataclass(frozen=True)
class Cell:
    """kind: classes for the style. value: to sort by, where the text is no number. hint: shown on hover.

    >>> Cell("0.6940*", "figure", value=0.694).text
    '0.6940*'
    """

    text: str
    kind: str = ""
    value: float | None = None
    hint: str = ""


@dataclass(frozen=True)
class Head:
    """The head of a column. figure: whether it holds numbers.

    >>> Head("model").figure
    False
    """

    text: str
    figure: bool = False


@dataclass(frozen=True)
class Row:
    """group: the rows that are shown and hidden together.

    >>> Row([Cell("base")], group="models").group
    'models'
    """

    cells: Sequence[Cell]
    group: str = ""


@dataclass(frozen=True)
class View:
    """A table. name: a class for the style.

    >>> View("Scores", [Head("model")], [Row([Cell("base")])]).rows[0].cells[0].text
    'base'
    """

    title: str
    heads: Sequence[Head]
    rows: Sequence[Row]
    note: str = ""
    name: str = ""


def plain_view(title: str, table: pd.DataFrame) -> View:
    """A table as it is; columns in which every text is a number are aligned right, floats have four digits.

    >>> view = plain_view("", pd.DataFrame({"model": ["base"], "ndcg@10": [0.64623]}))
    >>> view.rows[0].cells[1]
    Cell(text='0.6462', kind='figure', value=None, hint='')
    """
    names = list(map(str, table))
    figures = {
        name
        for name in names
        if len(table) and pd.to_numeric(table[name].replace("", None), errors="coerce").notna().any()
    }
    heads = [Head(name, name in figures) for name in names]
    rows = [
        Row([Cell(_text(row[name]), "figure" if name in figures else "") for name in names])
        for row in table.to_dict("records")
    ]
    return View(title, heads, rows)


def comparison_view(comparison: Comparison) -> View:
    """NDCG@10 of every model by benchmark, the mean, and IsoScore; the best and the second of each column are marked.

    Rows of controls and of fusion are not marked.

    >>> view = comparison_view(tiny_comparison)
    >>> [(row.cells[0].text, row.cells[1].text, row.cells[1].kind) for row in view.rows]
    [('bm25', '1.0000', 'figure best'), ('base', '0.6309', 'figure second')]
    """
    test = comparison.test
    scores = test.pivot_table(index="model", columns="benchmark", values=METRIC, sort=False)
    benchmarks = list(scores)
    if len(benchmarks) > 1:
        # A mean over some of the benchmarks would look like one to compare.
        scores["mean"] = scores[benchmarks].mean(axis=1, skipna=False)
    p_values = test.pivot_table(index="model", columns="benchmark", values="p_holm", sort=False)
    ranked = scores[[model not in comparison.appendix for model in scores.index]].map(_text)
    kinds = {name: dict(zip(ranked.index, places(ranked[name]), strict=True)) for name in ranked}
    wide = scores
    if ISOSCORE in test:
        isotropy = test.pivot_table(index="model", columns="benchmark", values=ISOSCORE, sort=False)
        wide = wide.join(isotropy.add_prefix("IsoScore "))
    rows = []
    for model, values in wide.iterrows():
        cells = [Cell(str(model))]
        for name, value in values.items():
            p_value = p_values[name].get(model) if name in p_values and model != BASELINE else None
            cells.append(_score(value, p_value, kinds.get(name, {}).get(model, "")))
        rows.append(Row(cells, _group(str(model), comparison)))
    return View("", [Head("model"), *(Head(str(name), figure=True) for name in wide)], rows, name="comparison")


def _score(value: float, p_value: float | None, place: str) -> Cell:
    kind = f"figure {place}".rstrip()
    if p_value is None or np.isnan(value):
        return Cell(_text(value), kind)
    star = STAR if p_value < SIGNIFICANT else ""
    return Cell(f"{value:.4f}{star}", kind, value, f"p = {p_value:.4g} after Holm's correction")


def _group(model: str, comparison: Comparison) -> str:
    if model in comparison.fused:
        return "fusion"
    if model in comparison.controls:
        return "controls"
    return "adapted" if model.endswith(WITH_ADAPT) else "models"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return "" if value is None else str(value)
