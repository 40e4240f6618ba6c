"""The projection starts as the linear map it is told, and whitening gives that map its known geometry (C3)."""

import numpy as np
import pytest
import torch
from torch import nn

from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import mean_and_covariance
from ragcun.measure.isotropy import isotropy
from ragcun.model.projection import Head, build_projection, kind_of, set_linear_map
from ragcun.model.whitening import whitening_map


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
def test_a_linear_projection_is_the_map_without_its_mean(output_dim: int) -> None:
    vectors = cloud()
    matrix, mean = whitening_map(vectors, 0.5, output_dim)
    assert mean.any()
    projection = build_projection(12, output_dim, 0.0, "linear")
    assert [name for part in projection for name, _ in part.named_parameters()] == ["linear.weight"], "no bias"
    assert kind_of(projection) == "linear"
    set_linear_map(projection, matrix, mean)
    mapped, expected = (
        torch.from_numpy(projected(projection, vectors)).double(),
        torch.from_numpy(vectors) @ matrix.T.float(),
    )
    assert torch.allclose(mapped @ mapped.T, (expected @ expected.T).double(), atol=1e-3)
    if output_dim <= 12:
        assert torch.allclose(mapped, expected.double(), atol=1e-5)
    assert mapped.var(dim=0, correction=0).mean().item() == pytest.approx(1, rel=1e-4)


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
    covariance = torch.from_numpy(mean_and_covariance(vectors)[1])
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
