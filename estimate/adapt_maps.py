"""The maps that the rule of ragcun.adapt is held against: parts of it, older recipes, and other choices of its constants."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from ragcun.adapt.judged import Judged
from ragcun.adapt.rule import DEFAULT_ISOSCORE, Adaptation, Statistics, choose, isoscore_of, with_gamma
from ragcun.measure.covariance import mean_and_covariance


@dataclass(frozen=True)
class Collection:
    """A corpus under a model, with the judged queries of its test and dev splits.

    Attributes:
        half: `choosing`, where the rule's constants were chosen, `reporting`, or `other`.
        stand_ins, rows: crops (S, D), and the documents they come from (S,).
        dev: which of the queries are of the dev split, (Q,).
    """

    name: str
    half: str
    judged: Judged
    stand_ins: np.ndarray
    rows: np.ndarray
    dev: np.ndarray

    @property
    def statistics(self) -> Statistics:
        return Statistics.of(self.judged.corpus, self.stand_ins, self.rows)


Map = Callable[[Collection], Adaptation | None]
"""The map for a collection; None leaves the model as it is."""


def rule(target: float = DEFAULT_ISOSCORE) -> Map:
    def adapted(collection: Collection) -> Adaptation | None:
        found = choose(collection.statistics, target)
        return None if found.left_alone else found

    return adapted


def noise_whitening(gamma: float, *, centred: bool = True) -> Map:
    """The rule's map at one γ for every collection."""

    def adapted(collection: Collection) -> Adaptation:
        statistics = collection.statistics
        return with_gamma(statistics, gamma, None if centred else 0 * statistics.mean)

    return adapted


def corpus_whitening(gamma: float | None, *, mean: str) -> Map:
    """Σ^(−γ/2), Σ the covariance of the documents; None takes the γ that brings the corpus to IsoScore .30."""

    def adapted(collection: Collection) -> Adaptation:
        centre, covariance = mean_and_covariance(collection.judged.corpus)
        statistics = replace(collection.statistics, noise=covariance)
        chosen = _gamma_to_target(statistics) if gamma is None else gamma
        return with_gamma(statistics, chosen, centre if mean == "corpus" else statistics.mean)

    return adapted


def all_but_the_top(directions: int) -> Map:
    """Without the corpus' mean and first principal axes (Mu & Viswanath, All-but-the-Top, ICLR 2018)."""

    def adapted(collection: Collection) -> Adaptation:
        centre, covariance = mean_and_covariance(collection.judged.corpus)
        top = np.linalg.eigh(covariance)[1][:, -directions:]
        return _map(np.eye(len(centre)) - top @ top.T, centre)

    return adapted


def principal_axes(collection: Collection) -> Adaptation:
    """The rotation into the principal axes, which changes no similarity."""
    axes = np.linalg.eigh(collection.statistics.covariance)[1]
    return _map(axes, np.zeros(len(axes)))


def without_shrinkage(collection: Collection) -> Adaptation:
    differences = collection.stand_ins - collection.judged.corpus[collection.rows]
    statistics = replace(collection.statistics, noise=mean_and_covariance(differences)[1])
    return with_gamma(statistics, statistics.gamma_for(DEFAULT_ISOSCORE))


def of_another(collections: list[Collection]) -> Map:
    """The map of the next collection in the list, a wrong corpus."""
    names = [collection.name for collection in collections]

    def adapted(collection: Collection) -> Adaptation | None:
        return rule()(collections[(names.index(collection.name) + 1) % len(collections)])

    return adapted


def mean_of_queries(count: int, *, alone: bool) -> Map:
    """The rule with the mean of `count` dev queries in the place of the stand-ins' (alone), or beside it as `--queries`."""

    def adapted(collection: Collection) -> Adaptation | None:
        queries = collection.judged.queries[np.flatnonzero(collection.dev)[:count]]
        found = rule()(collection)
        if found is None or not len(queries):
            return found
        both = Statistics.of(collection.judged.corpus, collection.stand_ins, collection.rows, queries)
        return replace(found, mean=queries.mean(axis=0, dtype=np.float64) if alone else both.mean)

    return adapted


def _map(matrix: np.ndarray, mean: np.ndarray) -> Adaptation:
    """x → `matrix`ᵀ(x − `mean`), as `Adaptation.apply` multiplies from the right."""
    return _Unsymmetric(matrix, mean, 0.0, 0.0, 0.0, left_alone=False)


class _Unsymmetric(Adaptation):
    def apply(self, vectors: np.ndarray) -> np.ndarray:
        return ((vectors - self.mean) @ self.matrix).astype(np.float32)


def _gamma_to_target(statistics: Statistics) -> float:
    if isoscore_of(statistics.covariance) >= DEFAULT_ISOSCORE:
        return 0.0
    return float(brentq(lambda gamma: statistics.isoscore(gamma) - DEFAULT_ISOSCORE, 0.0, 1.0, xtol=1e-4))
