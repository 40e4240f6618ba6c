"""A saved projection read without its libraries gives what the loaded model gives, and leaves to that what it does not know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ragcun.encode.encoder import describe
from ragcun.encode.layout import LAYOUT_FILE, known_base
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.model.saved import saved_projection
from ragcun.params import Embed
from tests.tiny import HIDDEN, save_tiny_router

EMBED = Embed(engine="torch", dtype="bfloat16", batch_tokens=128, max_length=None)
CPU = torch.device("cpu")
ROWS = np.random.default_rng(0).normal(size=(9000, HIDDEN)).astype(np.float32)


def saved(folder: Path, base: Path, **kwargs: Any) -> IsotropicGaussianEncoder:
    encoder = IsotropicGaussianEncoder(base_model=str(base), device="cpu", **kwargs)
    set_random_map(encoder.projection)
    encoder.save_finished(folder)
    return encoder


def manifest(encoder: IsotropicGaussianEncoder) -> dict[str, Any]:
    """What the store says that this encoder's base made."""
    return json.loads(json.dumps(describe(encoder, list(encoder.base), EMBED.dtype)))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"output_dim": None},
        {"output_dim": 8, "dropout": 0.5, "similarity": "dot"},
        {"output_dim": 8, "projection": "linear", "normalize_base": "drop"},
    ],
)
def test_it_is_the_loaded_models_to_the_bit(tiny_base: Path, tmp_path: Path, kwargs: dict[str, Any]) -> None:
    """Over more rows than a chunk."""
    encoder = saved(tmp_path / "model", tiny_base, **kwargs)
    found = saved_projection(tmp_path / "model", manifest(encoder), EMBED, CPU)
    assert found is not None
    assert np.array_equal(found.project(ROWS), encoder.head().project(ROWS))
    assert (found.dim, found.similarity) == (encoder.get_embedding_dimension(), encoder.similarity_fn_name)


def test_what_is_written_of_the_base_is_what_a_loaded_model_says(tmp_path: Path) -> None:
    """Of a Router, whose description is the longest."""
    saved(tmp_path / "model", save_tiny_router(tmp_path / "base"), output_dim=8)
    loaded = IsotropicGaussianEncoder(str(tmp_path / "model"), device="cpu")
    assert known_base(tmp_path / "model") == {**manifest(loaded), "dtype": "float32"}


def changed_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({name: 2 * value for name, value in load_file(file).items()}, file)


def other_kind(folder: Path) -> None:
    """As if the projection had been made so when it was saved."""
    config = folder / "3_Dense/config.json"
    config.write_text(config.read_text().replace("GELU", "ReLU"))
    IsotropicGaussianEncoder(str(folder), device="cpu").save_finished(folder)


def without_record(folder: Path) -> None:
    (folder / LAYOUT_FILE).write_text('{"base_modules": 3}')


@pytest.mark.parametrize("change", [changed_weights, other_kind, without_record])
def test_what_it_does_not_know_is_left_to_the_loaded_model(tiny_base: Path, tmp_path: Path, change: Any) -> None:
    model = tmp_path / "model"
    whole = manifest(saved(model, tiny_base, output_dim=8))
    assert saved_projection(model, whole, EMBED, CPU) is not None, "vacuous"
    change(model)
    assert saved_projection(model, whole, EMBED, CPU) is None


def test_vectors_of_another_base_length_or_dtype_are_not_taken(tiny_base: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    whole = manifest(saved(model, tiny_base, output_dim=8))
    for other in ({"base": "another"}, {"max_length": 3}, {"dtype": "float32"}, {"prompts": {"query": "q: "}}):
        assert saved_projection(model, whole | other, EMBED, CPU) is None
    shorter = EMBED.model_copy(update={"max_length": 3})
    assert saved_projection(model, whole, shorter, CPU) is None
    assert saved_projection(model, {**whole, "max_length": 3}, shorter, CPU) is not None
