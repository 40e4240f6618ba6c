"""The objective: known answers, plain twins, and the same value and gradients on any number of processes (C5)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ragcun import distributed
from ragcun.measure.sigreg import epps_pulley, null_floor, random_directions, sigreg
from ragcun.model.projection import build_projection
from ragcun.train.batches import BatchCollator, Features, GlobalBatches
from ragcun.train.loss import RetrievalLoss, info_nce, logits
from tests.invariants import Invariant, difference
from tests.processes import run_in_processes

# Of the reference implementation of LeJEPA: its statistic, scaled by N, of one-dimensional samples.
KNOWN = [
    (torch.zeros(8), 3.216381),
    (torch.tensor([1.0, -1.0]), 0.205659),
    (torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5]), 0.023327),
    (torch.linspace(-2, 2, 11), 1.125068),
    (torch.linspace(-1, 3, 11), 3.962260),
]


@pytest.mark.parametrize(("sample", "expected"), KNOWN)
def test_epps_pulley_gives_the_reference_values(sample: Tensor, expected: float) -> None:
    statistic = epps_pulley(sample.double()[:, None], len(sample)) * len(sample)
    assert statistic.item() == pytest.approx(expected, abs=2e-6)


def test_the_floor_is_the_statistic_of_a_gaussian() -> None:
    sample = torch.randn(256, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert epps_pulley(sample, 256).mean().item() == pytest.approx(null_floor(256), rel=0.03)
    assert epps_pulley(1.3 * sample, 256).mean().item() > 2 * null_floor(256)


def test_the_statistic_does_not_grow_with_the_batch() -> None:
    sample = torch.linspace(-1, 3, 11, dtype=torch.float64)[:, None]
    assert epps_pulley(sample.repeat(50, 1), 550).item() == pytest.approx(epps_pulley(sample, 11).item(), rel=1e-12)


def test_sigreg_pulls_a_stretched_cloud_towards_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = (torch.randn(512, 8, generator=generator) * torch.linspace(0.2, 2.5, 8)).requires_grad_()
    before = cloud.detach().var(dim=0)
    for step in range(200):
        (gradient,) = torch.autograd.grad(sigreg(cloud, 512, random_directions(8, 64, step, cloud.device)), cloud)
        cloud.data -= 500 * gradient
    after = cloud.detach().var(dim=0)
    assert after.log().abs().max() < before.log().abs().max() / 3


def test_directions_are_unit_and_decided_by_the_seed() -> None:
    cpu = torch.device("cpu")
    directions = random_directions(16, 5, 3, cpu)
    assert torch.allclose(directions.norm(dim=0), torch.ones(5))
    assert torch.equal(directions, random_directions(16, 5, 3, cpu))
    assert not torch.equal(directions, random_directions(16, 5, 4, cpu))


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_logits_are_their_definition(similarity: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = torch.randn(3, 4, generator=generator), torch.randn(5, 4, generator=generator)
    expected = torch.empty(3, 5)
    for i, q in enumerate(queries):
        for j, d in enumerate(candidates):
            expected[i, j] = {
                "cosine": (q @ d) / (q.norm() * d.norm()) / 0.1,
                "dot": (q @ d) / (4 * 0.1),
                "euclidean": -(q - d).square().sum() / (2 * 4 * 0.1),
            }[similarity]
    assert torch.allclose(logits(queries, candidates, similarity, 0.1), expected, atol=1e-5)


def test_logits_of_half_precision_are_computed_in_full() -> None:
    half = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(logits(half, half, "dot", 0.05), logits(half.float(), half.float(), "dot", 0.05))


@pytest.mark.engine
def test_under_autocast_the_loss_is_that_of_its_embeddings_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is for the encoder: the softmax and SIGReg of what it gives are fp32's, to the last digit."""
    batches, known = planned(CASES["all"])
    store = torch.randn(TEXTS, DIM, generator=torch.Generator().manual_seed(2))
    inputs = BatchCollator(loader(store), known)([batches[0]])
    model = SentenceTransformer(modules=build_projection(DIM, 8, 0.0), device="cpu")
    loss = RetrievalLoss(model, similarity="cosine", temperature=0.1, isotropy_weight=3.0, isotropy_directions=16)
    given: list[Tensor] = []
    embed = RetrievalLoss._embed

    def noting(self: RetrievalLoss, *args: Any) -> Tensor:
        given.append(embed(self, *args))
        return given[-1]

    with monkeypatch.context() as patch, torch.autocast("cpu", dtype=torch.bfloat16):
        patch.setattr(RetrievalLoss, "_embed", noting)
        half = loss(chunks_of(inputs), inputs["label"])
    assert {tensor.dtype for tensor in given} == {torch.bfloat16}
    assert {part.dtype for part in half.values()} == {torch.float32}
    full = iter([tensor.float() for tensor in given])
    with monkeypatch.context() as patch:
        patch.setattr(RetrievalLoss, "_embed", lambda self, *args: next(full))
        expected = loss(chunks_of(inputs), inputs["label"])
    assert {name: part.item() for name, part in half.items()} == {name: part.item() for name, part in expected.items()}


def test_info_nce_leaves_masked_candidates_out() -> None:
    scaled = torch.tensor([[2.0, 1.0, 9.0]])
    loss = info_nce(scaled, torch.tensor([0]), torch.tensor([[False, False, True]]))
    assert loss.item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + math.exp(1))), rel=1e-6)


# --- C5 -------------------------------------------------------------------------------------------------------------

TEXTS, DIM, PAIRS = 90, 12, 23
CASES = {
    "in-batch": {},
    "hard negatives": {"hard": 3},
    "store negatives": {"hard": 2, "store_negatives": 17},
    "isotropy": {"isotropy_weight": 3.0},
    "all": {"hard": 3, "store_negatives": 17, "isotropy_weight": 3.0, "similarity": "euclidean"},
    "uneven": {"hard": 3, "isotropy_weight": 3.0, "batch_size": 9, "step": 2},
    "fewer queries than processes": {"batch_size": 11, "step": 1, "pairs": 12, "isotropy_weight": 1.0},
    "few positives of many queries": {"positives": 2},
    "isotropy alone": {"isotropy_weight": 1e6},
}


def planned(case: dict[str, Any]) -> tuple[GlobalBatches, dict[int, frozenset[int]]]:
    """Queries 0…, passages 40…; several queries share a positive, and some have a second one."""
    random = np.random.default_rng(5)
    count = case.get("pairs", PAIRS)
    queries = np.arange(count) % 20
    positives = 40 + random.integers(0, case.get("positives", 9), count)
    known: dict[int, set[int]] = {}
    for query, positive in zip(queries, positives, strict=True):
        known.setdefault(int(query), set()).add(int(positive))
    negatives = [random.choice(np.arange(50, TEXTS), size=size, replace=False) for size in random.integers(0, 5, count)]
    batches = GlobalBatches(
        queries,
        positives,
        negatives,
        batch_size=case.get("batch_size", count),
        epochs=1,
        seed=1,
        hard=case.get("hard", 0),
        store=np.arange(40, TEXTS),
        store_negatives=case.get("store_negatives", 0),
    )
    return batches, {query: frozenset(ids) for query, ids in known.items()}


def loader(store: Tensor, chunk: int = TEXTS) -> Callable[[np.ndarray, str], Features]:
    """Rows of a store as features, in chunks of reversed order: the order must be undone."""

    def load(ids: np.ndarray, role: str) -> Features:
        rows = store[torch.from_numpy(ids).flip(0)]
        chunks = [{"sentence_embedding": part} for part in (rows.split(chunk) if len(rows) else [rows])]
        return Features(chunks, torch.arange(len(ids)).flip(0))

    return load


def chunks_of(inputs: dict[str, Any]) -> list[dict[str, Tensor]]:
    count = sum(key.endswith("_sentence_embedding") for key in inputs)
    return [{"sentence_embedding": inputs[f"{place}_sentence_embedding"]} for place in range(count)]


def value_and_gradients(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The global loss and every gradient of a case, on however many processes this runs, through the real wrapper."""
    torch.manual_seed(0)
    case = CASES[name]
    store = torch.randn(TEXTS, DIM, generator=torch.Generator().manual_seed(2)).to(dtype)
    model = SentenceTransformer(modules=build_projection(DIM, 8, 0.0), device="cpu").to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).to(dtype))
    batches, known = planned(case)
    inputs = BatchCollator(loader(store), known)([batches[case.get("step", 0)]])
    wrapped: nn.Module = DistributedDataParallel(model) if distributed.world_size() > 1 else model
    loss = RetrievalLoss(
        model,
        similarity=case.get("similarity", "cosine"),
        temperature=0.1,
        isotropy_weight=case.get("isotropy_weight", 0.0),
        isotropy_directions=16,
    )
    loss.model = wrapped  # type: ignore[assignment]
    total = torch.stack(list(loss(chunks_of(inputs), inputs["label"]).values())).sum()
    total.backward()
    value = distributed.sum_over_ranks(total.detach()) / distributed.world_size()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
    return {"value": value, **gradients}


def every_case(dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    return {name: value_and_gradients(name, dtype) for name in CASES}


def both_precisions() -> dict[str, dict[str, dict[str, Tensor]]]:
    return {"fp64": every_case(torch.float64), "fp32": every_case(torch.float32)}


@pytest.mark.engine
@pytest.mark.parametrize("world_size", [2, 3])
def test_value_and_gradients_are_those_of_one_process(world_size: int, invariant: Invariant) -> None:
    alone = both_precisions()
    for shares in run_in_processes(both_precisions, world_size):
        for kind, bound in (("fp64", 1e-6), ("fp32", 1e-4)):
            for name in CASES:
                seen = difference(alone[kind][name], shares[kind][name], nought=1e-3 if kind == "fp32" else 1e-6)
                invariant(f"loss and gradients, {name}, {world_size} processes, {kind}", seen, bound)


def test_the_batch_loss_is_its_plain_definition() -> None:
    """Against loops over queries and candidates, from the ids alone."""
    case = CASES["all"] | {"isotropy_weight": 0.0}
    batches, known = planned(case)
    batch = batches[0]
    vectors = torch.randn(TEXTS, DIM, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    inputs = BatchCollator(loader(vectors, chunk=7), known)([batch])
    loss = RetrievalLoss(
        nn.Identity(),  # type: ignore[arg-type]
        similarity="euclidean",
        temperature=0.1,
        isotropy_weight=0.0,
        isotropy_directions=1,
    )
    total, masked = 0.0, 0
    for query, positive in zip(batch.queries.tolist(), batch.positives.tolist(), strict=True):
        terms = {}
        for candidate in set(batch.candidates.tolist()):
            if candidate != positive and candidate in known[query]:
                masked += 1
                continue
            terms[candidate] = math.exp(-(vectors[query] - vectors[candidate]).square().sum() / (2 * DIM * 0.1))
        total -= math.log(terms[positive] / sum(terms.values())) / len(batch.queries)
    assert masked > 0, "vacuous"
    assert loss(chunks_of(inputs), inputs["label"])["contrastive"].item() == pytest.approx(total, rel=1e-9)


# --- SIGReg's part of the loss, against its definition ----------------------------------------------------------------


def plain_excess(rows: np.ndarray, directions: np.ndarray) -> float:
    """SIGReg of rows (N, D) along directions (D, A) less its value for N normal numbers, in loops from the formula.

    ∫ |φ(t) − e^(−t²/2)|² e^(−t²/2) dt by the trapezoid rule with 17 knots on [0, 3], doubled; for N normal numbers the
    squared distance is expected to be (1 − e^(−t²)) / N.
    """
    statistics, floor = [], 0.0
    for direction in directions.T:
        statistic, floor = 0.0, 0.0
        for knot in range(17):
            t = 3 * knot / 16
            share = (3 / 16) * (0.5 if knot in (0, 16) else 1.0) * 2 * math.exp(-(t**2) / 2)
            characteristic = np.mean([np.exp(1j * t * float(row @ direction)) for row in rows])
            statistic += share * abs(characteristic - math.exp(-(t**2) / 2)) ** 2
            floor += share * (1 - math.exp(-(t**2))) / len(rows)
        statistics.append(statistic)
    assert floor * len(rows) == pytest.approx(1.0525, abs=5e-5)
    return float(np.mean(statistics)) - floor


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_isotropy_part_is_its_plain_definition_over_queries_and_candidates(weight: float) -> None:
    batches, known = planned(CASES["all"])
    batch = batches[0]
    vectors = 1.5 * torch.randn(TEXTS, DIM, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.3
    inputs = BatchCollator(loader(vectors, chunk=7), known)([batch])
    loss = RetrievalLoss(
        nn.Identity(),  # type: ignore[arg-type]
        similarity="cosine",
        temperature=0.1,
        isotropy_weight=weight,
        isotropy_directions=5,
    )
    assert len(batch.queries) != len(batch.candidates), "vacuous"
    rows = vectors[np.concatenate([batch.queries, batch.candidates])].numpy()
    directions = random_directions(DIM, 5, batch.seed, torch.device("cpu")).double().numpy()
    found = loss(chunks_of(inputs), inputs["label"])["isotropy"].item()
    assert found == pytest.approx(weight * plain_excess(rows, directions), rel=1e-6)
    for other in (vectors[batch.candidates].numpy(), vectors[batch.queries].numpy()):
        assert found != pytest.approx(weight * plain_excess(other, directions), rel=1e-4), "vacuous"


@pytest.mark.parametrize("queries", [1, 2])
@pytest.mark.parametrize(("sample", "scaled"), KNOWN)
def test_the_isotropy_part_gives_the_reference_values_less_the_floor(
    sample: Tensor, scaled: float, queries: int
) -> None:
    """In one dimension the only directions are 1 and −1, which have the same statistic."""
    rows = sample.double()[:, None]
    parts = [rows[:queries], rows[queries:]] if queries < len(rows) else [rows, rows]
    count = sum(map(len, parts))
    batch = {
        "query_chunks": 1,
        "query_order": torch.arange(len(parts[0])),
        "candidate_order": torch.arange(len(parts[1])),
        "queries": len(parts[0]),
        "candidates": len(parts[1]),
        "target": torch.zeros(len(parts[0]), dtype=torch.int64),
        "masked": torch.zeros(len(parts[0]), len(parts[1]), dtype=torch.bool),
        "seed": 3,
    }
    loss = RetrievalLoss(
        nn.Identity(),  # type: ignore[arg-type]
        similarity="dot",
        temperature=1.0,
        isotropy_weight=2.0,
        isotropy_directions=4,
    )
    found = loss([{"sentence_embedding": part} for part in parts], batch)["isotropy"].item()
    # A sample that stands in twice has the same characteristic function.
    expected = 2.0 * (scaled / len(rows) - 1.0525 / count)
    assert found == pytest.approx(expected, abs=1e-4 / count)
