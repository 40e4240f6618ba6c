"""The statistics that figures of a space are drawn from are those of the vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ragcun.evaluate.picture import COLUMNS, COSINES, MAP, PROJECTIONS, SPECTRUM, picture
from ragcun.evaluate.results import PICTURE_FILE, Evaluation, join_parts, score_run, write_evaluation
from ragcun.evaluate.vectors import Vectors
from tests.tiny import tiny_benchmark

pytestmark = pytest.mark.outputs

WIDTH = 16


def some_vectors(scales: np.ndarray, *, mean: float = 0.0) -> Vectors:
    """4,000 documents and 3,000 queries, Gaussian, with these standard deviations along the axes."""
    rng = np.random.default_rng(3)
    documents, queries = (rng.standard_normal((count, len(scales))) * scales + mean for count in (4000, 3000))
    return Vectors(documents, queries, documents[:1], "cosine")


def rows_of(table: pd.DataFrame, figure: str, texts: str = "documents") -> pd.DataFrame:
    return table[(table["figure"] == figure) & (table["texts"] == texts)]


def test_of_a_gaussian_every_figure_is_the_normals() -> None:
    table = picture(some_vectors(np.full(WIDTH, 0.25)))
    assert list(table) == COLUMNS
    for texts in ("documents", "queries"):
        spectrum = rows_of(table, SPECTRUM, texts)
        assert spectrum["x"].tolist() == list(range(1, WIDTH + 1))
        assert spectrum["y"].between(0.85, 1.15).all()
        cosines = rows_of(table, COSINES, texts)
        width = 2 / len(cosines)
        assert (cosines["y"] * width).sum() == pytest.approx(1, abs=1e-3)
        assert (cosines["y"] * cosines["x"] ** 2 * width).sum() == pytest.approx(1 / WIDTH, rel=0.05)
        projections = rows_of(table, PROJECTIONS, texts)
        assert np.abs(projections["y"] - norm.pdf(projections["x"])).max() < 0.02


def test_what_is_not_isotropic_shows() -> None:
    scales = np.ones(WIDTH)
    scales[0] = 4
    table = picture(some_vectors(scales, mean=1.0))
    assert rows_of(table, SPECTRUM)["y"].iloc[0] == pytest.approx(16 / (31 / WIDTH), rel=0.1)
    cosines = rows_of(table, COSINES)
    assert np.average(cosines["x"], weights=cosines["y"]) > 0.2
    projections = rows_of(table, PROJECTIONS)
    assert np.abs(projections["y"] - norm.pdf(projections["x"])).max() > 0.04


def test_the_map_is_of_the_plane_with_most_variance_and_tells_the_two_kinds_apart() -> None:
    vectors = some_vectors(np.linspace(0.5, 2, WIDTH))
    moved = replace(vectors, queries=np.asarray(vectors.queries) + 20)
    table = picture(moved)
    documents, queries = (rows_of(table, MAP, texts) for texts in ("documents", "queries"))
    assert (len(documents), len(queries)) == (400, 200)
    # The two kinds lie apart along the first axis.
    assert documents["x"].max() < queries["x"].min() or documents["x"].min() > queries["x"].max()
    both = table[table["figure"] == MAP]
    assert both["x"].var() > both["y"].var()
    assert both[["x", "y"]].mean().abs().max() < 1e-4


def test_vectors_that_are_all_the_same_have_no_figure() -> None:
    vectors = some_vectors(np.ones(WIDTH))
    table = picture(replace(vectors, queries=np.ones((3, WIDTH))))
    assert set(table["texts"]) == {"documents"}
    assert MAP not in set(table["figure"])
    assert picture(replace(vectors, queries=np.ones((1, WIDTH)), corpus=np.ones((1, WIDTH)))).empty


def test_it_is_written_beside_the_runs_and_of_a_benchmark_with_parts_it_is_the_first_ones(tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    run = {query: {benchmark.doc_ids[0]: 1.0} for query in benchmark.all_queries}
    parts: dict[str, Evaluation] = {}
    for part, scale in (("a", 1.0), ("b", 2.0)):
        table = picture(some_vectors(np.linspace(scale, 3, WIDTH)))
        parts[part] = replace(score_run(benchmark, run, 10, None), picture=table)
    write_evaluation(join_parts(parts), tmp_path / "m.json", tmp_path / "runs", 10, tag="tag")
    found = pd.read_parquet(tmp_path / "runs" / PICTURE_FILE)
    expected = parts["a"].picture
    assert expected is not None
    pd.testing.assert_frame_equal(found, expected)
    assert (tmp_path / "runs" / PICTURE_FILE).stat().st_size < 60_000
