"""The linear map that a projection starts as: the base's space rotated, and whitened by a degree γ.

R = s·Λ^(−γ/2)·Vᵀ comes from the mean μ and the covariance VΛVᵀ of the base's embeddings: γ = 0 rotates, γ = 1 whitens
fully, and s gives unit mean variance per dimension, the scale that SIGReg asks for.
"""

import numpy as np
import torch
from torch import Tensor

from ragcun.core.errors import RagcunError

# Variances below this share of the mean one count as this share, so that whitening does not blow up empty directions.
SMALLEST_VARIANCE = 1e-4


def whitening_map(vectors: np.ndarray, gamma: float, output_dim: int) -> tuple[Tensor, Tensor]:
    """R and μ of the projection's start, from the base's embeddings.

    Args:
        vectors: (N, d), may be memory-mapped; read in chunks.
        gamma: γ in [0, 1].
        output_dim: D; below d, the D axes of the largest variance are kept.

    Returns:
        R, (min(D, d), d), and μ, (d,), in float64. At γ = 0 and D ≥ d, μ is 0: then cosine and dot rankings are the base's.

    Raises:
        RagcunError: fewer than two vectors, or all alike.
    """
    mean, covariance = mean_and_covariance(vectors)
    variances, axes = torch.linalg.eigh(covariance)
    variances, axes = variances.flip(0), axes.flip(1)
    average = variances.mean()
    if not average > 0:
        raise RagcunError("whitening needs embeddings that differ: the passages are too few, or all the same")
    dims = min(output_dim, len(mean))
    scales = variances.clamp(min=SMALLEST_VARIANCE * average)[:dims].pow(-gamma / 2)
    # An isometry into more dimensions spreads the same variance over them.
    scale = torch.sqrt(output_dim / (variances[:dims] * scales.square()).sum())
    matrix = scales[:, None] * axes.T[:dims]
    if gamma == 0 and output_dim >= len(mean):
        mean = torch.zeros_like(mean)
    return scale * matrix, mean


def mean_and_covariance(vectors: np.ndarray, chunk: int = 65_536) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of the rows of `vectors`, in float64, read in chunks of rows."""
    if len(vectors) < 2:
        raise RagcunError(f"a covariance needs at least two vectors, and there are {len(vectors)}")
    parts = range(0, len(vectors), chunk)
    mean = sum(vectors[at : at + chunk].astype(np.float64).sum(axis=0) for at in parts) / len(vectors)
    covariance = np.zeros((vectors.shape[1],) * 2)
    for at in parts:
        centred = vectors[at : at + chunk] - mean
        covariance += centred.T @ centred
    return torch.from_numpy(np.asarray(mean)), torch.from_numpy(covariance / len(vectors))
