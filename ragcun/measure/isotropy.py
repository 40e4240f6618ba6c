"""How evenly vectors use their space, and how far a few of them are the neighbours of all others.

Isotropy comes from the covariance. Hubness needs neighbours, and is measured on a sample. All ranks call together, each
computes a share, and all get the same answer.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import Scatter
from ragcun.params import Similarity


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


def hubness(
    vectors: np.ndarray, *, similarity: Similarity = "cosine", k: int = 10, sample: int = 5000, seed: int = 0
) -> float:
    """Skewness of N_k, which counts how often a vector is among the k nearest of another one.

    It is near 0 without hubs, above 1 if a few vectors are everyone's neighbours, and 0 if all N_k are equal (Radovanović,
    Nanopoulos & Ivanović, Hubs in Space, JMLR 2010). It grows with the number of vectors: compare equal samples.

    Args:
        vectors: (N, D), the same on every rank, perhaps memory-mapped. If N is above `sample`, so many rows are drawn
            with `seed`, and are neighbours among themselves.

    Raises:
        RagcunError: there are k or fewer vectors, or a value is not finite.

    >>> round(hubness(np.vstack([np.eye(3), np.full((1, 3), 0.5)]), k=1), 3)
    0.816
    """
    if similarity not in ("cosine", "dot", "euclidean"):
        raise RagcunError(f"Unknown similarity {similarity!r}: choose cosine, dot or euclidean.")
    rows = min(len(vectors), sample)
    if vectors.ndim != 2 or k < 1 or rows <= k:
        raise RagcunError(
            f"Hubness needs a k of 1 or more, and more vectors than k: k is {k}, the vectors {vectors.shape}."
        )
    chosen = np.arange(rows)
    if rows < len(vectors):
        chosen = np.sort(np.random.default_rng(seed).choice(len(vectors), size=rows, replace=False))
    points = np.asarray(vectors[chosen], dtype=np.float64)
    _check_finite(points)
    occurrences = np.zeros(rows, dtype=np.int64)
    blocks = range(0, rows, 512)
    for start in blocks[distributed.shard(len(blocks))]:
        occurrences += np.bincount(_neighbours(points, start, start + 512, k, similarity).ravel(), minlength=rows)
    return _skewness(_sum(occurrences).astype(np.float64))


def _sum(array: np.ndarray) -> np.ndarray:
    """The sum of every rank's `array`."""
    return distributed.sum_over_ranks(torch.from_numpy(array).to(distributed.device())).cpu().numpy()


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
        count, units, squares, *rest = _sum(ours)
        directions, mean = np.array(rest[:width]), np.array(rest[width:]) / max(1, count)
        apart = self.mean - mean
        scatter = _sum(self.scatter + self.count * np.outer(apart, apart))
        return _Moments(int(count), mean, scatter, directions, float(units), float(squares))


def _moments(vectors: np.ndarray, chunk: int) -> _Moments:
    width = vectors.shape[1]
    sums, directions, units, squares = Scatter(width), np.zeros(width), 0.0, 0.0
    for start in range(0, len(vectors), chunk):
        rows = np.array(vectors[start : start + chunk], dtype=np.float64)
        _check_finite(rows)
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


def _neighbours(points: np.ndarray, start: int, stop: int, k: int, similarity: str) -> np.ndarray:
    """The k nearest other rows, (rows, k) in no order, of the rows from `start` to `stop`."""
    square_norms = np.einsum("ij,ij->i", points, points)
    nearness = points[start:stop] @ points.T
    if similarity == "cosine":
        # The norm of the row itself does not change the order.
        nearness /= np.sqrt(np.where(square_norms > 0, square_norms, 1))
    elif similarity == "euclidean":
        nearness = 2 * nearness - square_norms
    own = np.arange(len(nearness))
    nearness[own, start + own] = -np.inf
    return np.argpartition(-nearness, k - 1, axis=1)[:, :k]


def _skewness(values: np.ndarray) -> float:
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    return float(np.mean(centred**3)) / variance**1.5 if variance > 0 else 0.0


def _check_finite(rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        raise RagcunError(
            "A vector holds NaN or infinity. Find the text it comes from; encoding in fp32 instead of half precision "
            "is the usual remedy."
        )
