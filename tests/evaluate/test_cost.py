"""What a model costs stands beside its measures: in every part of a benchmark, and of an adapted model too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragcun.evaluate.cost import cost
from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.evaluate.results import join_parts
from ragcun.evaluate.vectors import Vectors
from ragcun.model.card import TRAINED, made_with, write_model_card
from ragcun.model.encoder import IsotropicGaussianEncoder
from tests.tiny import tiny_benchmark

pytestmark = pytest.mark.outputs

VECTORS = Vectors(np.zeros((5, 12), np.float32), np.zeros((2, 12), np.float32), np.zeros((1, 12), np.float32), "cosine")


def test_it_is_what_the_card_says_and_a_vectors_bytes(tiny_base: Path, tmp_path: Path) -> None:
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=12, device="cpu")
    encoder.save_finished(tmp_path)
    assert cost(tmp_path, VECTORS) == {"trained_parameters": 0, "bytes": 48}
    assert made_with(tmp_path) == {}
    settings = {"trained_parameters": 1234, "params": {"text": "```json\n## Made with"}}
    write_model_card(tmp_path, encoder, name="mine", about=TRAINED, settings=settings)
    assert made_with(tmp_path) == settings
    assert cost(tmp_path, VECTORS) == {"trained_parameters": 1234, "bytes": 48}


def test_a_base_with_a_card_of_its_own_was_not_trained_here(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A model of others\n", encoding="utf-8")
    assert cost(tmp_path, VECTORS)["trained_parameters"] == 0
    assert cost(tmp_path / "none", VECTORS)["trained_parameters"] == 0


def test_it_is_among_the_measures_and_survives_the_joining_of_parts() -> None:
    figures = {"trained_parameters": 1234.0, "bytes": 48.0}
    evaluation = replace(evaluate_bm25(tiny_benchmark("one"), 10), cost=figures)
    assert evaluation.measures()["cost"] == figures
    assert join_parts({"one": evaluation, "two": evaluation}).measures()["cost"] == figures
    assert "cost" not in evaluate_bm25(tiny_benchmark("one"), 10).measures()
