"""The figures of the spaces, from the tables that evaluations wrote (ragcun.evaluate.picture)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from ragcun.evaluate.results import PICTURE_FILE
from ragcun.report.charts import Chart, Panel, Series
from ragcun.report.comparison import BASELINE
from ragcun.report.looks import DOCUMENTS, NORMAL, QUERIES, Looks

Pictures = Mapping[str, Mapping[str, pd.DataFrame]]
"""The table of each model, by benchmark."""

KINDS = {"documents": DOCUMENTS, "queries": QUERIES}
# Below it a density of some thousand texts is noise.
_LEAST = 1e-3


def read_pictures(models: Sequence[str], benchmarks: Sequence[str], runs: Path) -> dict[str, dict[str, pd.DataFrame]]:
    """The tables that are there.

    >>> read_pictures(["base"], ["tiny"], tiny_runs)
    {'tiny': {}}
    """
    paths = {name: {model: runs / model / name / PICTURE_FILE for model in models} for name in benchmarks}
    return {
        name: {model: pd.read_parquet(path) for model, path in found.items() if path.is_file()}
        for name, found in paths.items()
    }


def space_charts(pictures: Pictures, looks: Looks) -> list[Chart]:
    """Spectra, similarities and projections over all benchmarks, and a map for each benchmark.

    >>> [chart.name for chart in space_charts({}, Looks([]))]
    ['spectrum', 'cosines', 'projections']
    """
    maps = [_map_chart(benchmark, tables) for benchmark, tables in pictures.items() if len(tables)]
    return [_spectra(pictures, looks), _cosines(pictures, looks), _projections(pictures, looks), *maps]


def _spectra(pictures: Pictures, looks: Looks) -> Chart:
    panels = [
        Panel(title, "principal axis", "variance / mean variance", series, log_y=10)
        for title, series in _over_models(pictures, "spectrum", looks)
    ]
    return Chart(
        "spectrum",
        "Eigenvalue spectra",
        "Variance along the principal axes of each model's vectors, in means of all axes; a white space is level at 1, but for "
        "the sample of at most 5,000 texts.",
        panels,
    )


def _cosines(pictures: Pictures, looks: Looks) -> Chart:
    panels = []
    for title, series in _over_models(pictures, "cosines", looks):
        width = max(_width(pictures), 2)
        x = np.linspace(-1, 1, 401)
        normal = Series(f"normal, σ² = 1/{width}", NORMAL, x.tolist(), norm.pdf(x, scale=width**-0.5).tolist(), "line")
        panels.append(Panel(title, "cosine of two texts", "density", [*series, normal], range_x=_range(series)))
    return Chart(
        "cosines",
        "Pairwise similarities",
        "Density of the cosine of two texts, of 1,000. Dotted: what an isotropic Gaussian of as many dimensions has.",
        panels,
    )


def _projections(pictures: Pictures, looks: Looks) -> Chart:
    panels = []
    x = np.linspace(-4.5, 4.5, 181)
    normal = Series("normal", NORMAL, x.tolist(), norm.pdf(x).tolist(), "line")
    for title, series in _over_models(pictures, "projections", looks):
        shown = [*series, normal]
        panels.append(Panel(title, "aᵀz", "density", shown, log_y=10, range_x=(-4.5, 4.5), range_y=(_LEAST / 2, 1.0)))
    return Chart(
        "projections",
        "Random projections",
        "Density of texts along random directions, at a mean square of 1 in each dimension and not centred, over 64 "
        "directions. Dotted: the standard normal, which SIGReg trains towards; of many dimensions, sums are near it anyway.",
        panels,
    )


def _map_chart(benchmark: str, tables: Mapping[str, pd.DataFrame]) -> Chart:
    panels, base = [], None
    for model, table in tables.items():
        points = table[table["figure"] == "map"]
        if not len(points):
            continue
        turned = _turned(points[["x", "y"]].to_numpy(), base)
        base = turned if model == BASELINE else base
        series = []
        for kind, look in KINDS.items():
            own = turned[(points["texts"] == kind).to_numpy()]
            series.append(Series(kind, look, own[:, 0].tolist(), own[:, 1].tolist(), "points"))
        panels.append((model, series))
    reach = 1.05 * max(
        (abs(value) for _, series in panels for each in series for value in (*each.x, *each.y)), default=1
    )
    return Chart(
        f"map-{benchmark}",
        f"The space in two dimensions: {benchmark}",
        "A sample of documents and queries along the two principal axes of both together, at a mean square length of 1 in all "
        "dimensions, so that the panels share a scale. Each model is turned to lie as the base does.",
        [
            Panel(
                model, "first axis", "second axis", series, range_x=(-reach, reach), range_y=(-reach, reach), equal=True
            )
            for model, series in panels
        ],
        columns=3,
        size=(2.3, 2.45),
    )


def _turned(points: np.ndarray, onto: np.ndarray | None) -> np.ndarray:
    """The points (n, 2) turned and mirrored to lie as near as can be to the same texts' points `onto` (Schönemann 1966)."""
    if onto is None or len(onto) != len(points):
        return points
    left, _, right = np.linalg.svd(points.T @ onto)
    turned: np.ndarray = points @ left @ right
    return turned


def _over_models(pictures: Pictures, figure: str, looks: Looks) -> Iterator[tuple[str, list[Series]]]:
    """For each benchmark and kind of texts the title of a panel, and a line for each model."""
    for benchmark, tables in pictures.items():
        for kind in KINDS:
            series = []
            for model, table in tables.items():
                rows = table[(table["figure"] == figure) & (table["texts"] == kind)]
                rows = rows[rows["y"] > _LEAST] if figure != "cosines" else rows
                if len(rows):
                    series.append(Series(model, looks[model], rows["x"].tolist(), rows["y"].tolist(), "line"))
            if series:
                yield f"{benchmark}: {kind}", series


def _width(pictures: Pictures) -> int:
    """The dimensions of the widest space."""
    spectra = (table[table["figure"] == "spectrum"] for tables in pictures.values() for table in tables.values())
    return int(max((table["x"].max() for table in spectra if len(table)), default=2))


def _range(series: Sequence[Series]) -> tuple[float, float]:
    """Where densities are above a hundredth of their highest."""
    inside = [x for each in series for x, y in zip(each.x, each.y, strict=True) if y > 0.01 * max(each.y)]
    return min(inside) - 0.05, max(inside) + 0.05
