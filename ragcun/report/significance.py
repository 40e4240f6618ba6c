"""Whether the means of two models differ: paired tests over queries, many at a time, corrected for their number.

* Paired randomisation test: if two models are alike, the two scores of a query may be exchanged. p is the share of random
  exchanges whose mean difference is at least as large (Smucker, Allan & Carterette, CIKM 2007).
* Paired t test: the same question for differences that are nearly normal.
* Holm's correction: the chance of one or more false alarms in a whole family of tests stays below the level (Holm, Scandinavian
  Journal of Statistics, 1979).
* Effect size d_z: the mean difference in standard deviations of the differences (Cohen, 1988).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ragcun.core.errors import RagcunError
from ragcun.evaluate.results import PART

# Exchanges that are in memory at once.
_BATCH = 512


def paired_p_value(
    scores: pd.Series, baseline: pd.Series, permutations: int, seed: int, weights: pd.Series | None = None
) -> float:
    """Two-sided p-value of the difference of means, by random exchange of the two scores of each query.

    >>> base = pd.Series([0.1, 0.4, 0.2, 0.3], index=["q1", "q2", "q3", "q4"])
    >>> paired_p_value(base + 0.1, base, permutations=1000, seed=0)
    0.125

    Args:
        scores, baseline: (Q,), indexed by query id in any order.
        permutations: resamplings; fewer exchanges than that are counted in full, and p is exact.
        weights: (Q,) around 1, the weight of each query in the mean; None counts each once.

    Raises:
        RagcunError: the two have different queries.
    """
    same_queries(scores, baseline)
    difference = (scores - baseline[scores.index]) * (1.0 if weights is None else weights)
    return float(exchange_p_values(difference.to_numpy()[:, None], permutations, seed)[0])


def same_queries(scores: pd.Series | pd.DataFrame, others: pd.Series | pd.DataFrame) -> None:
    """Raise RagcunError where two models were scored on different queries.

    >>> same_queries(pd.Series([0.5], index=["q1"]), pd.Series([0.25], index=["q1"]))
    """
    if set(scores.index) != set(others.index):
        raise RagcunError("two models were scored on different queries of a benchmark: run `dvc repro`")


def exchange_p_values(differences: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Two-sided p-values (tests,) of differences (Q, tests): one drawing of exchanges serves all tests.

    >>> exchange_p_values(np.array([[0.1, 0.0], [0.2, 0.0], [0.1, 0.0]]), permutations=1000, seed=0)
    array([0.25, 1.  ])
    """
    total = differences.sum(axis=0)
    # Sums in another order differ in their last digits.
    least = np.abs(total) - 1e-12 * np.abs(differences).sum(axis=0)
    reached, drawn = np.zeros(differences.shape[1]), 0
    for kept in _exchanges(len(differences), permutations, seed):
        reached += (np.abs(2 * (kept @ differences) - total) >= least).sum(axis=0)
        drawn += len(kept)
    if drawn < permutations or drawn == 2 ** len(differences):
        return reached / drawn
    return (reached + 1) / (drawn + 1)


def _exchanges(queries: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Batches (n, Q) of 1 where a query's scores keep their places and 0 where they are exchanged: every choice if few."""
    if queries < 64 and 2**queries <= permutations:
        yield (np.arange(2**queries)[:, None] >> np.arange(queries) & 1).astype(np.float64)
        return
    rng, bytes_a_row = np.random.default_rng(seed), -(-queries // 8)
    for start in range(0, permutations, _BATCH):
        rows = min(_BATCH, permutations - start)
        drawn = np.frombuffer(rng.bytes(rows * bytes_a_row), dtype=np.uint8).reshape(rows, bytes_a_row)
        yield np.unpackbits(drawn, axis=1, count=queries).astype(np.float64)


def t_p_values(differences: np.ndarray) -> np.ndarray:
    """Two-sided p-values (tests,) of the paired t test on differences (Q, tests); 1 where there is nothing to test.

    >>> t_p_values(np.array([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]])).round(4)
    array([0.0742, 1.    ])
    """
    means, errors = differences.mean(axis=0), _spreads(differences) / np.sqrt(len(differences))
    statistic = np.divide(means, errors, out=np.full(len(means), np.inf), where=errors > 0)
    p_values: np.ndarray = 2 * student.sf(np.abs(statistic), max(len(differences) - 1, 1))
    return np.where(differences.any(axis=0) & (len(differences) > 1), p_values, 1.0)


def holm(p_values: np.ndarray) -> np.ndarray:
    """The p-values of a family of m tests after Holm's correction: times m for the least, times m − 1 for the next, and so on.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4)
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return corrected


def effect_sizes(differences: np.ndarray) -> np.ndarray:
    """d_z (tests,) of differences (Q, tests): mean / standard deviation; NaN where the differences do not vary.

    >>> effect_sizes(np.array([[0.1], [0.2], [0.3]]))
    array([2.])
    """
    spreads = _spreads(differences)
    return np.divide(differences.mean(axis=0), spreads, out=np.full(len(spreads), np.nan), where=spreads > 0)


def _spreads(differences: np.ndarray) -> np.ndarray:
    """Standard deviations (tests,); 0 where the differences are alike but for their last digits."""
    spreads: np.ndarray = differences.std(axis=0, ddof=1 if len(differences) > 1 else 0)
    return np.where(np.ptp(differences, axis=0) > 1e-9 * np.abs(differences).max(axis=0), spreads, 0.0)


def part_weights(scores: pd.DataFrame) -> pd.Series | None:
    """The weight of each query, so that the parts of a benchmark count alike; None for a benchmark without parts.

    >>> part_weights(pd.DataFrame({"part": ["a", "b", "b"]}, index=["a/1", "b/1", "b/2"])).to_dict()
    {'a/1': 1.5, 'b/1': 0.75, 'b/2': 0.75}
    """
    if PART not in scores:
        return None
    sizes = scores.groupby(PART)[PART].transform("size")
    return len(scores) / (scores[PART].nunique() * sizes)
