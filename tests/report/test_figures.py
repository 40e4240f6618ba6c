"""Figures show what the tables say, in one look: a model has the same colour, marker and line everywhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ragcun.report.charts import Chart, Series
from ragcun.report.compression import frontier
from ragcun.report.drawing import draw
from ragcun.report.gallery import TRACKED, write_figures
from ragcun.report.looks import Look, Looks
from ragcun.report.page import Contents
from ragcun.report.space_figures import KINDS, space_charts
from tests.report.report_inputs import BENCHMARKS, MODELS, report_contents

pytestmark = pytest.mark.outputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def contents(folder: Path) -> Contents:
    return report_contents(folder)


@pytest.fixture
def charts(contents: Contents) -> dict[str, Chart]:
    return {chart.name: chart for chart in contents.charts}


def series_of(chart: Chart) -> list[Series]:
    return [series for panel in chart.panels for series in panel.series]


def test_a_model_looks_the_same_in_every_figure_and_like_no_other(charts: dict[str, Chart]) -> None:
    looks: dict[str, set[Look]] = {}
    for chart in charts.values():
        for series in series_of(chart):
            looks.setdefault(series.name, set()).add(series.look)
    assert set(MODELS) < set(looks)
    assert all(len(found) == 1 for found in looks.values())
    models = [f"m{place}" for place in range(12)]
    styles = {(looks["base"].pop(), *()) for _ in range(1)} | {(Looks(models)[model],) for model in models}
    assert len(styles) == 13


def test_colours_alone_and_markers_alone_tell_the_models_apart() -> None:
    looks = Looks(["bm25", "base", *(f"m{place}" for place in range(6))])
    names = ["bm25", "base", *(f"m{place}" for place in range(6))]
    assert len({looks[name].colour for name in names}) == len(names)
    assert len({looks[name].marker for name in names}) == len(names)
    assert len({looks[name].dashes for name in names[1:]}) >= len(names) - 2
    assert "mine" not in looks
    adapted = looks["m0 + adapt"]
    assert (adapted.colour, adapted.marker, adapted.hollow) == (looks["m0"].colour, looks["m0"].marker, True)


def test_colours_stand_out_from_both_backgrounds() -> None:
    """WCAG's contrast of graphical objects, 3, but for the yellowish ones on white, which have a marker too."""

    def luminance(colour: str) -> float:
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
        return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))

    for name in ("bm25", "base", *(f"m{place}" for place in range(7))):
        light, dark = Looks(["bm25", "base", *(f"m{place}" for place in range(7))])[name].colour
        assert 1.05 / (luminance(light) + 0.05) > 2
        assert (luminance(dark) + 0.05) / (luminance("#14171B") + 0.05) > 4.5


def test_the_scores_have_a_row_a_model_and_their_whiskers(charts: dict[str, Chart], contents: Contents) -> None:
    panels = charts["comparison"].panels
    assert [panel.title for panel in panels] == list(BENCHMARKS)
    test = contents.comparison.test.set_index(["model", "benchmark"])
    for panel in panels:
        assert list(panel.rows) == list(MODELS)
        for series in panel.series:
            assert series.low is not None
            assert series.high is not None
            assert series.low[0] < series.x[0] < series.high[0]
            assert series.x[0] == pytest.approx(test.loc[(series.name, panel.title), "ndcg@10"])
            assert panel.rows[int(series.y[0])] == series.name


def test_points_of_isotropy_and_bytes_are_those_of_the_tables(charts: dict[str, Chart], contents: Contents) -> None:
    test = contents.comparison.test
    for panel in charts["isotropy"].panels:
        part = test[test["benchmark"] == panel.title].set_index("model")
        assert {series.name for series in panel.series} == set(MODELS) - {"bm25"}
        for series in panel.series:
            assert (series.x[0], series.y[0]) == tuple(part.loc[series.name, ["isotropy.isoscore", "ndcg@10"]])
    (first, _) = charts["compression"].panels
    assert first.log_x == 2
    assert [(series.name, list(series.x), series.faint) for series in first.series][:2] == [
        ("base", [8, 32], True),
        ("base", [8, 32], False),
    ]


def test_the_frontier_is_what_no_smaller_format_equals_or_beats() -> None:
    table = pd.DataFrame({"bytes": [4, 2, 8, 8, 16], "ndcg@10": [0.4, 0.3, 0.4, 0.5, 0.45]})
    assert frontier(table)["bytes"].tolist() == [2, 4, 8]
    assert frontier(table)["ndcg@10"].tolist() == [0.3, 0.4, 0.5]


def test_figures_of_the_space_are_the_evaluations_tables(charts: dict[str, Chart], folder: Path) -> None:
    table = pd.read_parquet(folder / "runs/mine" / BENCHMARKS[0] / "picture.parquet")
    spectrum = table.query("figure == 'spectrum' and texts == 'documents'")
    (line,) = (series for series in charts["spectrum"].panels[0].series if series.name == "mine")
    assert list(line.y) == spectrum["y"][spectrum["y"] > 1e-3].tolist()
    for name in ("cosines", "projections"):
        assert [panel.title for panel in charts[name].panels] == [
            f"{benchmark}: {kind}" for benchmark in BENCHMARKS for kind in KINDS
        ]
        assert charts[name].panels[0].series[-1].name.startswith("normal")


def test_maps_share_a_scale_and_lie_as_the_base_does() -> None:
    """A model whose map is the base's, turned and mirrored, is drawn as the base is."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 2)) * [3, 1]
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    texts = ["documents"] * 30 + ["queries"] * 20

    def table(xy: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame({"figure": "map", "texts": texts, "x": xy[:, 0], "y": xy[:, 1]})

    chart = space_charts({"b": {"base": table(points), "mine": table(points @ turn)}}, Looks(["base", "mine"]))[-1]
    base, mine = chart.panels
    for ours, theirs in zip(mine.series, base.series, strict=True):
        np.testing.assert_allclose([ours.x, ours.y], [theirs.x, theirs.y], atol=1e-9)
    assert base.range_x == mine.range_x == base.range_y
    assert [series.name for series in base.series] == list(KINDS)
    assert base.series[0].look != base.series[1].look


def test_every_figure_is_a_png_and_a_pdf_and_the_same_figures_give_the_same_bytes(
    contents: Contents, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_figures(contents.charts, tmp_path / name, tmp_path / f"metrics-{name}")
    names = {f"{chart.name}.{kind}" for chart in contents.charts for kind in ("png", "pdf")}
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(files) == names
    assert {path.name for path in (tmp_path / "metrics-a").iterdir()} == {f"{name}.png" for name in TRACKED}
    for name, content in files.items():
        assert content == (tmp_path / "b" / name).read_bytes()
        assert content.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
        assert b"Matplotlib" not in content
        # Journals take no Type 3 fonts.
        assert b"/Type3" not in content


def test_what_has_no_data_is_no_file_but_for_those_in_git(tmp_path: Path) -> None:
    empty = [Chart(name, "", "", []) for name in ("spectrum", *TRACKED)]
    write_figures(empty, tmp_path / "figures", tmp_path / "metrics")
    assert list((tmp_path / "figures").iterdir()) == []
    assert {path.name for path in (tmp_path / "metrics").iterdir()} == {f"{name}.png" for name in TRACKED}
    draw(empty[0], png=tmp_path / "empty.png")
