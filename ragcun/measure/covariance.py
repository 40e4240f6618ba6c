"""Mean and covariance of vectors, read once and in chunks, in float64 (Chan, Golub & LeVeque, Updating Formulae and a
Pairwise Algorithm for Computing Sample Variances, 1979). So the vectors may be a memory map larger than memory."""

import numpy as np

from ragcun.core.errors import RagcunError


class Scatter:
    """The `count` and `mean` (d,) of the rows added so far, and their `scatter` (d, d) about the mean.

    >>> sums = Scatter(1)
    >>> for value in (1.0, 3.0):
    ...     sums.add(np.array([[value]]))
    >>> sums.mean, sums.scatter / sums.count
    (array([2.]), array([[1.]]))
    """

    def __init__(self, dim: int) -> None:
        self.count, self.mean, self.scatter = 0, np.zeros(dim), np.zeros((dim, dim))

    def add(self, rows: np.ndarray) -> None:
        """Add rows (n, d), n > 0, float64; they are centred in place."""
        centre = rows.mean(axis=0)
        rows -= centre
        step, total = centre - self.mean, self.count + len(rows)
        self.scatter += rows.T @ rows + np.outer(step, step) * (self.count * len(rows) / total)
        self.mean += step * (len(rows) / total)
        self.count = total


def mean_and_covariance(vectors: np.ndarray, chunk: int = 65_536) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of the rows of `vectors`, perhaps memory-mapped.

    >>> mean_and_covariance(np.array([[1.0], [3.0]]))
    (array([2.]), array([[1.]]))
    """
    if len(vectors) < 2:
        raise RagcunError(f"a covariance needs at least two vectors, and there are {len(vectors)}")
    sums = Scatter(vectors.shape[1])
    for at in range(0, len(vectors), chunk):
        sums.add(np.array(vectors[at : at + chunk], dtype=np.float64))
    return sums.mean, sums.scatter / sums.count
