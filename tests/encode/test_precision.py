"""What `auto` means: bfloat16 on a device that computes in it, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.precision import precision
from ragcun.encode.store import MADE_BY

CPU = torch.device("cpu")
TEXTS = ["river water", "a boat on the water", "star"]


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        # AVX-512 alone only emulates it.
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_is_what_a_processor_computes_in(
    capabilities: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    assert precision("auto", CPU) == expected
    assert [precision("float32", CPU), precision("bfloat16", CPU)] == ["float32", "bfloat16"], "what is named stays"


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_what_a_gpu_computes_in(native: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A GPU without the arithmetic says that it supports it, when emulation counts.
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert precision("auto", torch.device("cuda")) == expected


@pytest.mark.parametrize("has", [True, False])
def test_the_manifest_names_the_precision_and_vectors_of_auto_are_its(
    has: bool, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": has})
    named, other = ("bfloat16", "float32") if has else ("float32", "bfloat16")
    auto, same, unlike = (
        TextEncoder(load_base(str(tiny_base), device="cpu"), dtype=dtype, batch_tokens=64, max_length=None)
        for dtype in ("auto", named, other)
    )
    assert auto.manifest[MADE_BY]["precision"] == named
    assert np.array_equal(auto.encode(TEXTS, "query"), same.encode(TEXTS, "query"))
    assert not np.array_equal(auto.encode(TEXTS, "query"), unlike.encode(TEXTS, "query"))
    assert auto.key("river", "query") != unlike.key("river", "query")


def test_vectors_of_auto_are_known_again_on_another_machine(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for describes vectors; which precision that was is beside it, as the engine is."""
    found = []
    for has in (True, False):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda has=has: {"avx512_bf16": has})
        base = load_base(str(tiny_base), device="cpu")
        found.append(TextEncoder(base, dtype="auto", batch_tokens=64, max_length=None))
    first, second = found
    assert first.description == second.description
    assert first.key("river", "query") != second.key("river", "query")
