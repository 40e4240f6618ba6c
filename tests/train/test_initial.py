"""The model as training starts from it, on a tiny base and real folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from ragcun.core.errors import RagcunError
from ragcun.encode.base import load_base
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.whitening import whitening_map
from ragcun.params import Params
from ragcun.train import initial as module
from ragcun.train.initial import Inputs, initial_model, initialise_projection, write_control
from tests.inputs import DEV, tiny_params, write_inputs
from tests.tiny import MAX_LENGTH, WORDS, save_tiny_base


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"), tiny_base)


def folders(inputs: Path) -> Inputs:
    return Inputs(inputs / "pairs", inputs / "store", inputs / "validation")


def begin(params: Params, init: Path, inputs: Path) -> IsotropicGaussianEncoder:
    return initial_model(params, init, folders(inputs))


def test_without_whitening_it_ranks_as_the_base(tiny_base: Path, inputs: Path) -> None:
    """C3."""
    begun = begin(tiny_params(whitening=0), tiny_base, inputs)
    base = SentenceTransformer(str(tiny_base), device="cpu")
    ours, theirs = (model.similarity(model.encode(WORDS), model.encode(WORDS)) for model in (begun, base))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("normalize_base", ["keep", "drop"])
@pytest.mark.parametrize("projection", ["two_layer", "linear"])
def test_every_form_ranks_as_the_base_without_whitening(
    normalize_base: str, projection: str, tiny_base: Path, tmp_path: Path
) -> None:
    """C3, from the store that the stage of this form writes."""
    params = tiny_params(whitening=0, normalize_base=normalize_base, projection=projection)
    load_base(str(tiny_base), normalize=params.normalize_base, device="cpu").save(
        str(tmp_path / "base"), create_model_card=False
    )
    begun = begin(params, tiny_base, write_inputs(tmp_path / "inputs", tmp_path / "base"))
    base = SentenceTransformer(str(tiny_base), device="cpu")
    ours, theirs = (model.similarity(model.encode(WORDS), model.encode(WORDS)) for model in (begun, base))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_store_with_normalize_is_not_taken_for_one_without(tiny_base: Path, inputs: Path) -> None:
    with pytest.raises(RagcunError, match="run `dvc repro embed_pairs`"):
        begin(tiny_params(normalize_base="drop"), tiny_base, inputs)


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({"output_dim": 8}, {"output_dim": 12}, "projection to 8 dimensions, but output_dim is 12: set it to null"),
        ({}, {"projection": "linear"}, "projection that is two_layer, but projection is linear: set it to two_layer"),
        ({"projection": "linear"}, {}, "projection that is linear, but projection is two_layer: set it to linear"),
        ({}, {"normalize_base": "drop"}, "trained behind a Normalize, but normalize_base is drop: set it to keep"),
    ],
)
def test_a_projection_that_the_base_brings_is_as_the_params_say(
    first: dict[str, Any], then: dict[str, Any], words: str, tiny_base: Path, inputs: Path, tmp_path: Path
) -> None:
    write_control(tiny_params(**first), "base", tiny_base, folders(inputs), tmp_path / "first")
    begin(tiny_params(**first), tmp_path / "first", inputs)
    with pytest.raises(RagcunError, match=words):
        begin(tiny_params(**then), tmp_path / "first", inputs)


def test_it_is_whitened_over_train_passages_alone(
    tiny_base: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8."""
    given: list[np.ndarray] = []

    def noting(vectors: np.ndarray, *args: Any) -> Any:
        given.append(np.array(vectors))
        return whitening_map(vectors, *args)

    monkeypatch.setattr(module, "whitening_map", noting)
    begin(tiny_params(), tiny_base, inputs)
    store = np.load(inputs / "store" / "finetune" / "texts.npy")
    assert np.array_equal(given[0], store[: len(WORDS) - DEV])


def test_a_random_projection_is_drawn_from_the_seed(tiny_base: Path) -> None:
    vectors = []
    for seed in (1, 1, 2):
        encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), device="cpu")
        torch.manual_seed(seed)
        initialise_projection(encoder, tiny_params(projection_init="random"), np.empty((0, 32)))
        vectors.append(encoder.encode(["river"]))
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])


def test_a_store_of_another_base_is_refused(inputs: Path, tmp_path: Path) -> None:
    other = save_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(RagcunError, match="made with another base"):
        begin(tiny_params(), other, inputs)


def test_a_length_that_the_base_cannot_read_is_refused(tiny_base: Path, inputs: Path) -> None:
    settings = tiny_params()
    for length, words in ((MAX_LENGTH + 1, f"at most {MAX_LENGTH} tokens"), (4, "made with another base")):
        embed = settings.embed.model_copy(update={"max_length": length})
        with pytest.raises(RagcunError, match=words):
            begin(settings.model_copy(update={"embed": embed}), tiny_base, inputs)


def test_the_controls_are_the_start_itself_and_a_random_projection(
    tiny_base: Path, inputs: Path, tmp_path: Path
) -> None:
    params = tiny_params(whitening=0.5)
    for kind in ("base", "random"):
        write_control(
            params,
            kind,  # type: ignore[arg-type]
            tiny_base,
            folders(inputs),
            tmp_path / kind,
        )
    whitened, random = (
        SentenceTransformer(str(tmp_path / kind), device="cpu").encode(WORDS) for kind in ("base", "random")
    )
    assert np.array_equal(whitened, begin(params, tiny_base, inputs).encode(WORDS))
    drawn = begin(tiny_params(whitening=0.5, projection_init="random"), tiny_base, inputs)
    assert np.array_equal(random, drawn.encode(WORDS))
    assert not np.allclose(whitened, random)


@pytest.mark.parametrize("kind", ["base", "random"])
def test_a_projection_that_the_base_brings_goes_on_as_it_is(
    kind: str, tiny_base: Path, inputs: Path, tmp_path: Path
) -> None:
    write_control(tiny_params(seed=7), "random", tiny_base, folders(inputs), tmp_path / "first")
    begun = begin(tiny_params(projection_init=kind), tmp_path / "first", inputs)
    brought = IsotropicGaussianEncoder(str(tmp_path / "first"), device="cpu").state_dict()
    assert all(torch.equal(value, brought[name]) for name, value in begun.state_dict().items())


def test_a_control_of_a_warm_start_begins_anew(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    write_control(tiny_params(), "random", tiny_base, folders(inputs), tmp_path / "first")
    write_control(tiny_params(), "base", tmp_path / "first", folders(inputs), tmp_path / "second")
    model = SentenceTransformer(str(tmp_path / "second"), device="cpu")
    assert np.allclose(model.encode(WORDS), begin(tiny_params(), tiny_base, inputs).encode(WORDS), atol=1e-6)
