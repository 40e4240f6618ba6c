"""The encoder: any SentenceTransformer, then a two-layer projection that starts as a linear map of our choice.

GELU(x) − GELU(−x) = x exactly. So `Linear(d, 2D) → GELU → Linear(2D, D)` with first weights [R; −R], first bias
[−Rμ; Rμ] and second weights [I, −I] *is* the map R(x − μ), in stock `Dense` modules, and training begins at the base's
quality. R = s·Λ^(−γ/2)·Vᵀ comes from the mean μ and the covariance VΛVᵀ of the base's embeddings: γ = 0 rotates,
γ = 1 whitens fully, and s gives unit mean variance per dimension, the scale that SIGReg asks for.

A saved model is a plain SentenceTransformer folder in fp32: it loads without this package and without remote code.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Transformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ragcun.core.errors import RagcunError
from ragcun.encode.base import LAYOUT_FILE, in_fp32, load_base, saved_base_length

# Variances below this share of the mean one count as this share, so that whitening does not blow up empty directions.
SMALLEST_VARIANCE = 1e-4
# Base vectors that go through the projection at once.
_ROWS_A_CHUNK = 8192


class IsotropicGaussianEncoder(SentenceTransformer):
    """A base encoder with a trainable projection.

    Args:
        model_name_or_path: a folder saved by this class, loaded with its projection; the other arguments that shape
            the projection are then not used.
        output_dim: D, the dimension of the embeddings; None keeps the base's.
        base_model: a SentenceTransformer folder or name; its dimension d is read from it.
        freeze_base: keep the base fixed, in evaluation mode, whatever `.train()` says.
        freeze_layers: where the base is not frozen, keep its embeddings and its first layers so; 0 freezes none.
        dropout: between the projection's two layers.
        similarity: cosine, euclidean or dot; stored in the model's config. None keeps what the loaded model says.

    Raises:
        RagcunError: `model_name_or_path` was not saved by this class, or `base_model` is no SentenceTransformer that
            gives a vector a text.
    """

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        output_dim: int | None = 512,
        base_model: str = "sentence-transformers/all-mpnet-base-v2",
        freeze_base: bool = True,
        freeze_layers: int = 0,
        dropout: float = 0.0,
        similarity: Literal["cosine", "euclidean", "dot"] | None = None,
        **kwargs: Any,
    ) -> None:
        if model_name_or_path is not None:
            super().__init__(model_name_or_path, similarity_fn_name=similarity, **in_fp32(kwargs))
            self.float()
            self.base_length = saved_base_length(Path(model_name_or_path), len(self))
        else:
            base = load_base(base_model, **kwargs)
            base_dim = base.get_embedding_dimension()
            assert base_dim is not None
            projection = build_projection(base_dim, output_dim or base_dim, dropout)
            super().__init__(
                modules=[*base, *projection],
                prompts={name: prompt for name, prompt in base.prompts.items() if prompt is not None},
                default_prompt_name=base.default_prompt_name,
                similarity_fn_name=similarity or base.similarity_fn_name,
                device=str(base.device),
            )
            self.base_length = len(base)
        # Whether a forward pass in training drops its activations and its backward pass computes them again.
        self.recompute = False
        self._frozen = list(self)[: self.base_length] if freeze_base else self._lowest_layers(freeze_layers)
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)

    @property
    def base(self) -> nn.ModuleList:
        """The base's modules."""
        return nn.ModuleList(list(self)[: self.base_length])

    @property
    def projection(self) -> list[nn.Module]:
        """The projection's modules: Dense, perhaps Dropout, Dense."""
        return list(self)[self.base_length :]

    def train(self, mode: bool = True) -> "IsotropicGaussianEncoder":
        super().train(mode)
        for module in getattr(self, "_frozen", []):
            module.eval()
        return self

    def forward(self, input: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return super().forward(input, **kwargs)

        def embedding() -> Tensor:
            # Of a copy: the modules write what they compute, all of its activations, into the dict they are given.
            return super(IsotropicGaussianEncoder, self).forward(dict(input), **kwargs)["sentence_embedding"]

        return {"sentence_embedding": checkpoint(embedding, use_reentrant=False)}

    def _lowest_layers(self, count: int) -> list[nn.Module]:
        """The transformer's first `count` layers and all that comes before them, its embeddings."""
        if count == 0:
            return []
        below, layers = transformer_layers(self)
        if count > len(layers):
            raise RagcunError(f"freeze_layers is {count}, but the base has {len(layers)} layers: lower it")
        return [*below, *layers[:count]]

    def get_trainable_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that training moves, by group: `base` and `projection`."""
        groups = {"base": list(self.base), "projection": self.projection}
        return {
            name: [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
            for name, modules in groups.items()
        }

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().save(path, *args, **kwargs)
        Path(path, LAYOUT_FILE).write_text(json.dumps({"base_modules": self.base_length}) + "\n", encoding="utf-8")


class Head(SentenceTransformer):
    """The projection on its own, over rows of the store: what trains when the base is frozen."""

    def __init__(self, model_name_or_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(model_name_or_path, **kwargs)

    @classmethod
    def of(cls, encoder: IsotropicGaussianEncoder) -> "Head":
        return cls(
            modules=encoder.projection, similarity_fn_name=encoder.similarity_fn_name, device=str(encoder.device)
        )

    @torch.inference_mode()
    def project(self, rows: np.ndarray) -> np.ndarray:
        """Base vectors (N, d), perhaps memory-mapped, to embeddings (N, D) float32, in evaluation mode."""
        training = self.training
        self.eval()
        out = np.empty((len(rows), self.get_embedding_dimension() or 0), dtype=np.float32)
        for at in range(0, len(rows), _ROWS_A_CHUNK):
            part = torch.from_numpy(np.array(rows[at : at + _ROWS_A_CHUNK], dtype=np.float32)).to(self.device)
            out[at : at + len(part)] = self({"sentence_embedding": part})["sentence_embedding"].float().cpu().numpy()
        self.train(training)
        return out


def transformer_layers(model: SentenceTransformer) -> tuple[list[nn.Module], list[nn.Module]]:
    """Of a model's transformer, the modules before its layers (the embeddings), and the layers, lowest first.

    Raises:
        RagcunError: it has none, or several.
    """
    towers = [module for module in model.modules() if isinstance(module, Transformer)]
    if len(towers) > 1:
        raise RagcunError(
            f"freeze_layers and layer_decay need a base with one transformer, and this one has {len(towers)}, behind a "
            "Router: set them to 0 and 1"
        )
    transformer = model.transformers_model
    wanted = getattr(model.config, "num_hidden_layers", None)
    stacks = [
        (name, module)
        for name, module in (transformer.named_modules() if transformer is not None else [])
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    ]
    if transformer is None or not stacks:
        raise RagcunError(
            "freeze_layers and layer_decay need a base that is a transformer with layers: set them to 0 and 1"
        )
    path, layers = stacks[0]
    below = []
    for name, module in transformer.named_children():
        if path == name or path.startswith(f"{name}."):
            break
        below.append(module)
    return below, list(layers)


def build_projection(base_dim: int, output_dim: int, dropout: float) -> list[nn.Module]:
    """The projection's modules, from `base_dim` to `output_dim`, as the map that keeps what it can of the base.

    It is the identity at equal dimensions, the first axes at fewer, and an isometry at more: a start without any
    data. `set_linear_map` gives it a better one.
    """
    modules: list[nn.Module] = [
        # Dense applies Tanh unless told otherwise.
        Dense(base_dim, 2 * output_dim, activation_function=nn.GELU()),
        Dense(2 * output_dim, output_dim, activation_function=nn.Identity()),
    ]
    if dropout:
        modules.insert(1, Dropout(dropout))
    set_linear_map(modules, torch.eye(base_dim, dtype=torch.float64), torch.zeros(base_dim, dtype=torch.float64))
    return modules


def set_linear_map(projection: Sequence[nn.Module], matrix: Tensor, mean: Tensor) -> None:
    """Make the projection the map x → `matrix`·(x − `mean`), exactly up to rounding.

    Args:
        projection: the modules of `build_projection`, from d to D.
        matrix: (r, d) with r ≤ d. The first D rows are used; where D > r an isometry spreads the r over D.
        mean: (d,).
    """
    first, second = projection[0].linear, projection[-1].linear
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    output_dim = second.out_features
    matrix = matrix[:output_dim]
    if output_dim > len(matrix):
        matrix = _isometry(output_dim, len(matrix)) @ matrix
    shift = matrix @ mean
    identity = torch.eye(output_dim)
    with torch.no_grad():
        first.weight.copy_(torch.cat([matrix, -matrix]))
        first.bias.copy_(torch.cat([-shift, shift]))
        second.weight.copy_(torch.cat([identity, -identity], dim=1))
        second.bias.zero_()


def set_random_map(projection: Sequence[nn.Module]) -> None:
    """PyTorch's own random initialisation, from its global generator: an ablation, for it starts below the base."""
    for module in (projection[0], projection[-1]):
        linear = module.linear
        assert isinstance(linear, nn.Linear)
        linear.reset_parameters()


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


def _isometry(rows: int, columns: int) -> Tensor:
    """(rows, columns) with orthonormal columns, the same every time."""
    generator = torch.Generator().manual_seed(0)
    gaussian = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian).Q
