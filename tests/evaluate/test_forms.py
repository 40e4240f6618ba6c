"""A model without its base's Normalize, or of one layer, is evaluated from the store as it is live; the base beside it too."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, read_embeddings, write_embeddings
from ragcun.evaluate import whole_model
from ragcun.evaluate.dense import benchmark_vectors
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.params import NormalizeBase, ProjectionKind
from tests.evaluate.test_dense import EMBED, check_run, evaluate, plain_search
from tests.tiny import tiny_benchmark

BENCHMARK = tiny_benchmark()


def store(folder: Path, base: Path, normalize: NormalizeBase) -> Path:
    """What the stage embed_benchmark writes."""
    encoder = TextEncoder.of(load_base(str(base), normalize=normalize, device="cpu"), EMBED)
    stand_ins = [drawn.text for drawn in stand_in_queries(BENCHMARK.doc_texts)]
    write_embeddings(folder, encoder, benchmark_texts(BENCHMARK.doc_texts, BENCHMARK.all_queries, stand_ins))
    return folder


@pytest.fixture
def without_encoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, evaluating a model encodes nothing."""

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("a text was encoded")

    return lambda: monkeypatch.setattr(whole_model, "write_embeddings", fail)


@pytest.mark.parametrize(("normalize", "projection"), [*product(("keep", "drop"), ("two_layer", "linear"))])
def test_from_the_store_as_live(
    tiny_base: Path,
    tmp_path: Path,
    without_encoding: Callable[[], None],
    normalize: NormalizeBase,
    projection: ProjectionKind,
) -> None:
    torch.manual_seed(1)
    encoder = IsotropicGaussianEncoder(
        base_model=str(tiny_base), output_dim=12, normalize_base=normalize, projection=projection, device="cpu"
    )
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    other = store(tmp_path / "other", tiny_base, "drop" if normalize == "keep" else "keep")
    live = evaluate(tmp_path / "model", BENCHMARK, other)
    embeddings = store(tmp_path / "store", tiny_base, normalize)
    without_encoding()
    from_store = evaluate(tmp_path / "model", BENCHMARK, embeddings)
    expected = plain_search(tmp_path / "model", BENCHMARK, "cosine")
    for evaluation in (live, from_store):
        check_run(evaluation, expected, atol=1e-5)


def test_the_base_is_normalised_from_vectors_that_are_stored_without(
    tiny_base: Path, tmp_path: Path, without_encoding: Callable[[], None]
) -> None:
    embeddings = store(tmp_path / "store", tiny_base, "drop")
    stored = read_embeddings(embeddings).arrays["corpus"]
    assert not np.allclose(np.linalg.norm(stored, axis=1), 1, atol=0.01), "vacuous"
    without_encoding()
    with benchmark_vectors(tiny_base, BENCHMARK, embeddings, EMBED) as vectors:
        wanted = load_base(str(tiny_base), device="cpu").encode_document(list(BENCHMARK.doc_texts))
        assert np.allclose(vectors.corpus, wanted, atol=1e-6)
        assert len(vectors.stand_ins) == len(BENCHMARK.doc_texts)
    check_run(evaluate(tiny_base, BENCHMARK, embeddings), plain_search(tiny_base, BENCHMARK, "cosine"), atol=1e-6)
