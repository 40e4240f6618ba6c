"""Passes made twice for their gradients: the same gradients on any number of processes, with a fraction of the memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ragcun import distributed
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.train.batches import BatchCollator, plan_batches
from ragcun.train.loss import RetrievalLoss
from ragcun.train.trainee import LiveTrainee
from tests.invariants import Invariant, difference
from tests.processes import run_in_processes
from tests.small_run import SETTINGS, TEXTS, pairs
from tests.tiny import save_tiny_base, save_tiny_router

pytestmark = pytest.mark.engine


def gradients(base: str, cached: bool, chunk: int = 4, double: bool = False, bf16: bool = False) -> dict[str, Tensor]:
    """The global loss of one batch of 22 queries and 22 candidates, and every gradient of a live encoder."""
    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=base, freeze_base=False, device="cpu").train()
    trainee = LiveTrainee(encoder, TEXTS, chunk=chunk, dtype="float32", cache_gradients=cached)
    if double:
        encoder.double()
    known = pairs()
    batch = plan_batches(known, SETTINGS.model_copy(update={"batch_size": 22, "store_negatives": 0}), 1)[0]
    inputs = BatchCollator(trainee.load, known.known_positives)([batch])
    label = inputs.pop("label")
    places = sorted({int(key.split("_")[0]) for key in inputs})
    chunks = [
        {key.partition("_")[2]: value for key, value in inputs.items() if key.startswith(f"{place}_")}
        for place in places
    ]
    loss = RetrievalLoss(encoder, similarity="cosine", temperature=0.1, isotropy_weight=0.5, isotropy_directions=8)
    if distributed.world_size() > 1:
        loss.model = DistributedDataParallel(encoder)  # type: ignore[assignment]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        total = torch.stack(list(loss(chunks, label).values())).sum()
    total.backward()
    found = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {"value": distributed.sum_over_ranks(total.detach()) / distributed.world_size(), **found}


@pytest.mark.parametrize("bf16", [False, True])
def test_cached_gradients_are_the_uncached_with_the_same_dropout(
    tiny_base: Path, invariant: Invariant, bf16: bool
) -> None:
    plain, cached = (gradients(str(tiny_base), cached, bf16=bf16) for cached in (False, True))
    assert plain.keys() == cached.keys()
    kind = "bf16" if bf16 else "fp32"
    invariant(f"gradients, cached or not, dropout .1, {kind}", difference(plain, cached), 0.0)


def test_cached_gradients_of_two_towers_are_the_uncached(tmp_path: Path, invariant: Invariant) -> None:
    base = str(save_tiny_router(tmp_path / "router"))
    plain, cached = (gradients(base, cached) for cached in (False, True))
    assert {name.split(".")[2] for name in plain if "sub_modules" in name} == {"query", "document"}
    assert plain.keys() == cached.keys()
    invariant("gradients of two towers, cached or not, dropout .1, fp32", difference(plain, cached), 0.0)


PRECISIONS = {"fp64": (1e-9, 1e-6), "fp32": (1e-4, 1e-3)}


def both_precisions(base: str, cached: bool, chunk: int) -> dict[str, dict[str, Tensor]]:
    return {kind: gradients(base, cached, chunk, double=kind == "fp64") for kind in PRECISIONS}


@pytest.mark.parametrize("world_size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_cached_gradients_on_processes_are_those_of_one(tmp_path: Path, invariant: Invariant, world_size: int) -> None:
    """Chunks of four, so that the ranks make different numbers of passes."""
    base = str(save_tiny_base(tmp_path / "base", dropout=0))
    alone = both_precisions(base, cached=False, chunk=30)
    for share in run_in_processes(both_precisions, world_size, base, True, 4):
        for kind, (bound, nought) in PRECISIONS.items():
            seen = difference(alone[kind], share[kind], nought)
            invariant(f"gradients of a live encoder, cached, {world_size} processes, {kind}", seen, bound)


def test_the_activations_of_a_batch_are_not_kept(tiny_base: Path) -> None:
    """Bytes that the forward passes leave for the backward one, in chunks of two texts."""

    def kept(cached: bool) -> int:
        total = 0
        seen: set[int] = set()

        def note(tensor: Tensor) -> Tensor:
            nonlocal total
            if tensor.data_ptr() not in seen and not isinstance(tensor, nn.Parameter):
                seen.add(tensor.data_ptr())
                total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            found: Any = gradients(str(tiny_base), cached, chunk=2)
        assert found
        return total

    assert kept(True) < kept(False) / 5
