"""Several seeds of training: mean and spread, and tests over queries and seeds together, by a two-level bootstrap.

The seeds and the queries of a result are both a sample, and every seed answers the same queries. So each resampling draws
queries and, apart from that, seeds, both with replacement, and takes the mean over the cells (the pigeonhole bootstrap: Owen,
Annals of Applied Statistics, 2007). A bootstrap of S seeds shows only (S − 1)/S of their variance, which is much for three, so
the drawn seeds' weights are spread by √(S/(S − 1)).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ragcun.evaluate.results import PART
from ragcun.report.difference_tables import probability
from ragcun.report.differences import METRIC, Pair
from ragcun.report.intervals import LEVEL, RESAMPLES, query_counts
from ragcun.report.significance import holm, part_weights, same_queries

SeedScores = Mapping[tuple[str, str], Sequence[pd.DataFrame]]
"""By model and benchmark, the scores of each test query, a table a seed; of a model that is not trained the same each time."""


def two_level_means(
    values: np.ndarray, seed: int, *, parts: np.ndarray | None = None, resamples: int = RESAMPLES
) -> np.ndarray:
    """Means (resamples, columns) of `values` (S, Q, columns) over seeds and queries that were drawn with replacement.

    >>> two_level_means(np.ones((3, 4, 1)), seed=0, resamples=2)
    array([[1.],
           [1.]])
    """
    seeds, queries, _ = values.shape
    rng = np.random.default_rng((seed, seeds))
    means = []
    for counts in query_counts(queries, seed, parts, resamples):
        drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(counts)) / seeds
        weights = 1 / seeds + (drawn - 1 / seeds) * np.sqrt(seeds / max(seeds - 1, 1))
        means.append(np.einsum("rs,rq,sqc->rc", weights, counts / queries, values, optimize=True))
    return np.concatenate(means)


def seed_means(models: Sequence[str], benchmarks: Sequence[str], scores: SeedScores) -> pd.DataFrame:
    """NDCG@10 of the test queries of each model and benchmark: mean ± standard deviation over seeds, as text.

    >>> tables = [pd.DataFrame({METRIC: [value]}, index=["q1"]) for value in (0.5, 0.6)]
    >>> seed_means(["new"], ["a"], {("new", "a"): tables})
      model                a
    0   new  0.5500 ± 0.0707
    """
    rows = []
    for model in models:
        means = {name: np.array([_mean(table) for table in scores[model, name]]) for name in benchmarks}
        if len(benchmarks) > 1:
            means["mean"] = np.mean(list(means.values()), axis=0)
        rows.append({"model": model} | {name: _plus_minus(found) for name, found in means.items()})
    return pd.DataFrame(rows)


def seed_differences(pairs: Sequence[Pair], scores: SeedScores, *, seed: int) -> pd.DataFrame:
    """Each pair's difference over queries and seeds: the mean, its 95 % interval, p, p after Holm's correction within the
    family, and of how many seeds the difference is above 0.

    >>> tables = {name: [pd.DataFrame({METRIC: [value, value + gain]}, index=["q1", "q2"]) for gain in (0.1, 0.2)]
    ...           for name, value in ((("base", "a"), 0.1), (("new", "a"), 0.4))}
    >>> seed_differences([Pair("main", "new", "base", "a")], tables, seed=0)[["model", "difference", "above"]]
      model  difference  above
    0   new         0.3      2
    """
    rows = []
    for pair in pairs:
        theirs, ours = scores[pair.against or pair.model, pair.benchmark], scores[pair.model, pair.benchmark]
        values, parts = _differences(ours, theirs)
        drawn, mean = two_level_means(values[:, :, None], seed, parts=parts)[:, 0], values.mean()
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        reached = (np.abs(drawn - mean) >= abs(mean)).sum()
        names = {"family": pair.family, "model": pair.model, "against": pair.against, "benchmark": pair.benchmark}
        figures = {"difference": mean, "difference.low": low, "difference.high": high}
        above = int((values.mean(axis=1) > 0).sum())
        rows.append(
            {**names, **figures, "p_value": (reached + 1) / (len(drawn) + 1), "above": above, "seeds": len(values)}
        )
    table = pd.DataFrame(rows)
    by_family = table.groupby("family", sort=False)["p_value"]
    return table.assign(p_holm=by_family.transform(lambda p_values: holm(p_values.to_numpy())))


def seed_difference_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `seed_differences` as text.

    >>> row = {"model": "new", "against": "base", "benchmark": "a", "difference": 0.3, "difference.low": 0.2,
    ...        "difference.high": 0.4, "p_value": 0.01, "p_holm": 0.02, "above": 3, "seeds": 3}
    >>> seed_difference_table(pd.DataFrame([row])).T[0].tolist()[3:]
    ['+0.3000', '+0.2000 to +0.4000', '0.0100', '0.0200', '3 of 3']
    """
    table = rows[["model", "against", "benchmark"]].copy()
    table["difference"] = rows["difference"].map("{:+.4f}".format)
    ends = zip(rows["difference.low"], rows["difference.high"], strict=True)
    table["95 % interval"] = [f"{low:+.4f} to {high:+.4f}" for low, high in ends]
    table["p"], table["p (Holm)"] = rows["p_value"].map(probability), rows["p_holm"].map(probability)
    table["seeds above"] = [f"{above} of {seeds}" for above, seeds in zip(rows["above"], rows["seeds"], strict=True)]
    return table


def _differences(ours: Sequence[pd.DataFrame], theirs: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray | None]:
    """Differences (S, Q), each times its query's weight in the mean, and the queries' parts."""
    first = ours[0]
    weights = part_weights(first)
    rows = []
    for one, other in zip(ours, theirs, strict=True):
        same_queries(one, first)
        same_queries(other, first)
        rows.append((one[METRIC] - other[METRIC].reindex(one.index)).reindex(first.index))
    weight = 1.0 if weights is None else weights.to_numpy()
    return np.stack([row.to_numpy() for row in rows]) * weight, first[PART].to_numpy() if PART in first else None


def _mean(table: pd.DataFrame) -> float:
    weights = part_weights(table)
    return float((table[METRIC] * (1.0 if weights is None else weights)).mean())


def _plus_minus(means: np.ndarray) -> str:
    spread = means.std(ddof=1) if len(means) > 1 else 0.0
    return f"{means.mean():.4f} ± {spread:.4f}" if spread > 1e-9 else f"{means.mean():.4f}"
