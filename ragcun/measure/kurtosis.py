"""Mardia's multivariate kurtosis: whether vectors have the tails of a Gaussian."""

import numpy as np

from ragcun.core.errors import RagcunError

# An axis with a smaller share of the largest variance is one that the vectors do not use.
_NO_VARIANCE = 1e-9


def mardia_kurtosis(rows: np.ndarray) -> float:
    """b₂ = mean of ((x − m)ᵀ S⁻¹ (x − m))² over the vectors (N, D), divided by its expectation for a Gaussian.

    m and S are their mean and covariance, and d(d + 2)(N − 1)/(N + 1) the expectation, d being the dimensions that the vectors
    use. 1 for a Gaussian, more with heavy tails, less for points on a sphere or in a box; 0 or more. Affine maps do not change
    it. Source: Mardia, Measures of multivariate skewness and kurtosis with applications, Biometrika 1970. Caveat: with N
    close to d every sample looks alike and the ratio is 1, so N ≥ 2d is asked for; trust it from N ≫ d on.

    Raises:
        RagcunError: there are fewer vectors than twice the dimensions, or they are all the same.

    >>> round(mardia_kurtosis(np.random.default_rng(0).standard_normal((4000, 8))), 2)
    1.0
    """
    count, width = rows.shape
    if count < 2 * width:
        raise RagcunError(f"Mardia's kurtosis needs twice as many vectors as dimensions: it was given {rows.shape}.")
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred / count)
    used = variances > _NO_VARIANCE * variances[-1]
    if not variances[-1] > 0:
        raise RagcunError("The vectors are all the same, so they have no tails: the encoder has collapsed.")
    squared = (np.square(centred @ axes[:, used]) / variances[used]).sum(axis=1)
    d = int(used.sum())
    return float(np.square(squared).mean() / (d * (d + 2) * (count - 1) / (count + 1)))
