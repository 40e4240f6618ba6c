"""An adapted model's folder: the map x → A(x − m) becomes part of the model, which stays a plain SentenceTransformer."""

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from ragcun.adapt.directions import ends_linear, sees_directions
from ragcun.adapt.rule import Adaptation
from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder
from ragcun.encode.base import load_base, settings_of
from ragcun.encode.layout import LAYOUT_FILE
from ragcun.model.card import write_model_card
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import Head

ADAPTED = "A text embedder for retrieval, adapted to a corpus with ragcun, without a label: its last layer centres and whitens."


def load_model(path: str) -> SentenceTransformer:
    """Load a model of ours with its projection, or any SentenceTransformer. Raises RagcunError where there is none."""
    folder, *below = Path(path).parts
    if below and Path(folder).is_dir() and not Path(path).exists():
        # A name of the hub has the same form, and looking there takes a minute where there is no network.
        raise RagcunError(f"{path} does not exist: {folder} is a folder here, so correct the path")
    if Path(path, LAYOUT_FILE).is_file():
        return IsotropicGaussianEncoder(path).eval()
    return load_base(path).eval()


def base_and_head(model: SentenceTransformer) -> tuple[SentenceTransformer, Head | None]:
    """The base of a model of ours, whose vectors the row cache may have, and its projection; another model, and None."""
    if isinstance(model, IsotropicGaussianEncoder):
        return SentenceTransformer(modules=list(model.base), **settings_of(model)), model.head()
    return model, None


def fold(model: SentenceTransformer, adaptation: Adaptation) -> None:
    """Make `model` give `adaptation.apply` of its embeddings, or of their directions where it `sees_directions`.

    A last layer that is linear becomes A(Wx + b − m). Any other model gets a linear layer, behind a Normalize where it
    sees directions and has none there.
    """
    matrix, mean = torch.from_numpy(adaptation.matrix), torch.from_numpy(adaptation.mean)
    if ends_linear(model):
        last = list(model)[-1]
        assert isinstance(last, Dense)
        weight, bias = last.linear.weight.detach().double(), last.linear.bias
        shift = -mean if bias is None else bias.detach().double() - mean
        _set(last, matrix @ weight, matrix @ shift)
        return
    if sees_directions(model) and not isinstance(list(model)[-1], Normalize):
        model.append(Normalize())
    dim = len(mean)
    model.append(Dense(dim, dim, activation_function=nn.Identity()).to(model.device))
    _set(list(model)[-1], matrix, -(matrix @ mean))


def save_adapted(model: SentenceTransformer, folder: Path, settings: dict[str, Any]) -> None:
    """Write the model, and a card that holds `settings`; whole or not at all."""
    with atomic_folder(folder) as partial:
        if isinstance(model, IsotropicGaussianEncoder):
            model.save_finished(partial)
        else:
            model.save(str(partial), create_model_card=False)
        write_model_card(partial, model, name=folder.name, about=ADAPTED, settings=settings)


def _set(module: nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> None:
    assert isinstance(module, Dense)
    linear = nn.Linear(weight.shape[1], weight.shape[0], device=module.linear.weight.device)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    module.linear, module.bias = linear, True
