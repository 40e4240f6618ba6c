"""A chart as PNG and PDF, by matplotlib: the same chart gives the same bytes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

from ragcun.report.charts import Chart, Panel, Series

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#1A1A1A",
    "ytick.labelcolor": "#1A1A1A",
    "lines.linewidth": 1.3,
    # Text stays text in a PDF, and journals take no Type 3 fonts.
    "pdf.fonttype": 42,
}
_DPI = 200
# Inches that a legend's handle and a letter of its names take.
_HANDLE, _LETTER = 0.55, 0.065
# Points of a series up to which its markers are large.
_FEW = 60
# No version of the library and no time in the file.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def draw(chart: Chart, **files: Path) -> None:
    """Write the chart into files, by kind: png or pdf, or both from one drawing, with the first one's layout.

    >>> from ragcun.report.looks import Look
    >>> line = Series("base", Look(("#000000", "#ffffff")), [1, 2], [3, 4])
    >>> draw(Chart("a", "A", "", [Panel("", "x", "y", [line])]), png=Path("a.png"), pdf=Path("a.pdf"))
    >>> Path("a.png").read_bytes()[1:4], Path("a.pdf").read_bytes()[1:4]
    (b'PNG', b'PDF')
    """
    with pyplot.rc_context(_STYLE):
        figure = _figure(chart)
        for kind, path in files.items():
            figure.savefig(path, format=kind, dpi=_DPI, metadata=_METADATA[kind])
            # Computed once: it takes longer than the rest of a small figure.
            figure.set_layout_engine("none")
        pyplot.close(figure)


def _figure(chart: Chart) -> Figure:
    columns = max(1, min(chart.columns, len(chart.panels)))
    rows = max(1, -(-len(chart.panels) // columns))
    width, height = chart.size
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(width * columns, height * rows + 0.4), layout="constrained", squeeze=False
    )
    for place, axes in enumerate(grid.flat):
        if place < len(chart.panels):
            # Names of rows, and of an axis that all share, stand once.
            first = place % columns == 0
            _draw_panel(axes, chart.panels[place], labelled=first or chart.panels[place].y != chart.panels[place - 1].y)
        else:
            axes.set_axis_off()
    handles = _handles(figure)
    if chart.legend and handles:
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=min(len(handles), 3 * columns),
            frameon=False,
        )
    return figure


def _handles(figure: Figure) -> dict[str, Any]:
    """What stands in the legend: the first of each name, over all panels."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return found


def _draw_panel(axes: Any, panel: Panel, *, labelled: bool) -> None:
    for series in panel.series:
        _draw_series(axes, series)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x)
    if labelled:
        axes.set_ylabel(panel.y)
    for axis, set_scale, base in (
        (axes.xaxis, axes.set_xscale, panel.log_x),
        (axes.yaxis, axes.set_yscale, panel.log_y),
    ):
        if base is not None:
            set_scale("log", base=base)
            _label_powers(axis, base)
    if panel.rows:
        axes.set_yticks(range(len(panel.rows)), panel.rows if labelled else [""] * len(panel.rows))
        axes.set_ylim(len(panel.rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    for limits, of in ((axes.set_xlim, panel.range_x), (axes.set_ylim, panel.range_y)):
        if of is not None:
            limits(*of)
    if panel.equal:
        axes.set_aspect("equal")


def _label_powers(axis: Any, base: int) -> None:
    """Bytes are read as numbers, not as powers of 2."""
    if base == 2:
        axis.set_major_locator(LogLocator(base=2, subs=(1.0,), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _draw_series(axes: Any, series: Series) -> None:
    look, colour = series.look, series.look.colour[0]
    shared = {"color": colour, "alpha": 0.35 if series.faint else (0.6 if look.hollow else 1.0)}
    few = len(series.x) <= _FEW
    if series.low is not None:
        axes.hlines(series.y, series.low, series.high, linewidth=1.6, **shared)
        for x, y in zip(series.x, series.y, strict=True):
            axes.annotate(f"{x:.3f}", (x, y), (0, 4), textcoords="offset points", ha="center", fontsize=6.5)
    marked = {
        "marker": look.marker if series.kind != "line" else "",
        "markersize": 3.0 if series.faint else 4.8 if few else 2.0,
        "markerfacecolor": "white" if look.hollow else colour,
        "markeredgewidth": 1.0 if look.hollow else 0.0,
    }
    style = {"linestyle": ""} if series.kind == "points" else dict(_dashed(look.dashes))
    named = not (series.faint or look.hollow)
    axes.plot(series.x, series.y, label=series.name if named else "_", **shared, **marked, **style)


def _dashed(dashes: tuple[float, ...]) -> Iterator[tuple[str, Any]]:
    yield "linestyle", (0, dashes) if dashes else "-"
