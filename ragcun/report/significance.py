"""Whether two models differ: a paired randomisation test over queries (Smucker et al., CIKM 2007)."""

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from ragcun.core.errors import RagcunError
from ragcun.evaluate.results import PART


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
    if set(scores.index) != set(baseline.index):
        raise RagcunError("two models were scored on different queries of a benchmark: run `dvc repro`")
    difference = ((scores - baseline[scores.index]) * (1.0 if weights is None else weights)).to_numpy()
    # With one query the two exchanges differ in sign only, and no sample of it can be drawn.
    if len(difference) < 2 or not difference.any():
        return 1.0
    result = permutation_test(
        (difference, np.zeros_like(difference)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=256,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def part_weights(scores: pd.DataFrame) -> pd.Series | None:
    """The weight of each query, so that the parts of a benchmark count alike; None for a benchmark without parts.

    >>> part_weights(pd.DataFrame({"part": ["a", "b", "b"]}, index=["a/1", "b/1", "b/2"])).to_dict()
    {'a/1': 1.5, 'b/1': 0.75, 'b/2': 0.75}
    """
    if PART not in scores:
        return None
    sizes = scores.groupby(PART)[PART].transform("size")
    return len(scores) / (scores[PART].nunique() * sizes)
