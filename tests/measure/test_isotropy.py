"""The measures of isotropy have their known answers, whatever the chunking, and are never NaN."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragcun.core.errors import RagcunError
from ragcun.measure import hubness as hubs
from ragcun.measure import isotropy as measures
from ragcun.measure.hubness import hubness
from ragcun.measure.isotropy import isotropy
from tests.processes import run_in_processes


def gaussian(seed: int, rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width))


def with_spectrum(singular: list[float], rows: int = 64) -> np.ndarray:
    """Centred vectors whose matrix has exactly these singular values."""
    left = gaussian(0, rows, len(singular))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    right = np.linalg.qr(gaussian(1, len(singular), len(singular)))[0]
    return left * singular @ right.T


def test_an_isotropic_gaussian_has_isoscore_1_full_rank_and_no_mean_cosine() -> None:
    measured = isotropy(gaussian(0, 20_000, 16))
    assert measured["isoscore"] == pytest.approx(1, abs=0.005)
    assert measured["effective_rank"] == pytest.approx(16, abs=0.01)
    assert measured["mean_cosine"] == pytest.approx(0, abs=0.001)


def test_a_line_has_isoscore_0_and_rank_1() -> None:
    measured = isotropy(np.outer(np.linspace(-3, 5, 100), np.arange(1, 9)) + 2)
    assert measured["isoscore"] == pytest.approx(0, abs=1e-12)
    assert measured["effective_rank"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("used", [1, 2, 5, 9])
def test_isoscore_is_the_share_of_dimensions_in_use(used: int) -> None:
    # Rudman et al.: a space that uses k of n dimensions evenly scores (k − 1)/(n − 1).
    measured = isotropy(with_spectrum([1.0] * used + [0.0] * (9 - used)))
    assert measured["isoscore"] == pytest.approx((used - 1) / 8, abs=1e-9)
    assert measured["effective_rank"] == pytest.approx(used, abs=1e-5)


def test_isoscore_by_hand_for_an_uneven_spectrum() -> None:
    # Variances 9 : 4 : 1 of three dimensions, through the paper's formulas.
    normalised = np.sqrt(3) * np.array([9, 4, 1]) / np.sqrt(98)
    defect_squared = ((normalised - 1) ** 2).sum() / (2 * (3 - np.sqrt(3)))
    fraction = (3 - defect_squared * (3 - np.sqrt(3))) ** 2 / 9
    assert isotropy(with_spectrum([3, 2, 1]))["isoscore"] == pytest.approx((3 * fraction - 1) / 2, abs=1e-12)


def test_effective_rank_is_the_entropy_of_the_singular_values() -> None:
    shares = np.array([4, 2, 1, 1]) / 8
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert isotropy(with_spectrum([4, 2, 1, 1]))["effective_rank"] == pytest.approx(expected, abs=1e-9)


def test_isoscore_and_rank_do_not_change_with_rotation_scale_or_mean() -> None:
    vectors = gaussian(2, 500, 12) * np.geomspace(1, 10, 12)
    rotation = np.linalg.qr(gaussian(3, 12, 12))[0]
    expected = isotropy(vectors)
    assert 0.1 < expected["isoscore"] < 0.9
    for changed in (vectors @ rotation, vectors * 1e-4, vectors * 1e5, vectors + 100):
        measured = isotropy(changed)
        for name in ("isoscore", "effective_rank"):
            assert measured[name] == pytest.approx(expected[name], rel=1e-8), name


def test_mean_cosine_is_the_mean_over_all_distinct_pairs() -> None:
    vectors = gaussian(4, 60, 7) + 0.5
    vectors[5] = 0
    norms = np.linalg.norm(vectors, axis=1)
    cosines = [
        vectors[i] @ vectors[j] / (norms[i] * norms[j]) if norms[i] * norms[j] else 0.0
        for i in range(60)
        for j in range(60)
        if i != j
    ]
    assert np.mean(cosines) > 0.1
    assert isotropy(vectors)["mean_cosine"] == pytest.approx(np.mean(cosines), abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 7, 64, 999])
def test_a_memory_map_in_chunks_gives_what_the_whole_gives(tmp_path: Path, chunk: int) -> None:
    # Far from the origin and drifting: chunks differ in their means.
    vectors = (gaussian(5, 300, 10) * np.arange(1, 11) + np.linspace(0, 50, 300)[:, None] + 20).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    measured = isotropy(np.load(tmp_path / "vectors.npy", mmap_mode="r"), chunk=chunk)
    variances = np.linalg.eigvalsh(np.cov(vectors.astype(np.float64).T, bias=True))
    shares = np.sqrt(variances) / np.sqrt(variances).sum()
    assert measured == pytest.approx(isotropy(vectors, chunk=300), rel=1e-9)
    assert measured["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_vectors_that_are_all_the_same_are_an_error(value: float) -> None:
    with pytest.raises(RagcunError, match="all the same"):
        isotropy(np.full((50, 8), value), chunk=7)


def test_vectors_that_differ_by_rounding_only_are_an_error() -> None:
    vectors = np.full((50, 8), 0.3, dtype=np.float32)
    vectors[::2] = np.nextafter(np.float32(0.3), np.float32(1))
    with pytest.raises(RagcunError, match="all the same"):
        isotropy(vectors)
    vectors[0] = 0.3001
    assert 0 <= isotropy(vectors)["isoscore"] <= 1


@pytest.mark.parametrize("shape", [(1, 8), (0, 8), (8, 1), (8,)])
def test_too_few_vectors_or_dimensions_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(RagcunError, match="two or more"):
        isotropy(np.ones(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_an_error(bad: float) -> None:
    vectors = gaussian(6, 40, 5)
    vectors[33, 2] = bad
    with pytest.raises(RagcunError, match="NaN or infinity"):
        isotropy(vectors, chunk=8)


def shared_measures() -> dict[str, Any]:
    """The measures of 2,100 vectors, and the rows of them that this rank read for the one and ranked for the other."""
    vectors = gaussian(12, 2100, 6) * np.arange(1, 7) + np.linspace(0, 3, 2100)[:, None]
    rows = {"read": 0, "ranked": 0}
    check, neighbours = measures.check_finite, hubs._neighbours

    def checking(part: np.ndarray) -> None:
        rows["read"] += len(part)
        check(part)

    def ranking(*args: Any) -> np.ndarray:
        found = neighbours(*args)
        rows["ranked"] += len(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "check_finite", checking)
        found = isotropy(vectors, chunk=100)
        read = rows["read"]
        patch.setattr(hubs, "_neighbours", ranking)
        return {"read": read, "hubness": hubness(vectors), "ranked": rows["ranked"], "isotropy": found}


@pytest.mark.engine
def test_two_ranks_measure_what_one_does_each_its_half() -> None:
    alone = shared_measures()
    assert (alone["read"], alone["ranked"]) == (2100, 2100)
    ranks = run_in_processes(shared_measures, 2)
    assert [rank["read"] for rank in ranks] == [1050, 1050]
    # In blocks of 512, of which the last is short.
    assert [rank["ranked"] for rank in ranks] == [1024, 1076]
    for rank in ranks:
        assert rank["hubness"] == alone["hubness"]
        assert rank["isotropy"] == pytest.approx(alone["isotropy"], rel=1e-10)
    assert ranks[0]["isotropy"] == ranks[1]["isotropy"]
