"""A map that is folded into a model: exact, and a plain SentenceTransformer folder as before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from torch import nn

from ragcun.adapt.directions import sees_directions
from ragcun.adapt.folder import fold, load_model, save_adapted
from ragcun.adapt.rule import Adaptation, unit
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.params import ProjectionKind, Similarity
from tests.tiny import HIDDEN, WORDS

TEXTS = [" ".join(WORDS[at : at + 3]) for at in range(20)]


def adaptation(dim: int) -> Adaptation:
    """A map that a corpus might ask for: symmetric, with a mean away from zero."""
    random = np.random.default_rng(0)
    factor = random.normal(size=(dim, dim)) / np.sqrt(dim)
    return Adaptation(np.eye(dim) + factor @ factor.T, random.normal(size=dim), 0.1, 0.1, 0.2, left_alone=False)


def vectors(path: Path) -> np.ndarray:
    """As a user gets them, from sentence-transformers alone."""
    return np.asarray(SentenceTransformer(str(path), device="cpu").encode_document(TEXTS), dtype=np.float64)


def assert_folded(model: Path, folder: Path) -> list[str]:
    """Adapt the model in a folder; its vectors are the map of those before, to 1e-6 of their size. Returns its modules."""
    loaded = load_model(str(model))
    before = vectors(model)
    map_ = adaptation(before.shape[1])
    expected = (unit(before) if sees_directions(loaded) else before) @ map_.matrix - map_.matrix @ map_.mean
    fold(loaded, map_)
    save_adapted(loaded, folder, {"gamma": 0.1})
    after = vectors(folder)
    assert np.abs(after - expected).max() < 1e-6 * np.linalg.norm(expected, axis=1).max()
    return [type(module).__name__ for module in SentenceTransformer(str(folder), device="cpu")]


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("output_dim", [8, HIDDEN, HIDDEN + 8])
@pytest.mark.parametrize("projection", ["two_layer", "linear"])
def test_a_projection_takes_the_map_into_its_last_layer(
    tiny_base: Path, tmp_path: Path, output_dim: int, similarity: Similarity, projection: ProjectionKind
) -> None:
    """The one layer of a linear projection gets a bias for it."""
    encoder = IsotropicGaussianEncoder(
        base_model=str(tiny_base), output_dim=output_dim, similarity=similarity, projection=projection, device="cpu"
    )
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    modules = assert_folded(tmp_path / "model", tmp_path / "adapted")
    assert modules == [type(module).__name__ for module in encoder], "no module is added"
    again = IsotropicGaussianEncoder(str(tmp_path / "adapted"), device="cpu")
    assert again.get_embedding_dimension() == output_dim


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("normalized", [True, False])
def test_another_model_gets_one_linear_layer_behind_what_its_similarity_sees(
    tiny_base: Path, tmp_path: Path, similarity: Similarity, normalized: bool
) -> None:
    plain = SentenceTransformer(str(tiny_base), device="cpu")
    kept = [module for module in plain if not isinstance(module, Normalize)]
    model = SentenceTransformer(
        modules=[*kept, *([Normalize()] if normalized else [])], similarity_fn_name=similarity, device="cpu"
    )
    model.save(str(tmp_path / "model"), create_model_card=False)
    modules = assert_folded(tmp_path / "model", tmp_path / "adapted")
    added = ["Dense"] if normalized or similarity != "cosine" else ["Normalize", "Dense"]
    assert modules == [*(type(module).__name__ for module in model), *added]


@pytest.mark.parametrize("last", ["tanh", "no bias", "residual"])
def test_a_last_layer_of_another_kind_keeps_what_it_does(tiny_base: Path, tmp_path: Path, last: str) -> None:
    torch.manual_seed(0)
    activation = nn.Tanh() if last == "tanh" else nn.Identity()
    dense = Dense(HIDDEN, HIDDEN, last != "no bias", activation, use_residual=last == "residual")
    plain = SentenceTransformer(str(tiny_base), device="cpu")
    model = SentenceTransformer(modules=[*plain, dense], similarity_fn_name="dot", device="cpu")
    model.save(str(tmp_path / "model"), create_model_card=False)
    modules = assert_folded(tmp_path / "model", tmp_path / "adapted")
    assert modules.count("Dense") == (1 if last == "no bias" else 2)


def test_the_card_says_what_was_done(tiny_base: Path, tmp_path: Path) -> None:
    model = load_model(str(tiny_base))
    fold(model, adaptation(HIDDEN))
    save_adapted(model, tmp_path / "adapted", {"gamma": 0.125})
    card = (tmp_path / "adapted/README.md").read_text()
    assert "adapted to a corpus" in card
    assert '"gamma": 0.125' in card
    assert f"{HIDDEN} dimensions" in card
