"""The rule that adapts a model to one corpus without a label: a map x → A(x − m) of its embeddings.

Queries and documents of one corpus share what they are all about, and a query differs from its document in ways that the
embedding does not ignore. The rule takes both out, with stand-in queries for what a user would ask:

* m is the mean of the stand-ins' vectors, and is subtracted from queries and documents alike. It takes from each document
  its nearness to queries in general.
* A = s·W^(−γ/2). W is the covariance of the differences between a stand-in and its document, the noise of a query, shrunk
  towards a multiple of the identity. s keeps the total variance of the corpus.
* γ is MAX_GAMMA, or less: as much as brings the corpus to the IsoScore asked for. A corpus that has it is left alone.

docs/adapt.md shows what chose the constants, and what the rule gains and loses.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import mean_and_covariance

DEFAULT_ISOSCORE = 0.30
MAX_GAMMA = 0.15
# How many queries a user must give for their mean to weigh as much as that of the stand-ins.
PRIOR_QUERIES = 100
# Fewer stand-ins than this give a mean and a covariance that are mostly chance.
FEW_TEXTS = 100
# Of a larger corpus every n-th document tells the covariance.
ENOUGH_DOCUMENTS = 100_000


@dataclass(frozen=True)
class Statistics:
    """What the rule knows of a corpus under a model.

    Attributes:
        covariance: of the documents, (D, D).
        noise: covariance of stand-in minus document, shrunk, (D, D).
        mean: of the stand-ins and, where there are such, the user's queries, (D,).
        documents, stand_ins, queries: how many vectors these rest on.
    """

    covariance: np.ndarray
    noise: np.ndarray
    mean: np.ndarray
    documents: int
    stand_ins: int
    queries: int = 0

    @classmethod
    def of(
        cls, corpus: np.ndarray, stand_ins: np.ndarray, rows: np.ndarray, queries: np.ndarray | None = None
    ) -> "Statistics":
        """The statistics of embeddings.

        Args:
            corpus: documents, (N, D), perhaps memory-mapped.
            stand_ins: (S, D).
            rows: (S,), the document that each stand-in comes from.
            queries: real ones, without judgements, (Q, D).

        Raises:
            RagcunError: there are fewer than two documents or stand-ins, a value is not finite, or all documents have
                the same vector.
        """
        if len(corpus) < 2 or len(stand_ins) < 2 or corpus.shape[1] < 2:
            raise RagcunError(
                f"adapting needs two or more documents and stand-in queries, of two or more dimensions: there are "
                f"{len(corpus)} and {len(stand_ins)}, of {corpus.shape[1]}"
            )
        mean, covariance = mean_and_covariance(corpus[:: -(-len(corpus) // ENOUGH_DOCUMENTS)])
        asked = np.asarray(stand_ins, dtype=np.float64)
        _, noise = mean_and_covariance(asked - corpus[rows])
        centre, given = asked.mean(axis=0), 0 if queries is None else len(queries)
        if queries is not None and given:
            weight = given / (given + PRIOR_QUERIES)
            centre = (1 - weight) * centre + weight * np.asarray(queries, dtype=np.float64).mean(axis=0)
        if not all(np.isfinite(found).all() for found in (covariance, noise, centre)):
            raise RagcunError("a vector is not finite: encode the corpus again, in float32")
        if np.trace(covariance) <= np.finfo(np.float32).eps ** 2 * (mean @ mean):
            raise RagcunError("all documents have the same vector: adapting needs a corpus of different texts")
        return cls(covariance, shrunk(noise, len(asked)), centre, len(corpus), len(asked), given)

    @cached_property
    def _noise_axes(self) -> tuple[np.ndarray, np.ndarray]:
        variances, axes = np.linalg.eigh(self.noise)
        # Where each stand-in is its whole document, there is no noise to take out: the two differ by rounding at most.
        if variances.sum() <= np.finfo(np.float32).eps * np.trace(self.covariance):
            return np.ones_like(variances), axes
        return variances.clip(min=np.finfo(np.float32).eps * variances.max()), axes

    def matrix(self, gamma: float) -> np.ndarray:
        """A, (D, D), symmetric; the identity where γ is 0."""
        variances, axes = self._noise_axes
        matrix = (axes * variances ** (-gamma / 2)) @ axes.T
        kept = np.trace(self.covariance) / np.trace(matrix @ self.covariance @ matrix)
        return np.sqrt(kept) * matrix

    def isoscore(self, gamma: float = 0.0) -> float:
        """IsoScore of the corpus after the map."""
        matrix = self.matrix(gamma)
        return isoscore_of(matrix @ self.covariance @ matrix)

    def gamma_for(self, target: float) -> float:
        """γ: the least one in [0, MAX_GAMMA] that brings the corpus to the IsoScore `target`, MAX_GAMMA if none does."""
        if self.isoscore() >= target:
            return 0.0
        if self.isoscore(MAX_GAMMA) <= target:
            return MAX_GAMMA
        from scipy.optimize import brentq  # only here: loading it takes half a second

        return float(brentq(lambda gamma: self.isoscore(gamma) - target, 0.0, MAX_GAMMA, xtol=1e-4))


@dataclass(frozen=True)
class Adaptation:
    """The map x → `matrix`·(x − `mean`), and how isotropic the corpus is before and after it.

    `left_alone` says that the corpus had the IsoScore asked for: the map is then the identity.
    """

    matrix: np.ndarray
    mean: np.ndarray
    gamma: float
    before: float
    after: float
    left_alone: bool

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) to adapted ones, float32.

        >>> identity = Adaptation(np.eye(2), np.array([1.0, 0.0]), 0.0, 0.1, 0.1, False)
        >>> identity.apply(np.array([[3.0, 4.0]]))
        array([[2., 4.]], dtype=float32)
        """
        shift = self.matrix @ self.mean
        return (vectors @ self.matrix - shift).astype(np.float32)

    def figures(self) -> dict[str, float]:
        """What a report says of the map."""
        isoscores = {"isoscore_before": self.before, "isoscore_after": self.after}
        return {"gamma": self.gamma, **isoscores, "left_alone": float(self.left_alone)}


def choose(statistics: Statistics, target: float = DEFAULT_ISOSCORE) -> Adaptation:
    """The rule: the map that the statistics of a corpus ask for, without any label.

    >>> corpus = np.array([[1.0, 0.1], [-1, 0.1], [0.1, 1], [0.1, -1]])
    >>> choose(Statistics.of(corpus, corpus + 0.1, np.arange(4))).left_alone
    True
    """
    dim, before = len(statistics.mean), isoscore_of(statistics.covariance)
    if before >= target:
        return Adaptation(np.eye(dim), np.zeros(dim), 0.0, before, before, left_alone=True)
    return with_gamma(statistics, statistics.gamma_for(target))


def with_gamma(statistics: Statistics, gamma: float, mean: np.ndarray | None = None) -> Adaptation:
    """The map with a γ of one's choice, and perhaps another mean."""
    before = isoscore_of(statistics.covariance)
    after = statistics.isoscore(gamma)
    centre = statistics.mean if mean is None else mean
    return Adaptation(statistics.matrix(gamma), centre, gamma, before, after, left_alone=False)


def unit(vectors: np.ndarray) -> np.ndarray:
    """The directions of vectors (N, D): each at length 1, and a zero vector as it is.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def isoscore_of(covariance: np.ndarray) -> float:
    """IsoScore in closed form: (R − 1) / (D − 1), where R = tr(Σ)² / ‖Σ‖² is the participation ratio of the variances.

    >>> isoscore_of(np.diag([1.0, 1.0, 0.0]))
    0.5
    """
    ratio = np.trace(covariance) ** 2 / np.square(covariance).sum()
    return float((ratio - 1) / (len(covariance) - 1))


def shrunk(covariance: np.ndarray, count: int) -> np.ndarray:
    """(1 − ρ)Σ + ρ·σ̄²I, with σ̄² the mean variance: the covariance of `count` vectors, as few of them can tell it.

    ρ is the oracle approximating shrinkage (Chen, Wiesel, Eldar & Hero, Shrinkage Algorithms for MMSE Covariance
    Estimation, IEEE TSP 2010), in the form of `sklearn.covariance.oas`.

    >>> shrunk(np.diag([3.0, 1.0]), count=1_000_000).round(3).tolist()
    [[3.0, 0.0], [0.0, 1.0]]
    """
    dim, total, squares = len(covariance), np.trace(covariance), np.square(covariance).sum()
    excess = (count + 1) * (squares - total**2 / dim)
    share = 1.0 if excess <= 0 else min(1.0, (squares + total**2) / excess)
    return (1 - share) * covariance + share * (total / dim) * np.eye(dim)
