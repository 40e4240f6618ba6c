"""The encoder: any SentenceTransformer, then a trainable projection.

A saved model is a plain SentenceTransformer folder in fp32, which loads without this package and without remote code.
"""

from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ragcun.core.errors import RagcunError
from ragcun.encode.base import in_fp32, load_base, settings_of
from ragcun.encode.encoder import describe
from ragcun.encode.layout import saved_base_length, write_layout
from ragcun.model.projection import Head, build_projection
from ragcun.params import NormalizeBase, ProjectionKind


class IsotropicGaussianEncoder(SentenceTransformer):
    """A base encoder with a trainable projection.

    Args:
        model_name_or_path: a folder saved by this class. Its projection is loaded; `output_dim`, `base_model` and
            the three after `freeze_layers` do not apply.
        output_dim: D, the dimension of the embeddings; None keeps the base's dimension d.
        base_model: a SentenceTransformer folder or name.
        freeze_base: keep the base fixed and in evaluation mode, even after `.train()`.
        freeze_layers: of a base that trains, the number of lowest layers that stay fixed, with the embeddings below them.
        dropout: between the projection's two layers.
        normalize_base: whether to keep or drop a Normalize that the base ends in.
        projection: two_layer, or linear: one layer without bias.
        similarity: stored in the model's config; None keeps that of the loaded model.

    Raises:
        RagcunError: `model_name_or_path` was not saved by this class, or `base_model` is no SentenceTransformer that
            gives one vector for each text.

    >>> IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=8, device="cpu").encode("river").shape
    (8,)
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
        normalize_base: NormalizeBase = "keep",
        projection: ProjectionKind = "two_layer",
        similarity: Literal["cosine", "euclidean", "dot"] | None = None,
        **kwargs: Any,
    ) -> None:
        if model_name_or_path is not None:
            super().__init__(model_name_or_path, similarity_fn_name=similarity, **in_fp32(kwargs))
            self.float()
            self.base_length = saved_base_length(Path(model_name_or_path), len(self))
        else:
            base = load_base(base_model, normalize=normalize_base, **kwargs)
            base_dim = base.get_embedding_dimension()
            assert base_dim is not None
            layers = build_projection(base_dim, output_dim or base_dim, dropout, projection)
            settings = settings_of(base)
            settings["similarity_fn_name"] = similarity or settings["similarity_fn_name"]
            super().__init__(modules=[*base, *layers], **settings)
            self.base_length = len(base)
        # Whether training drops a forward pass's activations, which the backward pass then computes again.
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
        """The projection's modules: Dense, perhaps Dropout, Dense; or one Dense."""
        return list(self)[self.base_length :]

    def head(self) -> Head:
        """The projection on its own; its modules are this encoder's."""
        return Head(modules=self.projection, similarity_fn_name=self.similarity_fn_name, device=str(self.device))

    def train(self, mode: bool = True) -> "IsotropicGaussianEncoder":
        super().train(mode)
        for module in getattr(self, "_frozen", []):
            module.eval()
        return self

    def forward(self, input: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return super().forward(input, **kwargs)

        def embedding() -> Tensor:
            # Of a copy: the modules write what they compute into the dict that they are given.
            return super(IsotropicGaussianEncoder, self).forward(dict(input), **kwargs)["sentence_embedding"]

        return {"sentence_embedding": checkpoint(embedding, use_reentrant=False)}

    def _lowest_layers(self, count: int) -> list[nn.Module]:
        """The transformer's first `count` layers, and the embeddings below them."""
        if count == 0:
            return []
        below, layers = transformer_layers(self)
        if count > len(layers):
            raise RagcunError(f"freeze_layers is {count}, but the base has {len(layers)} layers: lower it")
        return [*below, *layers[:count]]

    def get_trainable_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that train, as `base` and `projection`."""
        groups = {"base": list(self.base), "projection": self.projection}
        return {
            name: [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
            for name, modules in groups.items()
        }

    def save(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().save(path, *args, **kwargs)
        write_layout(Path(path), self.base_length)

    def save_finished(self, path: Path) -> None:
        """Save a model that will not change, without a card, such that its base is known without loading it."""
        self.save(str(path), create_model_card=False)
        write_layout(path, self.base_length, describe(self, list(self.base), "float32"))


def transformer_layers(model: SentenceTransformer) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules below the layers of a model's transformer (its embeddings), and the layers, lowest first.

    Raises:
        RagcunError: the model has no transformer, or several.

    >>> below, layers = transformer_layers(tiny_bert)
    >>> [type(module).__name__ for module in below], len(layers)
    (['BertEmbeddings'], 2)
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
    below = takewhile(lambda child: not f"{path}.".startswith(f"{child[0]}."), transformer.named_children())
    return [module for _, module in below], list(layers)
