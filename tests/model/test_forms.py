"""Every form of a model, with its base's Normalize or without, of two layers or one: the start, the folder, the servers."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from ragcun.encode.base import load_base
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_linear_map, set_random_map
from ragcun.model.whitening import whitening_map
from ragcun.params import NormalizeBase, ProjectionKind
from tests.tiny import HIDDEN, WORDS

TEXTS = [*WORDS, *(" ".join(WORDS[at : at + 7]) for at in range(12))]
FORMS = [*product(("keep", "drop"), ("two_layer", "linear"))]
MODULES = {
    ("keep", "two_layer"): ["Transformer", "Pooling", "Normalize", "Dense", "Dense"],
    ("drop", "two_layer"): ["Transformer", "Pooling", "Dense", "Dense"],
    ("keep", "linear"): ["Transformer", "Pooling", "Normalize", "Dense"],
    ("drop", "linear"): ["Transformer", "Pooling", "Dense"],
}
OF_EVERY_FORM = pytest.mark.parametrize(("normalize_base", "projection"), FORMS)


def encoder_on(
    base: Path, normalize_base: NormalizeBase, projection: ProjectionKind, output_dim: int | None = None
) -> IsotropicGaussianEncoder:
    return IsotropicGaussianEncoder(
        base_model=str(base),
        output_dim=output_dim,
        normalize_base=normalize_base,
        projection=projection,
        similarity="cosine",
        device="cpu",
    )


def cosines(model: SentenceTransformer) -> torch.Tensor:
    return model.similarity(model.encode(TEXTS), model.encode(TEXTS))


@OF_EVERY_FORM
def test_without_whitening_the_start_ranks_as_the_base(
    tiny_base: Path, normalize_base: NormalizeBase, projection: ProjectionKind
) -> None:
    """C3, of the start that needs no data and of the one from vectors."""
    encoder = encoder_on(tiny_base, normalize_base, projection)
    base = SentenceTransformer(str(tiny_base), device="cpu")
    assert torch.allclose(cosines(encoder), cosines(base), atol=1e-5)
    vectors = load_base(str(tiny_base), normalize=normalize_base, device="cpu").encode(TEXTS)
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == (normalize_base == "keep")
    set_linear_map(encoder.projection, *whitening_map(vectors, 0.0, HIDDEN))
    assert not np.allclose(encoder.encode(TEXTS), vectors, atol=1e-2), "vacuous"
    assert torch.allclose(cosines(encoder), cosines(base), atol=1e-5)


@OF_EVERY_FORM
def test_a_saved_folder_holds_these_modules_and_gives_these_vectors(
    tiny_base: Path, tmp_path: Path, normalize_base: NormalizeBase, projection: ProjectionKind
) -> None:
    encoder = encoder_on(tiny_base, normalize_base, projection, output_dim=8)
    torch.manual_seed(0)
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert [type(module).__name__ for module in plain] == MODULES[normalize_base, projection]
    assert np.allclose(plain.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)
    again = IsotropicGaussianEncoder(str(tmp_path / "model"), device="cpu")
    assert again.base_length == encoder.base_length
    assert len(again.projection) == (1 if projection == "linear" else 2)


@pytest.mark.parametrize("normalize_base", ["keep", "drop"])
@pytest.mark.parametrize("projection", ["two_layer", "linear"])
def test_a_server_that_puts_in_or_leaves_out_normalize_changes_two_layers_alone(
    tiny_base: Path, normalize_base: NormalizeBase, projection: ProjectionKind
) -> None:
    encoder = encoder_on(tiny_base, normalize_base, projection, output_dim=8)
    torch.manual_seed(0)
    set_random_map(encoder.projection)
    base = [module for module in encoder.base if not isinstance(module, Normalize)]
    between = [] if normalize_base == "keep" else [Normalize()]
    other = SentenceTransformer(modules=[*base, *between, *encoder.projection], device="cpu")
    ours, theirs = (torch.nn.functional.normalize(torch.tensor(model.encode(TEXTS))) for model in (encoder, other))
    assert ((ours * theirs).sum(dim=1).min() > 1 - 1e-6) == (projection == "linear")


@OF_EVERY_FORM
def test_every_layer_of_the_projection_gets_a_gradient(
    tiny_base: Path, normalize_base: NormalizeBase, projection: ProjectionKind
) -> None:
    encoder = encoder_on(tiny_base, normalize_base, projection, output_dim=8).train()
    features = encoder.preprocess(TEXTS)
    encoder(features)["sentence_embedding"].square().sum().backward()
    parameters = encoder.get_trainable_parameters()["projection"]
    assert len(parameters) == (1 if projection == "linear" else 4)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in parameters)


def test_a_base_without_normalize_is_the_same_kept_or_dropped(tiny_base: Path, tmp_path: Path) -> None:
    load_base(str(tiny_base), normalize="drop", device="cpu").save(str(tmp_path / "bare"), create_model_card=False)
    keep, drop = (load_base(str(tmp_path / "bare"), normalize=each, device="cpu") for each in ("keep", "drop"))
    assert len(keep) == len(drop) == 2
    assert np.array_equal(keep.encode(TEXTS), drop.encode(TEXTS))
