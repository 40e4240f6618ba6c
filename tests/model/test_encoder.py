"""The encoder: starts at the base's quality (C3), freezes what it says, saves a plain SentenceTransformer (C4)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling

from ragcun.core.errors import RagcunError
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from tests.tiny import HIDDEN, save_tiny_router, tiny_transformer

TEXTS = ["alpha beta", "gamma delta epsilon", "beta", "zeta eta theta alpha"]


def test_step_zero_with_the_bases_dimension_is_the_base(tiny_base: Path) -> None:
    base = SentenceTransformer(str(tiny_base), device="cpu")
    encoder = IsotropicGaussianEncoder(output_dim=None, base_model=str(tiny_base), device="cpu")
    assert encoder.get_embedding_dimension() == base.get_embedding_dimension()
    assert np.allclose(encoder.encode(TEXTS), base.encode(TEXTS), atol=1e-6)


def test_any_output_dimension_encodes(tiny_base: Path) -> None:
    for output_dim in (8, 50):
        encoder = IsotropicGaussianEncoder(output_dim=output_dim, base_model=str(tiny_base), device="cpu")
        assert encoder.encode(TEXTS).shape == (4, output_dim)


def test_a_frozen_base_stays_in_evaluation_mode_and_out_of_training(tiny_base: Path) -> None:
    encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), device="cpu")
    encoder.train()
    assert not any(module.training for part in encoder.base for module in part.modules())
    assert all(part.training for part in encoder.projection)
    groups = encoder.get_trainable_parameters()
    assert groups["base"] == []
    assert {id(p) for p in groups["projection"]} == {id(p) for part in encoder.projection for p in part.parameters()}
    assert {id(p) for p in encoder.parameters() if p.requires_grad} == {id(p) for p in groups["projection"]}


def test_both_towers_of_a_frozen_router_stay_in_evaluation_mode(tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(save_tiny_router(tmp_path / "router")), device="cpu").train()
    towers = [encoder[0].sub_modules[role] for role in ("query", "document")]
    assert not any(module.training for tower in towers for module in tower.modules())
    assert not any(parameter.requires_grad for tower in towers for parameter in tower.parameters())


def test_layers_of_several_towers_are_refused_by_name_and_those_of_a_shared_one_are_found(tmp_path: Path) -> None:
    router = save_tiny_router(tmp_path / "router")
    with pytest.raises(RagcunError, match=r"freeze_layers and layer_decay need .* one transformer, and this one has 2"):
        IsotropicGaussianEncoder(base_model=str(router), freeze_base=False, freeze_layers=1, device="cpu")
    tower = tiny_transformer(seed=0, dropout=0)
    shared = SentenceTransformer(
        modules=[Router.for_query_document([tower, Pooling(HIDDEN, "mean")], [tower, Pooling(HIDDEN, "cls")])],
        device="cpu",
    )
    shared.save(str(tmp_path / "shared"), create_model_card=False)
    encoder = IsotropicGaussianEncoder(
        base_model=str(tmp_path / "shared"), freeze_base=False, freeze_layers=1, device="cpu"
    )
    trained = {name for name, value in encoder.named_parameters() if value.requires_grad}
    assert any("layer.1." in name for name in trained)
    assert not any("layer.0." in name or "embeddings" in name for name in trained)


def test_a_live_base_trains(tiny_base: Path) -> None:
    encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), freeze_base=False, device="cpu")
    encoder.train()
    assert all(part.training for part in encoder.base)
    assert {id(p) for p in encoder.get_trainable_parameters()["base"]} == {id(p) for p in encoder.base.parameters()}


def test_a_saved_model_reads_back_as_it_was(tiny_base: Path, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), similarity="euclidean", device="cpu")
    set_random_map(encoder.projection)
    encoder.save(str(tmp_path / "model"), create_model_card=False)
    again = IsotropicGaussianEncoder(str(tmp_path / "model"), device="cpu")
    assert again.base_length == encoder.base_length
    assert again.similarity_fn_name == "euclidean"
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))


PLAIN = """
import sys
import numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
assert "ragcun" not in sys.modules
np.save(sys.argv[2], model.encode(sys.argv[3:]))
print(type(model).__name__, model.similarity_fn_name)
"""


def test_a_saved_model_is_a_plain_sentence_transformer(tiny_base: Path, tmp_path: Path) -> None:
    """C4: in a fresh process that cannot import ragcun."""
    encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), similarity="dot", device="cpu")
    set_random_map(encoder.projection)
    encoder.save(str(tmp_path / "model"), create_model_card=False)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path / "model"), str(tmp_path / "vectors.npy"), *TEXTS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["SentenceTransformer", "dot"]
    assert np.allclose(np.load(tmp_path / "vectors.npy"), encoder.encode(TEXTS), atol=1e-5)
    assert not list((tmp_path / "model").rglob("*.bin"))


def test_what_is_no_model_is_an_error(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(RagcunError, match=r"no modules\.json"):
        IsotropicGaussianEncoder(base_model=str(tmp_path))
    with pytest.raises(RagcunError, match="give it as base_model"):
        IsotropicGaussianEncoder(str(tiny_base), device="cpu")
