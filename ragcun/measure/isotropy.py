"""How evenly vectors use their space, by their covariance.

All ranks call together, each computes a share, and all get the same answer.
"""

from dataclasses import dataclass

import numpy as np

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import Scatter
from ragcun.measure.rows import check_finite, sum_of_ranks


def isotropy(vectors: np.ndarray, *, chunk: int = 8192) -> dict[str, float]:
    """`isotropy_of_shards` of `vectors` (N, D), which every rank has, perhaps memory-mapped; each reads its shard.

    >>> {name: round(value, 3) for name, value in isotropy(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])).items()}
    {'isoscore': 1.0, 'mean_cosine': -0.333, 'effective_rank': 2.0}
    """
    if vectors.ndim != 2:
        raise _too_few(vectors.shape)
    return isotropy_of_shards(vectors[distributed.shard(len(vectors))], chunk=chunk)


def isotropy_of_shards(vectors: np.ndarray, *, chunk: int = 8192) -> dict[str, float]:
    """`isoscore`, `mean_cosine` and `effective_rank` of all ranks' `vectors` (n, D) together; exact, not sampled.

    * `isoscore`: IsoScore (Rudman et al., IsoScore: Measuring the Uniformity of Embedding Space Utilization, Findings of
      ACL 2022, arXiv 2108.07344): 1 if all principal axes have the same variance, 0 if one has it all. Rotation, scale
      and mean do not change it. With N ≤ D it stays below 1.
    * `mean_cosine`: over all pairs of distinct rows, about the origin, not the mean. A zero vector has cosine 0.
    * `effective_rank`: exp of the entropy of the centred matrix's singular values, normalised to sum 1 (Roy & Vetterli,
      The Effective Rank, EUSIPCO 2007); between 1 and D.

    Raises:
        RagcunError: there are fewer than two vectors or dimensions; a value is not finite; or the vectors are all the
            same to float32's resolution.

    >>> isotropy_of_shards(np.array([[2.0, 0], [-2, 0]]))["isoscore"]
    0.0
    """
    moments = _moments(vectors, chunk).over_ranks()
    count = moments.count
    if count < 2 or vectors.shape[1] < 2:
        raise _too_few((count, vectors.shape[1]))
    variances = np.linalg.eigvalsh(moments.scatter / count).clip(min=0)
    if variances.sum() <= np.finfo(np.float32).eps ** 2 * moments.squares / count:
        raise RagcunError("The vectors are all the same, so isotropy is undefined: the encoder has collapsed.")
    # Σ over i ≠ j of u_i·u_j = ‖Σu‖² − Σ‖u_i‖², and a unit vector's square is 1.
    pairs = float(moments.directions @ moments.directions) - moments.units
    return {
        "isoscore": _isoscore(variances),
        "mean_cosine": pairs / (count * (count - 1)),
        "effective_rank": _effective_rank(variances),
    }


def _too_few(shape: tuple[int, ...]) -> RagcunError:
    return RagcunError(f"Isotropy needs two or more vectors of two or more dimensions: it was given {shape}.")


@dataclass(frozen=True)
class _Moments:
    """Sums over `count` rows: `scatter` (D, D), of the products of their distances from the `mean` (D,); `directions` (D,),
    of the unit vectors, and `units`, their number; `squares`, of the squared norms."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray
    directions: np.ndarray
    units: float
    squares: float

    def over_ranks(self) -> "_Moments":
        """The moments of all ranks' rows together, on every rank."""
        if distributed.world_size() == 1:
            return self
        width = len(self.mean)
        ours = np.concatenate([[self.count, self.units, self.squares], self.directions, self.count * self.mean])
        count, units, squares, *rest = sum_of_ranks(ours)
        directions, mean = np.array(rest[:width]), np.array(rest[width:]) / max(1, count)
        apart = self.mean - mean
        scatter = sum_of_ranks(self.scatter + self.count * np.outer(apart, apart))
        return _Moments(int(count), mean, scatter, directions, float(units), float(squares))


def _moments(vectors: np.ndarray, chunk: int) -> _Moments:
    width = vectors.shape[1]
    sums, directions, units, squares = Scatter(width), np.zeros(width), 0.0, 0.0
    for start in range(0, len(vectors), chunk):
        rows = np.array(vectors[start : start + chunk], dtype=np.float64)
        check_finite(rows)
        square_norms = np.einsum("ij,ij->i", rows, rows)
        norms = np.sqrt(square_norms)
        squares += float(square_norms.sum())
        directions += (rows / np.where(norms > 0, norms, 1)[:, None]).sum(axis=0)
        units += float((norms > 0).sum())
        sums.add(rows)
    return _Moments(sums.count, sums.mean, sums.scatter, directions, units, squares)


def _isoscore(variances: np.ndarray) -> float:
    """IsoScore, steps 3 to 6 of its Algorithm 1, from the D variances along the principal axes."""
    d = len(variances)
    normalised = np.sqrt(d) * variances / np.linalg.norm(variances)
    defect = np.linalg.norm(normalised - 1) / np.sqrt(2 * (d - np.sqrt(d)))
    fraction = (d - defect**2 * (d - np.sqrt(d))) ** 2 / d**2
    # Rounding alone can leave the interval.
    return float(np.clip((d * fraction - 1) / (d - 1), 0, 1))


def _effective_rank(variances: np.ndarray) -> float:
    singular = np.sqrt(variances)
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
