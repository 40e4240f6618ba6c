"""The projection: two layers, or a linear one, that start as a linear map of our choice.

GELU(x) − GELU(−x) = x exactly. So `Linear(d, 2D) → GELU → Linear(2D, D)` with first weights [R; −R], first bias
[−Rμ; Rμ] and second weights [I, −I] *is* the map R(x − μ), and training begins at the base's quality.

A linear projection is `Linear(d, D)` without bias. It starts as R: without a bias nothing can be subtracted. For the same
reason an embedding's direction does not depend on the length of the base's vector, so under cosine it makes no difference
whether that is normalised.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Dropout
from torch import Tensor, nn

from ragcun.model.saved import project_rows
from ragcun.params import ProjectionKind


class Head(SentenceTransformer):
    """The projection on its own, over the base's vectors: this is what trains if the base is frozen.

    >>> Head(modules=build_projection(4, 2, dropout=0), device="cpu").project(np.array([[5, 6, 7, 8]]))
    array([[5., 6.]], dtype=float32)
    """

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings, (N, D) float32, of base vectors (N, d), perhaps memory-mapped; in evaluation mode."""
        training = self.training
        self.eval()
        dim = self.get_embedding_dimension() or 0
        out = project_rows(lambda x: self({"sentence_embedding": x})["sentence_embedding"], rows, dim, self.device)
        self.train(training)
        return out


def build_projection(
    base_dim: int, output_dim: int, dropout: float, kind: ProjectionKind = "two_layer"
) -> list[nn.Module]:
    """The modules of a projection from `base_dim` to `output_dim`, which needs no data to start from.

    It is the identity if the dimensions are equal, keeps the first axes if D is below d, and is an isometry if D is
    above d. A linear one has no dropout.

    >>> build_projection(4, 2, dropout=0.1)[0].get_config_dict()["out_features"]
    4
    >>> len(build_projection(4, 2, dropout=0, kind="linear"))
    1
    """
    # Dense applies Tanh unless told otherwise.
    if kind == "linear":
        modules: list[nn.Module] = [Dense(base_dim, output_dim, bias=False, activation_function=nn.Identity())]
    else:
        modules = [
            Dense(base_dim, 2 * output_dim, activation_function=nn.GELU()),
            *([Dropout(dropout)] if dropout else []),
            Dense(2 * output_dim, output_dim, activation_function=nn.Identity()),
        ]
    set_linear_map(modules, torch.eye(base_dim, dtype=torch.float64), torch.zeros(base_dim, dtype=torch.float64))
    return modules


def set_linear_map(projection: Sequence[nn.Module], matrix: Tensor, mean: Tensor) -> None:
    """Make the projection the map x → `matrix`·(x − `mean`), up to rounding; a linear one x → `matrix`·x.

    Args:
        projection: the modules of `build_projection`, from d to D.
        matrix: (r, d) with r ≤ d. Its first D rows are used; if r < D, an isometry spreads them over D dimensions.
        mean: (d,). A linear projection cannot subtract it and leaves it out.

    >>> projection = build_projection(2, 1, dropout=0)
    >>> set_linear_map(projection, torch.tensor([[3.0, 0.0]]), mean=torch.tensor([1.0, 0.0]))
    >>> Head(modules=projection, device="cpu").project(np.array([[2, 7]]))
    array([[3.]], dtype=float32)
    """
    first, second = projection[0].linear, projection[-1].linear
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    output_dim = second.out_features
    matrix = matrix[:output_dim]
    if output_dim > len(matrix):
        matrix = _isometry(output_dim, len(matrix)) @ matrix
    if kind_of(projection) == "linear":
        with torch.no_grad():
            first.weight.copy_(matrix)
        return
    shift = matrix @ mean
    identity = torch.eye(output_dim)
    with torch.no_grad():
        first.weight.copy_(torch.cat([matrix, -matrix]))
        first.bias.copy_(torch.cat([-shift, shift]))
        second.weight.copy_(torch.cat([identity, -identity], dim=1))
        second.bias.zero_()


def set_random_map(projection: Sequence[nn.Module]) -> None:
    """PyTorch's default initialisation, from its global generator: an ablation, which starts below the base's quality.

    >>> projection = build_projection(2, 2, dropout=0)
    >>> set_random_map(projection)
    >>> np.allclose(Head(modules=projection, device="cpu").project(np.eye(2)), np.eye(2))
    False
    """
    for module in projection:
        if isinstance(module, Dense):
            module.linear.reset_parameters()


def kind_of(projection: Sequence[nn.Module]) -> ProjectionKind:
    """Which kind of projection these modules are.

    >>> kind_of(build_projection(4, 2, dropout=0, kind="linear"))
    'linear'
    """
    return "linear" if len(projection) == 1 else "two_layer"


def _isometry(rows: int, columns: int) -> Tensor:
    """(rows, columns) with orthonormal columns, the same every time."""
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian).Q
