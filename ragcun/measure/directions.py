"""Measures of the directions of vectors: how they spread over the sphere, and how near queries are to their answers.

Cosine ranks by directions alone, so each vector is taken at length 1; a zero vector stays zero. The vectors are the same on
every rank, and so is the answer.
"""

import numpy as np

from ragcun.measure.rows import unit


def uniformity(rows: np.ndarray, *, chunk: int = 512) -> float:
    """log E e^(−2‖x − y‖²) over all pairs of distinct vectors (N, D), N ≥ 2.

    From −8 (only opposite points) to 0 (one point); −4 + 8/D, about, if the directions are uniform. Lower is more uniform.
    Source: Wang & Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere, ICML 2020, with t = 2. Caveat: clusters weigh heavily in it, for near pairs dominate the mean.

    >>> float(np.round(uniformity(np.array([[1.0, 0.0], [0.0, 1.0]])), 3))
    -4.0
    """
    directions = unit(rows)
    total, count = 0.0, len(directions)
    for start in range(0, count, chunk):
        cosines = directions[start : start + chunk] @ directions.T
        squared = np.square(np.linalg.norm(directions, axis=1))
        distances = squared[start : start + chunk, None] + squared - 2 * cosines
        # A vector's distance to itself is 0, and e⁰ is 1.
        total += float(np.exp(-2 * distances.clip(min=0)).sum()) - len(cosines)
    return float(np.log(total / (count * (count - 1))))


def alignment(queries: np.ndarray, documents: np.ndarray) -> float:
    """E ‖q − d‖² over judged pairs: row i of `queries` (P, D) is a query, row i of `documents` a document relevant to it.

    From 0 (each query lies on its answers) to 4; 2 where the two have nothing in common. Source: as `uniformity`, with α = 2.
    Caveat: a narrow space has a low alignment without ranking well, so read it beside uniformity.

    >>> alignment(np.array([[2.0, 0.0]]), np.array([[0.0, 1.0]]))
    2.0
    """
    return float(np.square(unit(queries) - unit(documents)).sum(axis=1).mean())


def centre_gap(queries: np.ndarray, documents: np.ndarray) -> float:
    """‖mean q − mean d‖, the distance between the centres of queries (Q, D) and documents (N, D).

    From 0 to 2. Source: Liang et al., Mind the Gap, NeurIPS 2022, who measure it between images and texts. Caveat: it is of the
    centres alone, and of the queries that a benchmark has, which may be of fewer subjects than its documents.

    >>> centre_gap(np.array([[1.0, 0.0]]), np.array([[-3.0, 0.0]]))
    2.0
    """
    return float(np.linalg.norm(unit(queries).mean(axis=0) - unit(documents).mean(axis=0)))


def partition_isotropy(rows: np.ndarray) -> float:
    """I(V) = min Z(c) / max Z(c), where Z(c) = Σ e^(c·v) over the vectors (N, D) and c is ± an eigenvector of VᵀV.

    From 0 to 1, which is isotropic. Source: Mu & Viswanath, All-but-the-Top, ICLR 2018. Eigenvectors have no sign, so both
    are taken. Caveat: it depends on the vectors' length, hence length 1 here; and it is near 1 for most directions of many
    dimensions, for then every c·v is small.

    >>> partition_isotropy(np.vstack([np.eye(3), -np.eye(3)]))
    1.0
    """
    directions = unit(rows)
    along = directions @ np.linalg.eigh(directions.T @ directions).eigenvectors
    partition = np.concatenate([np.exp(along).sum(axis=0), np.exp(-along).sum(axis=0)])
    return float(partition.min() / partition.max())
