"""The paired randomisation test tells chance from difference, and weighs a benchmark's parts alike."""

import random

import numpy as np
import pandas as pd
import pytest

from ragcun.report.significance import paired_p_value, part_weights


def series(values: list[float]) -> pd.Series:
    return pd.Series(values, index=[f"q{i}" for i in range(len(values))])


def noise(count: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(0, 1) for _ in range(count)]


def test_p_is_1_for_the_same_scores() -> None:
    scores = series(noise(50, 0))
    assert paired_p_value(scores, scores.copy(), 1000, 0) == 1


def test_p_is_small_for_a_clear_difference_and_large_for_chance() -> None:
    base = series(noise(60, 0))
    assert paired_p_value(base + 0.1, base, 2000, 0) < 0.001
    assert paired_p_value(series(noise(60, 1)), base, 2000, 0) > 0.05


@pytest.mark.parametrize("count", [4, 40])
def test_p_is_the_same_for_better_and_worse(count: int) -> None:
    a, b = series(noise(count, 0)), series([x + 0.1 for x in noise(count, 1)])
    p = paired_p_value(a, b, 2000, 0)
    assert 0.0005 < p < 1
    assert paired_p_value(b, a, 2000, 0) == pytest.approx(p, abs=0.03 if count == 40 else 1e-12)


def test_p_of_few_queries_is_exact() -> None:
    # Of the 2^5 exchanges, only the one observed and its mirror image have so large a mean.
    base = series(noise(5, 0))
    assert paired_p_value(base + 0.1, base, 1000, 0) == pytest.approx(2 / 32)
    # Differences 3, 2, −1: |mean| ≥ 4/3 for the signs +++ (6), ++− (4) and their mirror images.
    assert paired_p_value(series([3, 2, -1]), series([0, 0, 0]), 1000, 0) == pytest.approx(4 / 8)


def test_p_is_paired_by_query_not_by_place() -> None:
    base = series(noise(40, 0))
    better = (base + 0.1).sample(frac=1, random_state=0)
    assert list(better.index) != list(base.index)
    assert paired_p_value(better, base, 1000, 0) == paired_p_value(base + 0.1, base, 1000, 0) < 0.01


def test_p_is_of_pairs_a_small_gain_of_every_query_counts() -> None:
    """A test that forgot the pairing could not see it under the spread of the queries."""
    base = series(noise(30, 0))
    assert base.std() > 20 * 0.01
    assert paired_p_value(base + 0.01, base, 2000, 0) < 0.01


def test_p_of_one_query_says_nothing() -> None:
    assert paired_p_value(series([0.9]), series([0.1]), 1000, 0) == 1


def test_p_is_decided_by_the_seed() -> None:
    a, b = series(noise(40, 0)), series(noise(40, 1))
    assert paired_p_value(a, b, 500, 3) == paired_p_value(a, b, 500, 3)
    assert len({paired_p_value(a, b, 500, seed) for seed in range(5)}) > 1


def test_p_uniform_where_there_is_no_difference() -> None:
    """The share of false alarms is the level, not more."""
    values = [paired_p_value(series(noise(20, 2 * i)), series(noise(20, 2 * i + 1)), 200, 0) for i in range(200)]
    assert 0.01 < np.mean([p < 0.05 for p in values]) < 0.1
    assert 0.4 < np.mean([p < 0.5 for p in values]) < 0.6


def test_parts_count_alike_in_means_and_in_the_test_against_the_base() -> None:
    """Two queries of one part, each won by .2, against eight of another, each lost by .1: won as a whole by .05."""
    part = pd.Series(["a"] * 2 + ["b"] * 8)
    scores = pd.DataFrame({"part": part, "ndcg@10": [0.7] * 2 + [0.4] * 8})
    baseline = pd.Series(0.5, index=scores.index)
    weights = part_weights(scores)
    assert weights is not None
    assert ((scores["ndcg@10"] - baseline) * weights).mean() == pytest.approx(0.05)
    assert paired_p_value(scores["ndcg@10"], baseline, 2000, 0, weights) > 0.2
    assert paired_p_value(scores["ndcg@10"], baseline, 2000, 0) != paired_p_value(
        scores["ndcg@10"], baseline, 2000, 0, weights
    )
    assert part_weights(scores[["ndcg@10"]]) is None
