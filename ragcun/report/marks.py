"""The best and the second best figure of each column of a table of text."""

from collections.abc import Callable

import pandas as pd

BEST, SECOND = "best", "second"
STAR = "*"

Mark = Callable[[str, str, str], str]
"""A figure, its place (BEST, SECOND or "") and its star ("*" or ""), as a cell."""


def value(cell: str) -> float:
    """The figure of a cell, which may have a star; NaN of an empty one.

    >>> value("0.5000*")
    0.5
    """
    return float(cell.removesuffix(STAR) or "nan")


def places(cells: pd.Series) -> list[str]:
    """BEST, SECOND or "" for each cell of a column, by its figure as shown; cells that look alike share a place.

    >>> places(pd.Series(["0.5000*", "0.4000", "0.5000", "0.3000", ""]))
    ['best', 'second', 'best', '', '']
    """
    figures = cells.map(value)
    ranked = sorted(set(figures.dropna()), reverse=True)
    names = dict(zip(ranked, (BEST, SECOND), strict=False)) if len(ranked) > 1 else {}
    return [names.get(figure, "") for figure in figures]


def marked(table: pd.DataFrame, columns: list[str], mark: Mark) -> pd.DataFrame:
    """The table with these columns' cells as `mark` writes them; empty ones stay so.

    >>> marked(pd.DataFrame({"a": ["0.5000*", "0.4000", ""]}), ["a"], markdown_mark)["a"].tolist()
    ['**0.5000**\\\\*', '_0.4000_', '']
    """
    out = table.copy()
    for column in columns:
        out[column] = [
            mark(cell.removesuffix(STAR), place, STAR if cell.endswith(STAR) else "") if cell else ""
            for cell, place in zip(table[column], places(table[column]), strict=True)
        ]
    return out


def markdown_mark(figure: str, place: str, star: str) -> str:
    r"""Best in bold, second in italics: Markdown cannot underline.

    >>> markdown_mark("0.5000", "best", "*")
    '**0.5000**\\*'
    """
    sign = {BEST: "**", SECOND: "_"}.get(place, "")
    return f"{sign}{figure}{sign}" + star.replace(STAR, r"\*")
