"""The linear map that a projection starts as: it rotates the base's space and whitens it to a degree γ.

R = s·Λ^(−γ/2)·Vᵀ, from the mean μ and the covariance VΛVᵀ of the base's embeddings. γ = 0 only rotates, γ = 1 whitens
fully, and s makes the mean variance of a dimension 1, the scale that SIGReg asks for.
"""

import numpy as np
import torch
from torch import Tensor

from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import mean_and_covariance

# Smaller variances, as shares of the mean one, count as this, so that whitening does not blow up empty directions.
SMALLEST_VARIANCE = 1e-4


def whitening_map(vectors: np.ndarray, gamma: float, output_dim: int) -> tuple[Tensor, Tensor]:
    """R and μ of the projection's start, from the base's embeddings.

    Args:
        vectors: (N, d), may be memory-mapped; read in chunks.
        gamma: γ in [0, 1].
        output_dim: D. If it is below d, the D axes of the largest variance are kept.

    Returns:
        R, (min(D, d), d), and μ, (d,), in float64. If γ = 0 and D ≥ d, μ is 0: cosine and dot rankings stay the base's.

    Raises:
        RagcunError: there are fewer than two vectors, or all are alike.

    >>> matrix, mean = whitening_map(np.array([[5.0, 0], [-5, 0], [0, 1], [0, -1]]), gamma=1, output_dim=2)
    >>> (matrix @ torch.tensor([5.0, 0.0], dtype=torch.float64)).norm()
    tensor(1.4142, dtype=torch.float64)
    """
    mean, covariance = map(torch.from_numpy, mean_and_covariance(vectors))
    variances, axes = torch.linalg.eigh(covariance)
    variances, axes = variances.flip(0), axes.flip(1)
    average = variances.mean()
    if not average > 0:
        raise RagcunError("whitening needs embeddings that differ: the passages are too few, or all the same")
    dims = min(output_dim, len(mean))
    scales = variances.clamp(min=SMALLEST_VARIANCE * average)[:dims].pow(-gamma / 2)
    # An isometry into more dimensions spreads this variance over them.
    scale = torch.sqrt(output_dim / (variances[:dims] * scales.square()).sum())
    matrix = scales[:, None] * axes.T[:dims]
    if gamma == 0 and output_dim >= len(mean):
        mean = torch.zeros_like(mean)
    return scale * matrix, mean
