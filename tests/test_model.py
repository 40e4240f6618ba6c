"""The encoder: starts at the base's quality (C3), freezes what it says, saves a plain SentenceTransformer (C4)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from ragcun.core.errors import RagcunError
from ragcun.measure.isotropy import isotropy
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import Head, build_projection, set_linear_map, set_random_map
from ragcun.model.whitening import mean_and_covariance, whitening_map
from tests.tiny import HIDDEN, save_tiny_router, tiny_transformer

TEXTS = ["alpha beta", "gamma delta epsilon", "beta", "zeta eta theta alpha"]


def cloud(rows: int = 400, dim: int = 12, seed: int = 0) -> np.ndarray:
    """Correlated, shifted vectors (rows, dim)."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(dim, dim))).Q
    mixing = np.geomspace(3, 0.1, dim)[:, None] * axes
    return (random.normal(size=(rows, dim)) @ mixing + random.normal(size=dim)).astype(np.float32)


def projected(projection: list[nn.Module], vectors: np.ndarray) -> np.ndarray:
    return Head(modules=projection, device="cpu").project(vectors)


@pytest.mark.parametrize("output_dim", [5, 12, 20])
@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 1.0])
def test_the_untrained_projection_is_the_linear_map(output_dim: int, gamma: float) -> None:
    vectors = cloud()
    matrix, mean = whitening_map(vectors, gamma, output_dim)
    projection = build_projection(12, output_dim, 0.0)
    set_linear_map(projection, matrix, mean)
    mapped = projected(projection, vectors)
    expected = (torch.from_numpy(vectors).double() - mean) @ matrix.T
    assert mapped.shape == (400, output_dim)
    # More dimensions than the map has: an isometry of it.
    distances = torch.cdist(expected, expected)
    assert np.allclose(torch.cdist(*[torch.from_numpy(mapped).double()] * 2), distances, atol=1e-4)
    if output_dim <= 12:
        assert np.allclose(mapped, expected, atol=1e-5)


@pytest.mark.parametrize("output_dim", [5, 12, 20])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_the_mean_variance_of_a_dimension_is_one(output_dim: int, gamma: float) -> None:
    vectors = cloud()
    projection = build_projection(12, output_dim, 0.0)
    set_linear_map(projection, *whitening_map(vectors, gamma, output_dim))
    assert projected(projection, vectors).var(axis=0).mean() == pytest.approx(1, rel=1e-4)


def test_gamma_goes_from_the_bases_geometry_to_white() -> None:
    vectors = cloud()
    scores = []
    for gamma in (0.0, 0.5, 1.0):
        projection = build_projection(12, 12, 0.0)
        set_linear_map(projection, *whitening_map(vectors, gamma, 12))
        scores.append(isotropy(projected(projection, vectors))["isoscore"])
    assert scores[0] == pytest.approx(isotropy(vectors)["isoscore"], abs=1e-4)
    assert scores[0] < scores[1] < scores[2]
    assert scores[2] == pytest.approx(1, abs=1e-3)


def test_gamma_zero_keeps_cosines_exactly_and_is_not_centred() -> None:
    vectors = cloud()
    matrix, mean = whitening_map(vectors, 0.0, 12)
    assert not mean.any()
    projection = build_projection(12, 12, 0.0)
    set_linear_map(projection, matrix, mean)
    before, after = (
        nn.functional.normalize(torch.from_numpy(rows)) for rows in (vectors, projected(projection, vectors))
    )
    assert torch.allclose(before @ before.T, after @ after.T, atol=1e-5)


def test_fewer_dimensions_keep_the_axes_of_the_largest_variance() -> None:
    vectors = cloud()
    matrix, _ = whitening_map(vectors, 0.0, 3)
    _, covariance = mean_and_covariance(vectors)
    kept = torch.trace(matrix @ covariance @ matrix.T) / matrix.square().sum() * 3
    assert kept.item() == pytest.approx(torch.linalg.eigvalsh(covariance)[-3:].sum().item(), rel=1e-6)


def test_statistics_by_chunks_are_those_of_numpy() -> None:
    vectors = cloud()
    mean, covariance = mean_and_covariance(vectors, chunk=7)
    assert np.allclose(mean, vectors.mean(axis=0), atol=1e-5)
    assert np.allclose(covariance, np.cov(vectors.T, bias=True), atol=1e-5)


def test_an_empty_direction_does_not_blow_up() -> None:
    vectors = cloud()
    vectors[:, 4] = 0
    matrix, _ = whitening_map(vectors, 1.0, 12)
    assert torch.isfinite(matrix).all()
    assert matrix.abs().max() < 1e4


@pytest.mark.parametrize("vectors", [np.ones((1, 4), np.float32), np.ones((9, 4), np.float32)])
def test_whitening_without_variance_is_an_error(vectors: np.ndarray) -> None:
    with pytest.raises(RagcunError, match=r"at least two|differ"):
        whitening_map(vectors, 0.5, 4)


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


def test_the_defaults_projection_has_one_million_three_hundred_thousand_parameters() -> None:
    count = sum(p.numel() for part in build_projection(768, 512, 0.0) for p in part.parameters())
    assert count == pytest.approx(1.3e6, rel=0.03)


def test_dropout_lies_between_the_layers_and_only_in_training() -> None:
    projection = build_projection(12, 6, 0.5)
    assert [type(part).__name__ for part in projection] == ["Dense", "Dropout", "Dense"]
    head = Head(modules=projection, device="cpu").train()
    features = {"sentence_embedding": torch.from_numpy(cloud())}
    assert not torch.equal(head(dict(features))["sentence_embedding"], head(dict(features))["sentence_embedding"])
    assert np.allclose(head.project(cloud()), head.project(cloud()))
    assert head.training


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
