"""All differences that a comparison tests, as a table: what differs from what, by how much, and how sure that is.

A family is the tests that one table shows, of all benchmarks together; p is corrected within it. Queries weigh so that the
parts of a benchmark count alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ragcun.evaluate.results import PART
from ragcun.report.intervals import bootstrap_intervals
from ragcun.report.significance import (
    effect_sizes,
    exchange_p_values,
    holm,
    part_weights,
    same_queries,
    t_p_values,
)

METRIC = "ndcg@10"
KEYS = ["family", "model", "against", "benchmark"]
# Each p-value, and the same corrected for the family.
CORRECTED = {"p_value": "p_holm", "t_p_value": "t_p_holm"}
COLUMNS = [
    *KEYS,
    "queries",
    *(f"{name}{end}" for name in (METRIC, "difference") for end in ("", ".low", ".high")),
    *(name for pair in CORRECTED.items() for name in pair),
    "wins",
    "ties",
    "losses",
    "effect_size",
]

Scores = Mapping[tuple[str, str], pd.DataFrame]
"""By model and benchmark, the scores of each test query."""


@dataclass(frozen=True)
class Pair:
    """A model, and the one that it is tested against; none in a row that only has the model's own mean.

    >>> Pair("main", "smart_hybrid", "base", "fanoutqa").against
    'base'
    """

    family: str
    model: str
    against: str | None
    benchmark: str


def differences(pairs: Sequence[Pair], scores: Scores, *, permutations: int, seed: int) -> pd.DataFrame:
    """A row for each pair, with the columns COLUMNS: NDCG@10 and its difference with 95 % intervals, and the tests.

    >>> two = {(name, "a"): pd.DataFrame({METRIC: values}, index=["q1", "q2", "q3"])
    ...        for name, values in (("base", [0.1, 0.2, 0.3]), ("new", [0.3, 0.5, 0.3]))}
    >>> table = differences([Pair("main", "new", "base", "a")], two, permutations=100, seed=0)
    >>> table[["model", "difference", "p_value", "wins", "ties", "losses"]]
      model  difference  p_value  wins  ties  losses
    0   new    0.166667      0.5   2.0   1.0     0.0
    """
    tables = [
        _of_benchmark([pair for pair in pairs if pair.benchmark == benchmark], scores, permutations, seed)
        for benchmark in dict.fromkeys(pair.benchmark for pair in pairs)
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    tested = table[table["against"] != ""]
    for plain, corrected in CORRECTED.items():
        by_family = tested.groupby("family", sort=False)[plain]
        table[corrected] = by_family.transform(lambda p_values: holm(p_values.to_numpy(dtype=float)))
    place = {(pair.family, pair.model, pair.against or "", pair.benchmark): row for row, pair in enumerate(pairs)}
    order = [place[key] for key in table[KEYS].itertuples(index=False, name=None)]
    return table[COLUMNS].iloc[np.argsort(order)].reset_index(drop=True)


def _of_benchmark(pairs: Sequence[Pair], scores: Scores, permutations: int, seed: int) -> pd.DataFrame:
    benchmark = pairs[0].benchmark
    models = list(dict.fromkeys(name for pair in pairs for name in (pair.model, pair.against) if name))
    first = scores[models[0], benchmark]
    for model in models:
        same_queries(scores[model, benchmark], first)
    values = {model: scores[model, benchmark][METRIC].reindex(first.index).to_numpy() for model in models}
    own = np.column_stack([values[pair.model] for pair in pairs])
    # Where nothing is tested the model is held against itself, and the figures are blank in the end.
    other = np.column_stack([values[pair.against or pair.model] for pair in pairs])
    rows = [(pair.family, pair.model, pair.against or "", benchmark) for pair in pairs]
    table = pd.DataFrame(rows, columns=KEYS)
    table["queries"] = len(first)
    for name, figures in _figures(own, own - other, first, permutations, seed).items():
        tested = name.startswith(METRIC) | (table["against"] != "")
        table[name] = pd.Series(figures, dtype=float).where(tested)
    return table


def _figures(
    own: np.ndarray, difference: np.ndarray, queries: pd.DataFrame, permutations: int, seed: int
) -> dict[str, np.ndarray]:
    """Each column of figures, of a model's scores and its differences, both (Q, pairs)."""
    weights = part_weights(queries)
    weight = np.ones((len(queries), 1)) if weights is None else weights.to_numpy()[:, None]
    parts = queries[PART].to_numpy() if PART in queries else None
    weighted, pairs = difference * weight, own.shape[1]
    low, high = bootstrap_intervals(np.hstack([own * weight, weighted]), seed, parts=parts)
    return {
        METRIC: (own * weight).mean(axis=0),
        f"{METRIC}.low": low[:pairs],
        f"{METRIC}.high": high[:pairs],
        "difference": weighted.mean(axis=0),
        "difference.low": low[pairs:],
        "difference.high": high[pairs:],
        "p_value": exchange_p_values(weighted, permutations, seed),
        "t_p_value": t_p_values(weighted),
        "wins": (difference > 0).sum(axis=0),
        "ties": (difference == 0).sum(axis=0),
        "losses": (difference < 0).sum(axis=0),
        "effect_size": effect_sizes(weighted),
    }
