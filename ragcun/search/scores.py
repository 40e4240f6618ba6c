"""Vectors as a search compares them: float32 for matrix products, float64 for exact scores, and the bound between both."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ragcun.core.errors import RagcunError
from ragcun.params import Similarity

# Numbers in a block of pairs' vectors: few enough for a CPU's cache, enough to keep a GPU busy.
_BLOCK = {"cpu": 2**18}
_BLOCK_ELSEWHERE = 2**26
# The share of a block's pairs of query and document above which all of them are multiplied at once: a pair by itself takes a
# hundred times as long.
_MANY = 0.02
# The squares of a vector of such a length, or of its inverse, are ordinary float32 numbers.
_SAFE_NORM = 1e-12


@dataclass(frozen=True)
class Vectors:
    """Rows ready for a matrix product.

    Attributes:
        values: (n, D) float32 on the device, of length 1 for the cosine.
        squared_norms: (n,) float64 of `values`, up to rounding.

    >>> Vectors.of(np.array([[3, 4]]), "cosine", torch.device("cpu"), "query").values
    tensor([[0.6000, 0.8000]])
    """

    values: Tensor
    squared_norms: Tensor

    @classmethod
    def of(cls, rows: np.ndarray, similarity: Similarity, device: torch.device, name: str) -> "Vectors":
        """`rows` (n, D), perhaps memory-mapped; an error calls them by `name`.

        Raises:
            RagcunError: a vector is not finite.
        """
        # A copy: torch warns of read-only memory maps.
        values = torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)
        norms = _norms(values, similarity)
        if not bool(torch.isfinite(norms).all()):
            raise RagcunError(
                f"A {name}'s vector holds NaN or infinity. Find the text it comes from; encoding in fp32 instead of "
                "half precision is the usual remedy."
            )
        if similarity != "cosine":
            return cls(values, norms.square())
        return cls((values.double() / torch.where(norms > 0, norms, 1.0)[:, None]).float(), torch.ones_like(norms))


def _norms(values: Tensor, similarity: Similarity) -> Tensor:
    """(n,) float64; where only the error bound asks for them, from float32 sums, unless these could over- or underflow."""
    if similarity == "dot":
        norms = torch.linalg.vector_norm(values, dim=1)
        if float(norms.min()) > _SAFE_NORM and float(norms.max()) < 1 / _SAFE_NORM:
            return norms.double()
    return torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)


def error_bound(queries: Vectors, documents: Vectors, similarity: Similarity) -> np.ndarray:
    """For each query, (Q,) float64, how far a score by float32 matrix product may lie from the exact one.

    |fl(q·d) − q·d| ≤ n·u/(1 − n·u) · Σ|q_i d_i|, for any order of summation (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1).

    Raises:
        RagcunError: a score may overflow float32.

    >>> side = Vectors.of(np.ones((1, 2)), "dot", torch.device("cpu"), "query")
    >>> bool(error_bound(side, side, "dot") < 1e-5)
    True
    """
    query_norms, longest = queries.squared_norms.sqrt(), documents.squared_norms.max().sqrt()
    magnitude = query_norms * longest
    if similarity == "euclidean":
        magnitude = 2 * magnitude + longest.square()
    if bool((magnitude >= torch.finfo(torch.float32).max / 4).any()):
        raise RagcunError(
            "The vectors are so long that a score may overflow float32. Scale them down, or use the cosine similarity."
        )
    # n·u/(1 − n·u) ≤ 2·n·u, with a few more operations for norms, doubling, subtracting and rounding. A product that
    # underflows loses up to `tiny`, the smallest normal number.
    operations = queries.values.shape[1] + 16
    precision = torch.finfo(torch.float32)
    bound: np.ndarray = (operations * (precision.eps * magnitude + precision.tiny)).cpu().numpy()
    return bound


def exact_vectors(rows: np.ndarray, similarity: Similarity, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Float64 copies (n, D) of float32 vectors, and for the euclidean similarity their squared norms: each from its row alone.

    >>> exact_vectors(np.array([[3, 4]]), "euclidean", torch.device("cpu"))[1]
    tensor([25.], dtype=torch.float64)
    """
    values = torch.from_numpy(np.array(rows, dtype=np.float32)).to(device).double()
    if similarity == "dot":
        return values, None
    squared_norms = _sum_rows(values.square())
    if similarity == "euclidean":
        return values, squared_norms
    norms = squared_norms.sqrt()
    return (values / torch.where(norms > 0, norms, 1.0)[:, None]).float().double(), None


def exact_scores(
    queries: Tensor, corpus: np.ndarray, query: np.ndarray, row: np.ndarray, similarity: Similarity
) -> np.ndarray:
    """The exact scores, (P,) float32, of pairs of a query and a row of the corpus.

    A score is the sum of the exact products in one fixed order, in float64, rounded to float32: it depends on its pair alone.

    Args:
        queries: (Q, D), made by `exact_vectors`.
        query, row: (P,) each, rows of the queries and of the corpus.

    >>> queries, _ = exact_vectors(np.eye(2), "dot", torch.device("cpu"))
    >>> exact_scores(queries, np.array([[3, 4]]), np.array([1]), np.array([0]), "dot")
    array([4.], dtype=float32)
    """
    scores = np.empty(len(query), dtype=np.float32)
    size = max(1, _BLOCK.get(queries.device.type, _BLOCK_ELSEWHERE) // corpus.shape[1])
    # By row, so that the corpus is read from its beginning to its end, and a document's vector is made once.
    order = np.argsort(row)
    distinct, first = np.unique(row[order], return_index=True)
    for start in range(0, len(distinct), size):
        rows = distinct[start : start + size]
        end = first[start + size] if start + size < len(distinct) else len(order)
        pairs = order[first[start] : end]
        documents, squared_norms = exact_vectors(corpus[rows], similarity, queries.device)
        of_query = torch.from_numpy(query[pairs].astype(np.int64)).to(queries.device)
        of_document = torch.from_numpy(np.searchsorted(rows, row[pairs])).to(queries.device)
        found = _block_scores(queries, documents, squared_norms, of_query, of_document, size)
        scores[pairs] = found.cpu().numpy()
    return scores


def _block_scores(
    queries: Tensor, documents: Tensor, squared_norms: Tensor | None, query: Tensor, document: Tensor, size: int
) -> Tensor:
    """Float32 scores of pairs, (P,): by one float64 product where they are many, and where it leaves no doubt."""
    if len(query) < _MANY * len(queries) * len(documents):
        return _one_by_one(queries, documents, squared_norms, query, document, size)
    products = (queries @ documents.T)[query, document]
    magnitude = queries.norm(dim=1)[query] * documents.norm(dim=1)[document]
    if squared_norms is not None:
        products = products.mul_(2).sub_(squared_norms[document])
        magnitude = 2 * magnitude + squared_norms[document]
    # As in `error_bound`: both this sum and the one in the fixed order lie so close to the true one.
    doubt = (queries.shape[1] + 16) * torch.finfo(torch.float64).eps * magnitude
    found = (products + 0.0).float()
    unsure = ((products - doubt).float() != (products + doubt).float()).nonzero()[:, 0]
    if len(unsure):
        found[unsure] = _one_by_one(queries, documents, squared_norms, query[unsure], document[unsure], size)
    return found


def _one_by_one(
    queries: Tensor, documents: Tensor, squared_norms: Tensor | None, query: Tensor, document: Tensor, size: int
) -> Tensor:
    """Float32 scores of pairs, (P,): products of float32 numbers are exact in float64, and are summed in one fixed order."""
    parts = []
    for of_query, of_document in zip(query.split(size), document.split(size), strict=True):
        products = documents.index_select(0, of_document)
        found = _sum_rows(products.mul_(queries.index_select(0, of_query)))
        if squared_norms is not None:
            found = found.mul_(2).sub_(squared_norms[of_document])
        # Adding 0 turns −0 into +0: the two must tie.
        parts.append(found.float() + 0.0)
    return torch.cat(parts)


def _sum_rows(values: Tensor) -> Tensor:
    """Row sums, (P,), of `values` (P, D), which are overwritten.

    The right half of the columns is added to the left until one column is left. Elementwise additions are the same
    everywhere; the order of `sum` may follow the shape and the number of threads.
    """
    width = values.shape[1]
    while width > 1:
        half = (width + 1) // 2
        values[:, : width - half] += values[:, half:width]
        width = half
    return values[:, 0].clone()
