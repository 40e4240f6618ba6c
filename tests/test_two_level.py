"""Several seeds: means and spreads, and tests that neither forget the queries nor the seeds."""

import doctest

import numpy as np
import pandas as pd
import pytest

from estimate import two_level
from estimate.two_level import (
    seed_difference_table,
    seed_differences,
    seed_means,
    two_level_means,
)
from ragcun.report.differences import Pair

pytestmark = pytest.mark.outputs

SEEDS, QUERIES = 3, 60


def tables(values: np.ndarray) -> list[pd.DataFrame]:
    """Of scores (S, Q), each seed's in another order of queries."""
    frames = [pd.DataFrame({"ndcg@10": row}, index=[f"q{i}" for i in range(len(row))]) for row in values]
    return [frame.sample(frac=1, random_state=seed) for seed, frame in enumerate(frames)]


def test_means_and_spreads_are_those_over_seeds() -> None:
    values = np.random.default_rng(0).uniform(size=(2, SEEDS, QUERIES))
    base = np.tile(np.linspace(0.1, 0.6, QUERIES), (SEEDS, 1))
    scores = {("new", "a"): tables(values[0]), ("new", "b"): tables(values[1])}
    scores |= {("base", benchmark): tables(base) for benchmark in "ab"}
    base_row, new = seed_means(["base", "new"], ["a", "b"], scores).to_dict("records")
    means = values.mean(axis=2)
    for name, found in (("a", means[0]), ("b", means[1]), ("mean", means.mean(axis=0))):
        assert new[name] == f"{found.mean():.4f} ± {found.std(ddof=1):.4f}"
    assert base_row["a"] == "0.3500", "without a spread there is nothing to show"


def spread(values: np.ndarray) -> float:
    return float(two_level_means(values[:, :, None], seed=0).std())


def test_the_spread_has_that_of_queries_and_that_of_seeds() -> None:
    rng = np.random.default_rng(0)
    queries, seeds = rng.normal(0, 0.3, QUERIES), np.array([-0.1, 0.0, 0.1])
    of_queries = queries.std() / np.sqrt(QUERIES)
    # Of three values the unbiased variance of the mean is theirs with ddof 1, over 3.
    of_seeds = seeds.std(ddof=1) / np.sqrt(SEEDS)
    assert spread(np.tile(queries, (SEEDS, 1))) == pytest.approx(of_queries, rel=0.03)
    assert spread(np.tile(seeds[:, None], (1, QUERIES))) == pytest.approx(of_seeds, rel=0.03)
    both = spread(queries + seeds[:, None])
    assert both == pytest.approx(np.hypot(of_queries, of_seeds), rel=0.03)
    assert both > 1.5 * of_queries, "vacuous"


def test_one_seed_is_the_bootstrap_over_queries() -> None:
    queries = np.random.default_rng(0).normal(0, 0.3, (1, QUERIES))
    assert spread(queries) == pytest.approx(queries.std() / np.sqrt(QUERIES), rel=0.03)


def false_alarms(of_seeds: float, of_cells: float, runs: int = 300) -> float:
    """The share of models no better than the base that the test finds to differ, at .05."""
    rng, found = np.random.default_rng(1), []
    for _ in range(runs):
        d = (
            rng.normal(0, 0.2, QUERIES)
            + rng.normal(0, of_seeds, (SEEDS, 1))
            + rng.normal(0, of_cells, (SEEDS, QUERIES))
        )
        drawn = two_level_means(d[:, :, None], seed=0, resamples=400)[:, 0]
        found.append(((np.abs(drawn - d.mean()) >= abs(d.mean())).sum() + 1) / 401 < 0.05)
    return float(np.mean(found))


def test_false_alarms_are_as_few_as_the_level_where_seeds_spread_no_more_than_queries() -> None:
    assert false_alarms(of_seeds=0.0, of_cells=0.0) < 0.09
    assert false_alarms(of_seeds=0.01, of_cells=0.1) < 0.09
    as_much_as_queries = 0.2 / np.sqrt(QUERIES)
    assert false_alarms(of_seeds=as_much_as_queries, of_cells=0.1) < 0.09
    assert false_alarms(of_seeds=10 * as_much_as_queries, of_cells=0.1) > 0.1, "the premise: seeds count"


def test_seeds_that_disagree_make_a_difference_uncertain() -> None:
    """Each seed for itself differs clearly; the three together say nothing."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.6, QUERIES)
    new = base + np.array([[0.2], [-0.1], [-0.1]]) + rng.normal(0, 0.02, (SEEDS, QUERIES))
    steady = base + 0.05 + rng.normal(0, 0.02, (SEEDS, QUERIES))
    scores = {
        ("base", "a"): tables(np.tile(base, (SEEDS, 1))),
        ("new", "a"): tables(new),
        ("steady", "a"): tables(steady),
    }
    pairs = [Pair("main", "new", "base", "a"), Pair("main", "steady", "base", "a"), Pair("other", "new", "base", "a")]
    unsure, sure, alone = seed_differences(pairs, scores, seed=0).to_dict("records")
    assert unsure["p_holm"] > 0.5
    assert (unsure["above"], unsure["seeds"]) == (1, 3)
    assert sure["p_holm"] == pytest.approx(2 * sure["p_value"])
    assert sure["p_holm"] < 0.001
    assert sure["difference"] == pytest.approx((steady - base).mean())
    assert sure["difference.low"] < sure["difference"] < sure["difference.high"]
    assert alone["p_holm"] == alone["p_value"] == unsure["p_value"]
    lines = seed_difference_table(seed_differences(pairs, scores, seed=0)).to_dict("records")
    assert [line["seeds above"] for line in lines] == ["1 of 3", "3 of 3", "1 of 3"]
    assert [float(line["difference"]) for line in lines] == pytest.approx([0, 0.05, 0], abs=0.02)


def test_parts_count_alike() -> None:
    part = ["a"] * 2 + ["b"] * 8
    new, base = [0.7] * 2 + [0.4] * 8, [0.5] * 10
    scores = {
        (model, "x"): [pd.DataFrame({"part": part, "ndcg@10": values}, index=[f"q{i}" for i in range(10)])] * 2
        for model, values in (("new", new), ("base", base))
    }
    assert seed_means(["new"], ["x"], scores)["x"].tolist() == ["0.5500"]
    row = seed_differences([Pair("main", "new", "base", "x")], scores, seed=0).iloc[0]
    assert row["difference"] == pytest.approx(0.05)
    assert row["difference.low"] == pytest.approx(0.05)


def test_the_examples_hold() -> None:
    failed, tried = doctest.testmod(two_level)
    assert tried >= 7
    assert not failed
