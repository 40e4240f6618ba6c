"""Bootstrap intervals are scipy's, cover the mean as often as they say, and keep a benchmark's parts."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from ragcun.report.intervals import bootstrap_intervals, query_counts

pytestmark = pytest.mark.outputs


def test_they_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).beta(0.4, 0.6, size=(300, 3))
    found = bootstrap_intervals(values, seed=1)
    expected = bootstrap((values,), np.mean, axis=0, method="percentile", n_resamples=10_000, rng=2)
    low, high = expected.confidence_interval
    # Two drawings of 10,000 differ by a few hundredths of the interval.
    assert found == pytest.approx(np.stack([low, high]), abs=0.04 * float((high - low).max()))
    assert found == pytest.approx(bootstrap_intervals(values, seed=1), abs=1e-12)
    assert (found != bootstrap_intervals(values, seed=2)).all()


def test_nineteen_in_twenty_hold_the_true_mean() -> None:
    values = np.random.default_rng(0).beta(0.4, 0.6, size=(200, 400))
    low, high = bootstrap_intervals(values, seed=1, resamples=2000)
    assert 0.92 < ((low <= 0.4) & (high >= 0.4)).mean() < 0.975


def test_every_drawing_has_as_many_queries_of_a_part_as_there_are() -> None:
    parts = np.array(["b", "a", "b", "b", "a"])
    counts = np.concatenate(list(query_counts(5, 0, parts, 700)))
    assert counts.shape == (700, 5)
    assert (counts[:, parts == "a"].sum(axis=1) == 2).all()
    assert (counts[:, parts == "b"].sum(axis=1) == 3).all()
    # Each query is drawn once in the mean.
    assert counts.mean(axis=0) == pytest.approx(np.ones(5), abs=0.15)
    free = np.concatenate(list(query_counts(5, 0, None, 700)))
    assert not (free[:, parts == "a"].sum(axis=1) == 2).all()


def test_a_difference_between_parts_widens_no_interval() -> None:
    """Each part keeps its queries, so a part that is easier than the other adds nothing."""
    parts, values = np.repeat(["a", "b"], 50), np.repeat([0.2, 0.8], 50)[:, None]
    assert bootstrap_intervals(values, 0, parts=parts).ravel() == pytest.approx([0.5, 0.5])
    low, high = bootstrap_intervals(values, 0).ravel()
    assert high - low > 0.1
