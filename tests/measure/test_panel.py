"""The measures of a space have their known answers: the sphere's, the Gaussian's, and those of plain definitions."""

from typing import Any

import numpy as np
import pytest
import torch
from IsoScore.IsoScore import IsoScore

from ragcun.core.errors import RagcunError
from ragcun.measure.directions import alignment, centre_gap, partition_isotropy, uniformity
from ragcun.measure.isotropy import isotropy
from ragcun.measure.kurtosis import mardia_kurtosis
from ragcun.measure.rows import sampled
from ragcun.measure.sigreg import null_floor, sigreg_excess
from tests.invariants import Invariant
from tests.processes import run_in_processes


def gaussian(seed: int, rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width))


@pytest.mark.outputs
@pytest.mark.parametrize("spread", [1.0, 3.0, 1000.0])
def test_isoscore_is_that_of_its_authors_package(spread: float, invariant: Invariant) -> None:
    for seed, width in enumerate((2, 16, 128)):
        vectors = gaussian(seed, 400, width) * np.geomspace(1, spread, width) + 0.5
        theirs = float(IsoScore(torch.from_numpy(vectors)))
        assert 0 < theirs < 1
        invariant("IsoScore against the package IsoScore", abs(isotropy(vectors)["isoscore"] - theirs), 1e-6)


def test_uniformity_is_the_mean_over_all_distinct_pairs() -> None:
    vectors = gaussian(0, 40, 5) + 0.5
    vectors[3] = 0
    norms = np.linalg.norm(vectors, axis=1)
    directions = vectors / np.where(norms > 0, norms, 1)[:, None]
    kernels = [np.exp(-2 * ((x - y) ** 2).sum()) for i, x in enumerate(directions) for y in directions[:i]]
    for chunk in (1, 7, 512):
        assert uniformity(vectors, chunk=chunk) == pytest.approx(np.log(np.mean(kernels)), abs=1e-12)


def test_uniform_directions_have_the_uniformity_that_the_docstring_says() -> None:
    assert uniformity(gaussian(1, 2000, 64)) == pytest.approx(-4 + 8 / 64, abs=0.01)
    assert uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-12)
    assert uniformity(np.array([[1.0, 0], [-2, 0]])) == pytest.approx(-8)


def test_alignment_and_gap_are_of_directions() -> None:
    queries, documents = gaussian(2, 30, 6) + 1, gaussian(3, 30, 6) - 1
    directions = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, documents)]
    expected = ((directions[0] - directions[1]) ** 2).sum(axis=1).mean()
    assert alignment(queries, 5 * documents) == pytest.approx(expected)
    assert alignment(queries, 3 * queries) == pytest.approx(0, abs=1e-12)
    gap = np.linalg.norm(directions[0].mean(axis=0) - directions[1].mean(axis=0))
    assert centre_gap(queries, 5 * documents) == pytest.approx(gap)
    assert gap > 0.5, "vacuous"


def test_partition_isotropy_is_the_least_over_the_largest_sum() -> None:
    vectors = gaussian(4, 50, 4) * [3, 1, 1, 1] + [1, 0, 0, 0]
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    axes = np.linalg.svd(directions, full_matrices=False)[2]
    sums = [np.exp(directions @ (sign * axis)).sum() for axis in axes for sign in (1, -1)]
    assert partition_isotropy(vectors) == pytest.approx(min(sums) / max(sums))
    assert partition_isotropy(vectors) < 0.7 < partition_isotropy(gaussian(5, 5000, 4))


def test_mardias_kurtosis_is_1_for_a_gaussian_more_with_tails_and_less_on_a_sphere() -> None:
    normal = gaussian(6, 4000, 12)
    stretched = normal @ gaussian(7, 12, 12) + 5
    assert mardia_kurtosis(normal) == pytest.approx(1, abs=0.02)
    assert mardia_kurtosis(stretched) == pytest.approx(mardia_kurtosis(normal), abs=1e-9)
    # On a sphere every distance is √d: d² over d(d + 2).
    sphere = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    assert mardia_kurtosis(sphere) == pytest.approx(12 / 14, abs=0.01)
    tails = np.random.default_rng(8).standard_t(6, size=(4000, 1)) * normal
    assert mardia_kurtosis(tails) > 2


def test_mardias_kurtosis_by_its_definition() -> None:
    vectors = gaussian(9, 60, 3) ** 3
    centred = vectors - vectors.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred / 60)
    kurtosis = np.mean(np.einsum("ij,jk,ik->i", centred, inverse, centred) ** 2)
    assert mardia_kurtosis(vectors) == pytest.approx(kurtosis / (3 * 5 * 59 / 61), rel=1e-9)


def test_dimensions_that_are_not_used_do_not_count() -> None:
    vectors = gaussian(10, 400, 5)
    wider = np.hstack([vectors, vectors[:, :2] + vectors[:, 2:4]])
    assert mardia_kurtosis(wider) == pytest.approx(mardia_kurtosis(vectors), rel=1e-6)


@pytest.mark.parametrize(("vectors", "words"), [(np.ones((9, 5)), "twice"), (np.ones((20, 5)), "all the same")])
def test_mardias_kurtosis_needs_vectors_that_differ(vectors: np.ndarray, words: str) -> None:
    with pytest.raises(RagcunError, match=words):
        mardia_kurtosis(vectors)


def test_sigregs_excess_is_0_for_a_gaussian_whatever_its_scale_and_grows_with_what_it_is_not() -> None:
    normal = gaussian(11, 3000, 16)
    assert abs(sigreg_excess(normal)) < null_floor(3000)
    assert sigreg_excess(1e-3 * normal) == pytest.approx(sigreg_excess(normal), abs=1e-6)
    moved, uneven = normal + 0.5, normal * np.geomspace(0.1, 3, 16)
    tails = np.random.default_rng(12).standard_t(1.5, size=(3000, 1)) * normal
    for other in (moved, uneven, tails):
        assert sigreg_excess(other) > 10 * null_floor(3000)
    with pytest.raises(RagcunError, match="zero"):
        sigreg_excess(np.zeros((5, 3)))


def test_the_sample_is_the_same_for_every_model() -> None:
    numbers = np.repeat(np.arange(100.0)[:, None], 2, axis=1)
    assert (sampled(numbers, 10)[:, 0] == sampled(numbers[:, :1], 10)[:, 0]).all()
    assert (sampled(numbers, 200) == numbers).all()


def shared_excess() -> dict[str, Any]:
    return {"excess": sigreg_excess(gaussian(13, 101, 8) + 0.2)}


@pytest.mark.engine
def test_ranks_that_share_the_vectors_measure_what_one_does() -> None:
    alone = shared_excess()
    for rank in run_in_processes(shared_excess, 2):
        assert rank == pytest.approx(alone, abs=1e-7)
