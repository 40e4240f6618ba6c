"""The table of differences holds what scipy and the definitions say, and corrects p within each family."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, ttest_rel

from ragcun.core.errors import RagcunError
from ragcun.report.differences import COLUMNS, Pair, differences
from ragcun.report.significance import effect_sizes, exchange_p_values, holm, t_p_values
from tests.invariants import Invariant

pytestmark = pytest.mark.outputs

BENCHMARKS = ("a", "b")
GAINS = {"base": 0.0, "bm25": -0.03, "one": 0.02, "two": 0.05}


def scores_of(queries: int = 60) -> dict[tuple[str, str], pd.DataFrame]:
    """Scores that tie often, as NDCG does; every model has its queries in another order."""
    found = {}
    for at, (model, benchmark) in enumerate(itertools.product(GAINS, BENCHMARKS)):
        rng = np.random.default_rng(at)
        hard = np.random.default_rng(BENCHMARKS.index(benchmark)).uniform(0.1, 0.8, queries)
        values = (hard + GAINS[model] + rng.normal(scale=0.1, size=queries)).clip(0, 1).round(1)
        table = pd.DataFrame({"ndcg@10": values}, index=[f"q{query}" for query in range(queries)])
        found[model, benchmark] = table.sample(frac=1, random_state=at)
    return found


PAIRS = [
    *(Pair("main", model, "base", benchmark) for model in ("bm25", "one", "two") for benchmark in BENCHMARKS),
    *(Pair("strategies", "two", "one", benchmark) for benchmark in BENCHMARKS),
    *(Pair("", "base", None, benchmark) for benchmark in BENCHMARKS),
]


def test_each_row_holds_what_scipy_and_the_definitions_say(invariant: Invariant) -> None:
    scores = scores_of()
    table = differences(PAIRS, scores, permutations=5000, seed=0)
    assert list(table) == COLUMNS
    assert [(row.model, row.against, row.benchmark) for row in table.itertuples()] == [
        (pair.model, pair.against or "", pair.benchmark) for pair in PAIRS
    ]
    for row in table.to_dict("records")[: len(PAIRS) - 2]:
        ours = scores[row["model"], row["benchmark"]]["ndcg@10"]
        theirs = scores[row["against"], row["benchmark"]]["ndcg@10"][ours.index]
        d = ours - theirs
        invariant("paired t test against scipy's", abs(row["t_p_value"] - ttest_rel(ours, theirs).pvalue), 1e-10)
        exchanged = permutation_test(
            (d.to_numpy(), np.zeros(len(d))), lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples", vectorized=True, n_resamples=20_000, rng=1,
        )  # fmt: skip
        p = float(exchanged.pvalue)
        error = abs(row["p_value"] - p) / np.sqrt(p * (1 - p) * (1 / 5000 + 1 / 20_000) + 1e-9)
        invariant("randomisation test against scipy's, in standard errors", error, 4)
        assert row["ndcg@10"] == pytest.approx(ours.mean())
        assert row["difference"] == pytest.approx(d.mean())
        assert row["effect_size"] == pytest.approx(d.mean() / d.std())
        assert (row["wins"], row["ties"], row["losses"]) == ((d > 0).sum(), (d == 0).sum(), (d < 0).sum())
        assert row["ties"] > 0, "vacuous"
        assert row["difference.low"] < row["difference"] < row["difference.high"]
        assert row["ndcg@10.low"] < row["ndcg@10"] < row["ndcg@10.high"]


def test_p_is_corrected_within_each_family_over_all_benchmarks() -> None:
    table = differences(PAIRS, scores_of(), permutations=2000, seed=0)
    for family, tests in (("main", 6), ("strategies", 2)):
        part = table[table["family"] == family]
        assert len(part) == tests
        for plain, corrected in (("p_value", "p_holm"), ("t_p_value", "t_p_holm")):
            ranked = part.sort_values(plain, kind="stable")
            expected = (ranked[plain] * range(tests, 0, -1)).cummax().clip(upper=1)
            assert ranked[corrected].tolist() == pytest.approx(expected.tolist())
            assert (ranked[corrected] > ranked[plain]).any()


def test_a_row_without_another_model_has_its_mean_alone() -> None:
    row = differences(PAIRS, scores_of(), permutations=200, seed=0).iloc[-1]
    assert row["model"] == "base"
    assert row[["difference", "p_value", "p_holm", "t_p_value", "t_p_holm", "wins", "effect_size"]].isna().all()
    assert row["ndcg@10.low"] < row["ndcg@10"] < row["ndcg@10.high"]


def test_models_with_other_queries_are_refused() -> None:
    scores = scores_of()
    scores["two", "a"] = scores["two", "a"].iloc[1:]
    with pytest.raises(RagcunError, match="different queries"):
        differences(PAIRS, scores, permutations=200, seed=0)


def test_parts_count_alike() -> None:
    """Two queries of one part, each won by .2, against eight of another, each lost by .1: won as a whole by .05."""
    part, ids = ["a"] * 2 + ["b"] * 8, [f"q{i}" for i in range(10)]
    new = pd.DataFrame({"part": part, "ndcg@10": [0.7] * 2 + [0.4] * 8}, index=ids)
    base = pd.DataFrame({"part": part, "ndcg@10": 0.5}, index=ids)
    pair = Pair("main", "new", "base", "a")
    row = differences([pair], {("new", "a"): new, ("base", "a"): base}, permutations=2000, seed=0).iloc[0]
    assert row["difference"] == pytest.approx(0.05)
    assert row["ndcg@10"] == pytest.approx(0.55)
    # Within a part all queries are alike, and the parts are not drawn.
    assert row[["difference.low", "difference.high"]].tolist() == pytest.approx([0.05, 0.05])
    assert (row["wins"], row["losses"]) == (2, 8)


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        # R: p.adjust(c(.01, .02, .03, .04), "holm"), and so on.
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.005, 0.011, 0.02, 0.04, 0.13], [0.025, 0.044, 0.06, 0.08, 0.13]),
        ([0.13, 0.005, 0.04, 0.011, 0.02], [0.13, 0.025, 0.08, 0.044, 0.06]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holms_correction_is_the_published_one(p_values: list[float], expected: list[float]) -> None:
    assert holm(np.array(p_values)).tolist() == pytest.approx(expected)


def test_holm_makes_few_families_with_a_false_alarm() -> None:
    p_values = np.random.default_rng(0).uniform(size=(2000, 10))
    alarmed = np.array([holm(row).min() < 0.05 for row in p_values])
    assert 0.03 < alarmed.mean() < 0.065
    assert (p_values.min(axis=1) < 0.05).mean() > 0.35, "the premise: uncorrected there are many"


def test_one_drawing_of_exchanges_serves_all_tests() -> None:
    d = np.random.default_rng(0).normal(0.02, 0.1, size=(50, 4))
    together = exchange_p_values(d, 3000, 5)
    assert together.tolist() == [exchange_p_values(d[:, [column]], 3000, 5)[0] for column in range(4)]
    assert len(set(together)) == 4


def test_what_cannot_be_tested_says_nothing() -> None:
    alike, one = np.zeros((20, 1)), np.array([[0.5]])
    for differing in (alike, one):
        assert exchange_p_values(differing, 500, 0).tolist() == [1]
        assert t_p_values(differing).tolist() == [1]
        assert np.isnan(effect_sizes(differing)).all()


def test_many_tests_are_cheap() -> None:
    """Those of a default run, on a benchmark of its size."""
    rng = np.random.default_rng(0)
    models = [f"m{i}" for i in range(25)]
    scores = {(model, "a"): pd.DataFrame({"ndcg@10": rng.uniform(size=2000)}) for model in models}
    began = time.process_time()
    differences([Pair("main", model, "m0", "a") for model in models[1:]], scores, permutations=10_000, seed=0)
    assert time.process_time() - began < 15
