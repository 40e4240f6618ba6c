"""A figure as data: panels of series. ragcun.report.drawing makes PNG and PDF of it, the report's script SVG."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ragcun.report.looks import Look

Kind = Literal["line", "points", "both"]


@dataclass(frozen=True)
class Series:
    """Points (x, y) of one name, joined or not.

    Attributes:
        low, high: where a whisker along x of each point begins and ends, in a panel with `rows`; None for none.
        notes: what to say of each point beside x and y.
        faint: drawn pale and, as a hollow look, without a name in the legend.
    """

    name: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    kind: Kind = "both"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    notes: Sequence[str] = ()
    faint: bool = False

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON, five digits of each number.

        >>> Series("base", Look(("#000", "#fff")), [1], [1 / 3]).as_data()["y"]
        [0.33333]
        """
        numbers = {"x": self.x, "y": self.y, "low": self.low, "high": self.high}
        return {
            "name": self.name,
            "kind": self.kind,
            "colour": list(self.look.colour),
            "marker": self.look.marker,
            "dashes": list(self.look.dashes),
            "hollow": self.look.hollow,
            "faint": self.faint,
            "notes": list(self.notes),
            **{key: None if values is None else [short(value) for value in values] for key, values in numbers.items()},
        }


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        rows: names of the rows y = 0, 1, ..., from the top, where y has no numbers.
        log_x, log_y: the base of a logarithmic axis; None for a linear one.
        range_x, range_y: from where to where; None fits the points.
        equal: whether a unit is as long along x as along y.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    rows: Sequence[str] = ()
    log_x: int | None = None
    log_y: int | None = None
    range_x: tuple[float, float] | None = None
    range_y: tuple[float, float] | None = None
    equal: bool = False

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON.

        >>> Panel("scifact", "bytes", "NDCG@10", []).as_data()["x"]
        'bytes'
        """
        plain = {name: getattr(self, name) for name in ("title", "x", "y", "log_x", "log_y", "equal")}
        ranges = {name: list(value) if (value := getattr(self, name)) else None for name in ("range_x", "range_y")}
        return plain | ranges | {"rows": list(self.rows), "series": [each.as_data() for each in self.series]}


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        name: of its files.
        caption: how to read it, in whole sentences.
        columns: at most so many panels stand side by side.
        size: of a panel, in inches.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 2
    size: tuple[float, float] = (3.3, 2.5)
    legend: bool = field(default=True)

    def as_data(self) -> dict[str, Any]:
        """Plain values for JSON.

        >>> Chart("a", "A", "", []).as_data()["panels"]
        []
        """
        return {
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "columns": self.columns,
            "shape": self.size[1] / self.size[0],
            "legend": self.legend,
            "panels": [panel.as_data() for panel in self.panels],
        }


def short(value: float) -> float:
    """Five digits.

    >>> short(0.123456789)
    0.12346
    """
    return float(f"{value:.5g}")
