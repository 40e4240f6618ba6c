"""The rule keeps its promises on data of any shape, and its map is the plain formula."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.covariance import oas

from ragcun.adapt import rule
from ragcun.adapt.rule import MAX_GAMMA, PRIOR_QUERIES, Statistics, choose, isoscore_of, shrunk, unit, with_gamma
from ragcun.core.errors import RagcunError
from ragcun.measure.covariance import mean_and_covariance
from ragcun.measure.isotropy import isotropy

DIM = 12
DOCUMENTS, STAND_INS = 400, 150
# Axes of very different variance, as embeddings have them.
SCALES = 1.5 ** -np.arange(DIM)


def embeddings(seed: int = 0, documents: int = DOCUMENTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A corpus that is far from isotropic and off the origin, stand-ins that differ from their documents, and their rows.

    The noise has axes of its own, and so the map changes directions.
    """
    rng = np.random.default_rng(seed)
    corpus = rng.normal(size=(documents, DIM)) * SCALES + rng.normal(size=DIM)
    rows = np.sort(rng.choice(documents, size=min(STAND_INS, documents), replace=False))
    turned, _ = np.linalg.qr(np.diag(np.ones(DIM)) + 0.1 * rng.normal(size=(DIM, DIM)))
    noise = (rng.normal(size=(len(rows), DIM)) * SCALES) @ turned + 0.5
    return corpus.astype(np.float32), (corpus[rows] + 0.4 * noise).astype(np.float32), rows


def statistics(seed: int = 0) -> Statistics:
    return Statistics.of(*embeddings(seed))


# Shrinkage and IsoScore


@pytest.mark.parametrize("count", [5, 13, 40, 1000])
@pytest.mark.parametrize("scales", [SCALES, np.ones(DIM)])
def test_a_covariance_is_shrunk_as_sklearn_does(count: int, scales: np.ndarray) -> None:
    """Of fewer vectors than dimensions, and of more."""
    vectors = np.random.default_rng(count).normal(size=(count, DIM)) * scales
    expected, share = oas(vectors)
    assert share > 1e-4, "vacuous"
    _, covariance = mean_and_covariance(vectors)
    np.testing.assert_allclose(shrunk(covariance, count), expected, rtol=0, atol=1e-12)


def test_a_covariance_that_is_a_multiple_of_the_identity_stays_it() -> None:
    np.testing.assert_allclose(shrunk(2 * np.eye(3), 10), 2 * np.eye(3))
    assert not shrunk(np.zeros((3, 3)), 10).any()


def test_what_so_few_vectors_cannot_tell_is_shrunk_whole() -> None:
    np.testing.assert_allclose(shrunk(np.diag([3.0, 2.0, 1.0]), 2), 2 * np.eye(3))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_isoscore_after_the_map_is_that_of_the_mapped_vectors(seed: int) -> None:
    corpus, _, _ = embeddings(seed)
    chosen = with_gamma(statistics(seed), 0.1)
    assert abs(chosen.after - chosen.before) > 0.01, "vacuous"
    assert chosen.before == pytest.approx(isotropy(corpus)["isoscore"], abs=1e-6)
    assert chosen.after == pytest.approx(isotropy(chosen.apply(corpus))["isoscore"], abs=1e-6)
    _, covariance = mean_and_covariance(corpus)
    assert isoscore_of(covariance) == pytest.approx(chosen.before, abs=1e-12)


# The map


@pytest.mark.parametrize("gamma", [0.05, MAX_GAMMA, 0.5])
def test_the_matrix_is_the_plain_formula(gamma: float) -> None:
    """A = s·W^(−γ/2), with s such that tr(AΣA) = tr(Σ)."""
    corpus, stand_ins, rows = (array.astype(np.float64) for array in embeddings())
    differences = stand_ins - corpus[rows.astype(int)]
    noise, _ = oas(differences)
    power = fractional_matrix_power(noise, -gamma / 2)
    covariance = np.cov(corpus.T, bias=True)
    plain = power * np.sqrt(np.trace(covariance) / np.trace(power @ covariance @ power))
    found = statistics().matrix(gamma)
    assert np.abs(found - np.eye(DIM)).max() > 0.05, "vacuous"
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found, statistics().matrix(gamma))


def test_no_gamma_is_no_change_of_the_axes() -> None:
    np.testing.assert_allclose(statistics().matrix(0.0), np.eye(DIM), atol=1e-12)


def test_the_map_is_of_the_vector_minus_the_mean() -> None:
    corpus, stand_ins, _ = embeddings()
    chosen = with_gamma(statistics(), 0.1)
    np.testing.assert_allclose(chosen.mean, stand_ins.astype(np.float64).mean(axis=0), atol=1e-9)
    expected = [chosen.matrix @ (row - chosen.mean) for row in corpus.astype(np.float64)]
    found = chosen.apply(corpus)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.05, MAX_GAMMA, 1.0])
def test_the_map_keeps_the_total_variance(gamma: float) -> None:
    corpus, _, _ = embeddings()
    mapped = with_gamma(statistics(), gamma).apply(corpus)
    assert mapped.var(axis=0).sum() == pytest.approx(corpus.var(axis=0).sum(), rel=1e-5)
    assert gamma == 0 or np.abs(mapped.var(axis=0) - corpus.var(axis=0)).max() > 0.01, "vacuous"


# γ


def test_gamma_reaches_the_target_where_it_can() -> None:
    known = statistics()
    reached = known.isoscore(), known.isoscore(MAX_GAMMA)
    assert reached[1] - reached[0] > 0.02, "vacuous"
    for target in np.linspace(*reached, 7)[1:-1]:
        chosen = choose(known, float(target))
        assert 0 < chosen.gamma < MAX_GAMMA
        assert chosen.after == pytest.approx(target, abs=1e-3)
        assert known.isoscore(chosen.gamma) == chosen.after
        assert (chosen.before, chosen.left_alone) == (pytest.approx(reached[0]), False)


def test_gamma_has_a_limit() -> None:
    known = statistics()
    chosen = choose(known, known.isoscore(MAX_GAMMA) + 0.01)
    assert chosen.gamma == MAX_GAMMA
    assert chosen.after == known.isoscore(MAX_GAMMA)
    np.testing.assert_array_equal(chosen.matrix, known.matrix(MAX_GAMMA))


def test_a_corpus_that_is_at_the_target_needs_no_gamma() -> None:
    known = statistics()
    for target in (known.isoscore(), known.isoscore() - 0.01):
        assert known.gamma_for(target) == 0


def test_a_corpus_at_the_target_is_left_alone() -> None:
    corpus, _, _ = embeddings()
    known = statistics()
    before = isoscore_of(known.covariance)
    for target in (before, before / 2):
        chosen = choose(known, target)
        assert chosen.left_alone
        assert chosen.figures() == {
            "gamma": 0.0,
            "isoscore_before": before,
            "isoscore_after": before,
            "left_alone": 1.0,
        }
        np.testing.assert_array_equal(chosen.apply(corpus), corpus)
    assert choose(known, before + 1e-6).figures()["left_alone"] == 0


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
def test_where_each_stand_in_is_its_document_no_axis_is_changed(rounding: float) -> None:
    """Also where the two were encoded in batches of different widths, and differ by rounding."""
    corpus, _, rows = embeddings()
    off = np.random.default_rng(3).normal(size=(len(rows), DIM)) * SCALES * rounding
    known = Statistics.of(corpus, corpus[rows] + off, rows)
    chosen = choose(known, 0.9)
    assert not chosen.left_alone
    np.testing.assert_allclose(chosen.matrix, np.eye(DIM), atol=1e-12)
    np.testing.assert_allclose(chosen.mean, corpus[rows].mean(axis=0), atol=1e-5)


# What the statistics rest on


def test_the_mean_of_real_queries_weighs_more_the_more_there_are() -> None:
    corpus, stand_ins, rows = embeddings()
    ours = stand_ins.astype(np.float64).mean(axis=0)
    for count in (1, PRIOR_QUERIES, 3 * PRIOR_QUERIES):
        queries = np.random.default_rng(count).normal(size=(count, DIM)) + 5
        share = count / (count + PRIOR_QUERIES)
        known = Statistics.of(corpus, stand_ins, rows, queries)
        np.testing.assert_allclose(known.mean, (1 - share) * ours + share * queries.mean(axis=0), atol=1e-9)
        assert known.queries == count
        np.testing.assert_array_equal(known.noise, statistics().noise)
    half = Statistics.of(corpus, stand_ins, rows, np.full((PRIOR_QUERIES, DIM), 9.0))
    np.testing.assert_allclose(half.mean, (ours + 9) / 2, atol=1e-9)


def test_no_queries_are_as_none() -> None:
    known = Statistics.of(*embeddings(), np.empty((0, DIM)))
    np.testing.assert_array_equal(known.mean, statistics().mean)
    assert (known.documents, known.stand_ins, known.queries) == (DOCUMENTS, STAND_INS, 0)


@pytest.mark.parametrize(("enough", "step"), [(DOCUMENTS, 1), (DOCUMENTS - 1, 2), (DOCUMENTS // 4, 4)])
def test_of_a_large_corpus_every_nth_document_tells_the_covariance(
    enough: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small one all do."""
    monkeypatch.setattr(rule, "ENOUGH_DOCUMENTS", enough)
    corpus, stand_ins, rows = embeddings()
    known = Statistics.of(corpus, stand_ins, rows)
    np.testing.assert_allclose(known.covariance, np.cov(corpus[::step].astype(np.float64).T, bias=True), atol=1e-9)
    assert known.documents == DOCUMENTS
    # A stand-in's document is found by its row in the whole corpus.
    np.testing.assert_array_equal(known.noise, statistics().noise)


def test_vectors_may_lie_in_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    corpus, stand_ins, rows = embeddings()
    folder = tmp_path_factory.mktemp("arrays")
    for name, array in (("corpus", corpus), ("stand_ins", stand_ins)):
        np.save(folder / f"{name}.npy", array)
    stored = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("corpus", "stand_ins"))
    known = Statistics.of(*stored, rows)
    for name in ("covariance", "noise", "mean"):
        np.testing.assert_array_equal(getattr(known, name), getattr(statistics(), name))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["corpus", "stand_ins", "queries"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_vector_that_is_not_finite_is_an_error(where: str, value: float) -> None:
    corpus, stand_ins, rows = embeddings()
    arrays = {"corpus": corpus, "stand_ins": stand_ins, "queries": corpus[:3].copy()}
    arrays[where][-1, 2] = value
    with pytest.raises(RagcunError, match="not finite"):
        Statistics.of(rows=rows, **arrays)


@pytest.mark.parametrize(
    ("documents", "stand_ins", "dim"), [(1, 2, DIM), (0, 0, DIM), (3, 1, DIM), (3, 0, DIM), (3, 3, 1)]
)
def test_too_few_vectors_are_an_error_that_says_how_many(documents: int, stand_ins: int, dim: int) -> None:
    corpus, crops, _ = embeddings()
    with pytest.raises(RagcunError, match=rf"{documents} and {stand_ins}, of {dim}"):
        Statistics.of(corpus[:documents, :dim], crops[:stand_ins, :dim], np.zeros(stand_ins, dtype=int))


@pytest.mark.parametrize("vector", [np.zeros(DIM), np.linspace(1, 2, DIM)])
def test_documents_that_are_all_the_same_are_an_error(vector: np.ndarray) -> None:
    _, stand_ins, rows = embeddings()
    with pytest.raises(RagcunError, match="same vector"):
        Statistics.of(np.tile(vector.astype(np.float32), (DOCUMENTS, 1)), stand_ins, rows)


def test_directions_have_length_one_and_zero_stays() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, DIM)).astype(np.float32)
    vectors[2] = 0
    found = unit(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found * np.linalg.norm(vectors, axis=1)[:, None], vectors, atol=1e-6)
