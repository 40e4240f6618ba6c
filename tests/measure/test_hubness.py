"""Hubs and anti-hubs have their known answers, and follow the sample and the similarity."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcun.core.errors import RagcunError
from ragcun.measure.hubness import hubness


def gaussian(seed: int, rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width))


def skewness(vectors: np.ndarray, **how: Any) -> float:
    return hubness(vectors, **how)["hubness"]


def plain_hubness(vectors: np.ndarray, k: int, similarity: str) -> dict[str, float]:
    counts = np.zeros(len(vectors))
    for i, x in enumerate(vectors):
        if similarity == "euclidean":
            nearness = -np.linalg.norm(vectors - x, axis=1)
        else:
            nearness = vectors @ x
            if similarity == "cosine":
                nearness = nearness / np.linalg.norm(vectors, axis=1)
        others = [j for j in np.argsort(-nearness) if j != i]
        counts[others[:k]] += 1
    centred = counts - counts.mean()
    return {
        "hubness": float((centred**3).mean() / (centred**2).mean() ** 1.5),
        "antihubs": float((counts == 0).mean()),
    }


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_hubness_and_antihubs_are_of_the_neighbour_counts(similarity: str) -> None:
    # More rows than one block of queries.
    vectors = gaussian(7, 700, 30) + 0.5
    expected = plain_hubness(vectors, 10, similarity)
    assert expected["antihubs"] > 0, "vacuous"
    assert hubness(vectors, similarity=similarity) == pytest.approx(expected, abs=1e-9)  # type: ignore[arg-type]


def test_hubness_grows_with_the_dimension() -> None:
    # Radovanović et al., figure 1: near 0 in three dimensions, above 1 in a hundred.
    low, high = (skewness(gaussian(8, 2000, width), similarity="euclidean") for width in (3, 100))
    assert abs(low) < 0.5
    assert high > 2


def test_a_point_next_to_all_others_is_a_hub() -> None:
    # Orthogonal directions have no neighbours of their own: all name the one vector between them.
    star = np.vstack([np.eye(30), np.full((1, 30), 0.1)])
    assert skewness(star, k=1) > 4


def test_the_sample_follows_the_seed_and_a_large_one_takes_every_row(tmp_path: Path) -> None:
    vectors = gaussian(9, 400, 8)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert skewness(mapped, sample=100, seed=1) == skewness(vectors, sample=100, seed=1)
    assert skewness(vectors, sample=100, seed=1) != skewness(vectors, sample=100, seed=2)
    assert skewness(vectors, sample=400, seed=1) == skewness(vectors, sample=5000, seed=2)


def test_hubness_of_equal_counts_is_0() -> None:
    # Eleven vectors and ten neighbours: everyone neighbours everyone.
    assert skewness(gaussian(10, 11, 4)) == 0


def test_hubness_of_constant_or_zero_vectors_is_a_number() -> None:
    for value in (0.0, 1.0):
        assert np.isfinite(skewness(np.full((40, 4), value)))


def test_hubness_needs_more_vectors_than_neighbours() -> None:
    with pytest.raises(RagcunError, match="more vectors than k"):
        skewness(gaussian(11, 10, 4))
    with pytest.raises(RagcunError, match="manhattan"):
        skewness(gaussian(11, 40, 4), similarity="manhattan")  # type: ignore[arg-type]


def test_values_that_are_not_finite_are_an_error() -> None:
    vectors = gaussian(6, 40, 5)
    vectors[33, 2] = np.nan
    with pytest.raises(RagcunError, match="NaN or infinity"):
        hubness(vectors)


def test_the_leaves_of_a_star_are_antihubs() -> None:
    star = np.vstack([np.eye(30), np.full((1, 30), 0.1)])
    # The hub names one leaf, which is all that is left.
    assert hubness(star, k=1)["antihubs"] == pytest.approx(29 / 31)
