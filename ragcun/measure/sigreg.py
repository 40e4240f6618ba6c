"""SIGReg (LeJEPA, arXiv 2511.08544): how far vectors are from a standard Gaussian.

It is the mean over random unit directions a of the Epps–Pulley statistic ∫ |φ_N(t) − e^(−t²/2)|² e^(−t²/2) dt of aᵀz, φ_N
the empirical characteristic function. Upstream multiplies the statistic by N; here it is not, so that its weight in the loss
means the same at every batch size. Training minimises it (ragcun/train/loss.py); `sigreg_excess` measures it.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ragcun import distributed
from ragcun.core.errors import RagcunError

# Trapezoid rule of the statistic: 17 knots on [0, 3], doubled because the integrand is even.
KNOTS = 17
T_MAX = 3.0

# Directions that are looked along at once: so many cosines for each vector are held in memory.
_DIRECTIONS_AT_ONCE = 16


def sigreg_excess(rows: np.ndarray, *, directions: int = 256, seed: int = 0) -> float:
    """SIGReg of the vectors (N, D), scaled to a mean squared length of D, less what N draws of a Gaussian would give.

    It is 0 in expectation for an isotropic Gaussian about the origin, and grows with a mean, uneven variances and heavy
    tails; never above 7.5, and seldom above 1. The scale is taken out because it changes no ranking. Caveat: it sees one
    dimension at a time, and projections of many dimensions are near normal, so a small excess does not show a Gaussian.

    Args:
        rows: the same on every rank; each rank takes its shard.
        directions: how many random directions are looked along.

    Raises:
        RagcunError: all vectors are zero.

    >>> abs(sigreg_excess(np.random.default_rng(0).standard_normal((4000, 8)))) < 0.0005
    True
    """
    scale = np.sqrt(np.mean(np.square(rows, dtype=np.float64)))
    if not scale > 0:
        raise RagcunError("All vectors are zero, and have no distribution to measure: the encoder has collapsed.")
    mine = (rows[distributed.shard(len(rows))] / scale).astype(np.float32)
    scaled = torch.from_numpy(mine).to(distributed.device())
    along = random_directions(rows.shape[1], directions, seed, scaled.device)
    parts = [epps_pulley(scaled @ part, len(rows)) for part in along.split(_DIRECTIONS_AT_ONCE, dim=1)]
    return float(torch.cat(parts).mean()) - null_floor(len(rows))


def epps_pulley(projected: Tensor, count: int) -> Tensor:
    """The Epps–Pulley statistic of each column, (A,), of this rank's rows (N_r, A) of `count` = ΣN_r in all.

    >>> float(epps_pulley(torch.zeros(2, 1), 2)) > float(epps_pulley(torch.tensor([[-1.0], [1.0]]), 2))
    True
    """
    t, weights, gaussian = (each.to(projected) for each in _quadrature())
    angles = projected[:, :, None] * t
    sums = distributed.sum_over_ranks(torch.stack([angles.cos().sum(0), angles.sin().sum(0)]))
    real, imaginary = sums / count
    error = (real - gaussian).square() + imaginary.square()
    return (error * weights).sum(1)


def null_floor(count: int) -> float:
    """The statistic's expectation for `count` standard normal numbers: E|φ_N(t) − e^(−t²/2)|² = (1 − e^(−t²)) / N.

    >>> round(null_floor(10) / null_floor(1000), 6)
    100.0
    """
    _, weights, gaussian = _quadrature()
    return float(((1 - gaussian.square()) * weights).sum()) / count


def _quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """Knots t, the weights of ∫ · e^(−t²/2) dt over both signs of t, and e^(−t²/2), each (KNOTS,) in float64."""
    t = torch.linspace(0, T_MAX, KNOTS, dtype=torch.float64)
    weights = torch.full_like(t, T_MAX / (KNOTS - 1))
    weights[[0, -1]] /= 2
    gaussian = torch.exp(-t.square() / 2)
    return t, 2 * weights * gaussian, gaussian


def random_directions(dim: int, count: int, seed: int, device: torch.device) -> Tensor:
    """Unit vectors (dim, count), the same for the same seed on every rank and device.

    >>> random_directions(3, 5, seed=0, device=torch.device("cpu")).shape
    torch.Size([3, 5])
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(dim, count, generator=generator)
    return nn.functional.normalize(directions, dim=0).to(device)


def sigreg(embeddings: Tensor, count: int, directions: Tensor) -> Tensor:
    """SIGReg of this rank's rows (N_r, D) of `count` in all, along `directions` (D, A), in fp32. Zero-dimensional.

    >>> points = torch.tensor([[-1.0, 0], [1, 0], [0, -1], [0, 1]])
    >>> float(sigreg(points, 4, torch.eye(2))) == float(epps_pulley(points, 4).mean())
    True
    """
    embeddings = at_least_fp32(embeddings)
    return epps_pulley(embeddings @ directions.to(embeddings.dtype), count).mean()


def at_least_fp32(values: Tensor) -> Tensor:
    """float64 stays; anything less precise than float32 becomes float32.

    >>> at_least_fp32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values if values.dtype == torch.float64 else values.float()
