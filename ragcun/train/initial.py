"""The model that training starts with: a base and its own projection, or a new one made from the base's vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder
from ragcun.data.pairs import read_texts, train_passage_ids
from ragcun.encode.base import cut_texts_at, ends_in_normalize
from ragcun.encode.encoder import describe
from ragcun.encode.layout import LAYOUT_FILE
from ragcun.encode.store import Embeddings, read_embeddings, take
from ragcun.model.card import TRAINED, write_model_card
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import kind_of, set_linear_map, set_random_map
from ragcun.model.whitening import whitening_map
from ragcun.params import Params, ProjectionInit


@dataclass(frozen=True)
class Inputs:
    """The folders that training reads.

    pairs, store: hold a folder a task: its pairs, and the base's vectors of their texts.
    validation: what `download@validation` wrote.
    """

    pairs: Path = Path("data/pairs")
    store: Path = Path("data/embeddings/pairs")
    validation: Path = Path("data/validation")


_DECIDING = {
    *("seed", "normalize_base", "projection", "output_dim", "similarity", "whitening", "projection_init", "dropout"),
    "embed",
}


def deciding(params: Params) -> dict[str, Any]:
    """The top-level params that every model depends on."""
    return params.model_dump(mode="json", include=_DECIDING)


def initial_model(
    params: Params, init: Path, inputs: Inputs, *, freeze_base: bool = True, freeze_layers: int = 0
) -> IsotropicGaussianEncoder:
    """The model that training from the folder `init` starts with.

    If `init` has a projection, training goes on with it; else a new one is made, as `projection_init` says.

    Raises:
        RagcunError: the store is of another base, or the projection in `init` has another dimension than `output_dim`.
    """
    encoder = build_encoder(params, init, freeze_base=freeze_base, freeze_layers=freeze_layers)
    if not (init / LAYOUT_FILE).is_file():
        initialise_projection(encoder, params, training_passages(encoder, params, inputs))
    return encoder


def write_control(params: Params, kind: ProjectionInit, init: Path, inputs: Inputs, model_folder: Path) -> None:
    """Write a model whose projection begins anew, as `kind` says, and is not trained: what training is held against.

    Raises:
        RagcunError: as `initial_model`.
    """
    params = params.model_copy(update={"projection_init": kind})
    encoder = build_encoder(params, init)
    initialise_projection(encoder, params, training_passages(encoder, params, inputs))
    with atomic_folder(model_folder) as partial:
        encoder.save_finished(partial)
        write_model_card(partial, encoder, name=model_folder.name, about=TRAINED, settings={"params": deciding(params)})


def build_encoder(
    params: Params, init: Path, *, freeze_base: bool = True, freeze_layers: int = 0
) -> IsotropicGaussianEncoder:
    """The base in `init` with its projection, or with an uninitialised one.

    Raises:
        RagcunError: its projection is not as the params say.
    """
    torch.manual_seed(params.seed)
    kwargs: dict[str, Any] = {
        "freeze_base": freeze_base,
        "freeze_layers": freeze_layers,
        "similarity": params.similarity,
        "device": str(distributed.device()),
    }
    if (init / LAYOUT_FILE).is_file():
        encoder = IsotropicGaussianEncoder(str(init), **kwargs)
        check_projection(encoder, params, init)
    else:
        encoder = IsotropicGaussianEncoder(
            output_dim=params.output_dim,
            base_model=str(init),
            dropout=params.dropout,
            normalize_base=params.normalize_base,
            projection=params.projection,
            **kwargs,
        )
    cut_texts_at(encoder, params.embed.max_length)
    return encoder


def check_projection(encoder: IsotropicGaussianEncoder, params: Params, init: Path) -> None:
    """Raise RagcunError unless the projection of the encoder in `init` is as the params say."""
    dim, kind = encoder.get_embedding_dimension(), kind_of(encoder.projection)
    if params.output_dim not in (None, dim):
        raise RagcunError(
            f"{init} goes on with a projection to {dim} dimensions, but output_dim is {params.output_dim}: "
            "set it to null, or begin with a base that has no projection"
        )
    if params.projection != kind:
        raise RagcunError(
            f"{init} goes on with a projection that is {kind}, but projection is {params.projection}: "
            f"set it to {kind}, or begin with a base that has no projection"
        )
    if params.normalize_base == "drop" and ends_in_normalize(list(encoder.base)):
        raise RagcunError(
            f"{init} goes on with a projection that was trained behind a Normalize, but normalize_base is drop: "
            "set it to keep, or begin with a base that has no projection"
        )


def initialise_projection(encoder: IsotropicGaussianEncoder, params: Params, passages: np.ndarray) -> None:
    """Start from the base's geometry, whitened by γ over the training passages' vectors; or from random layers."""
    if params.projection_init == "random":
        set_random_map(encoder.projection)
        return
    output_dim = encoder.get_embedding_dimension()
    assert output_dim is not None
    set_linear_map(encoder.projection, *whitening_map(passages, params.whitening, output_dim))


def training_passages(encoder: IsotropicGaussianEncoder, params: Params, inputs: Inputs) -> np.ndarray:
    """The base's vectors (T, d) of the whole passages of the train split."""
    stored = read_embeddings(inputs.store / "finetune")
    check_store(inputs.store / "finetune", stored, encoder, params)
    return take(stored.arrays["texts"], train_passage_ids(read_texts(inputs.pairs / "finetune")))


def check_store(folder: Path, stored: Embeddings, encoder: IsotropicGaussianEncoder, params: Params) -> None:
    """Raise RagcunError unless the vectors in `folder` were made by the encoder's base."""
    if stored.description != describe(encoder, list(encoder.base), params.embed.dtype):
        raise RagcunError(f"{folder} was made with another base than the model's: run `dvc repro embed_pairs`")
