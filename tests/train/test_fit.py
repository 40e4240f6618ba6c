"""A training run: the right parameters move at the right rates, the best checkpoint is returned, interruptions heal."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import TrainerCallback

from ragcun.core.errors import RagcunError
from ragcun.data.pairs import PreparedPairs
from ragcun.encode.base import similarity_of
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_linear_map
from ragcun.model.whitening import whitening_map
from ragcun.params import Training
from ragcun.train.batches import BatchCollator, GlobalBatch, plan_batches
from ragcun.train.learning_rates import Pace
from ragcun.train.run import fit, warn_where_slow
from ragcun.train.trainee import FrozenTrainee
from ragcun.train.trainer import Trainer, TrainingResult
from tests.invariants import Invariant, difference, relative
from tests.processes import run_in_processes
from tests.small_run import recipe

PASSAGES, DEV, DIM = 60, 20, 32
SHARED = {
    "epochs": 2,
    "batch_size": 16,
    "negatives": 1,
    "store_negatives": 8,
    "temperature": 0.05,
    "isotropy_weight": 0.1,
    "isotropy_directions": 16,
    "schedule": "linear",
    "warmup_ratio": 0.25,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "evaluations": 4,
}


def problem() -> tuple[PreparedPairs, np.ndarray]:
    """Queries that see only half of their passage's dimensions, under noise in the others: a head can learn that."""
    random = np.random.default_rng(0)
    passages = random.normal(size=(PASSAGES + DEV, DIM))
    noise = np.concatenate([0.6 * np.ones(DIM // 2), 8 * np.ones(DIM - DIM // 2)])
    queries = passages + noise * random.normal(size=passages.shape)
    total = PASSAGES + DEV
    texts = pd.DataFrame(
        {
            "text": [f"{role} {row}" for role in ("passage", "query") for row in range(total)],
            "role": ["passage"] * total + ["query"] * total,
            "split": (["train"] * PASSAGES + ["dev"] * DEV) * 2,
        }
    )
    rows = np.arange(total)
    pairs = pd.DataFrame({"query": total + rows, "positive": rows})
    pairs["negatives"] = [np.array([(row + 1) % PASSAGES]) for row in rows]
    store = np.concatenate([passages, queries]).astype(np.float32)
    return PreparedPairs(texts, pairs[:PASSAGES], pairs[PASSAGES:], {}), store


def encoder_on(base: Path, similarity: Any = "cosine") -> IsotropicGaussianEncoder:
    """The tiny base with the projection that starts as its geometry; the store stands in for the base's vectors."""
    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(output_dim=None, base_model=str(base), similarity=similarity, device="cpu")
    pairs, store = problem()
    set_linear_map(encoder.projection, *whitening_map(store[pairs.train_passage_ids], 0.0, DIM))
    return encoder


def pace(peak: float) -> Pace:
    """Of 8 steps, 2 warm up; then the rate falls linearly to 0."""
    return Pace(peak, "linear", 0.25)


def run(
    encoder: IsotropicGaussianEncoder,
    work: Path,
    learning_rate: float = 3e-3,
    seed: int = 1,
    callbacks: Sequence[TrainerCallback] = (),
    **shared: Any,
) -> TrainingResult:
    pairs, store = problem()
    return fit(
        FrozenTrainee(encoder, store),
        pairs,
        recipe(Training(**(SHARED | shared)), {"projection": pace(learning_rate)}),
        similarity=similarity_of(encoder),
        seed=seed,
        work=work,
        trackers=callbacks,
    )


def parameters(encoder: IsotropicGaussianEncoder) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}


def test_the_projection_learns_and_the_base_keeps_every_bit(tiny_base: Path, tmp_path: Path) -> None:
    encoder = encoder_on(tiny_base)
    before = parameters(encoder)
    result = run(encoder, tmp_path / "work", epochs=8)
    after = parameters(encoder)
    assert result.best_step > 0
    assert result.best_score > result.curve["dev_ndcg@10"].iloc[0] + 0.02
    for name, value in before.items():
        moved = not torch.equal(value, after[name])
        assert moved == (int(name.split(".")[0]) >= encoder.base_length), name


def test_the_returned_weights_have_the_best_score(tiny_base: Path, tmp_path: Path) -> None:
    encoder = encoder_on(tiny_base)
    result = run(encoder, tmp_path / "work", epochs=8, learning_rate=0.03)
    best = result.curve.loc[result.curve["dev_ndcg@10"].idxmax()]
    assert (result.best_step, result.best_score) == (best["step"], best["dev_ndcg@10"])
    assert result.curve["dev_ndcg@10"].iloc[-1] < result.best_score, "vacuous: the last weights are the best"
    assert dev_score(encoder) == pytest.approx(result.best_score, abs=1e-6)


def dev_score(encoder: IsotropicGaussianEncoder) -> float:
    """NDCG@10 of the dev queries over all passages, written out: one relevant passage each."""
    pairs, store = problem()
    mapped = torch.nn.functional.normalize(torch.from_numpy(encoder.head().project(store)))
    scores = mapped[torch.tensor(pairs.dev["query"].tolist())] @ mapped[torch.from_numpy(pairs.passage_ids)].T
    target = scores.gather(1, torch.tensor(pairs.dev["positive"].tolist())[:, None])
    rank = (scores > target).sum(1) + 1
    return float(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0).mean())


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "dot"])
def test_a_harmful_learning_rate_returns_step_zero(tiny_base: Path, tmp_path: Path, similarity: str) -> None:
    """C7."""
    encoder = encoder_on(tiny_base, similarity)
    before = parameters(encoder)
    result = run(encoder, tmp_path / "work", learning_rate=30.0)
    assert result.best_step == 0
    assert (result.curve["dev_ndcg@10"].iloc[1:] < result.best_score).all()
    assert all(torch.equal(value, before[name]) for name, value in parameters(encoder).items())


def test_the_projections_learning_rate_is_the_one_applied(tiny_base: Path, tmp_path: Path) -> None:
    """The rate of a row is that of the step after it."""
    result = run(encoder_on(tiny_base), tmp_path / "work", learning_rate=3e-3, evaluations=8)
    assert result.curve["step"].tolist() == list(range(9))
    rates = result.curve["learning_rate_projection"]
    assert rates.to_numpy() == pytest.approx(3e-3 * np.array([0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]))


def test_the_curve_has_a_row_for_each_evaluation(tiny_base: Path, tmp_path: Path) -> None:
    curve = run(encoder_on(tiny_base), tmp_path / "work").curve
    assert curve["step"].tolist() == [0, 2, 4, 6, 8]
    assert curve["epoch"].tolist() == [0, 0.5, 1, 1.5, 2]
    trained = curve.iloc[1:]
    assert trained[["loss", "contrastive", "isotropy", "dev_isoscore"]].notna().all(axis=None)
    assert (trained["contrastive"] + trained["isotropy"]).to_numpy() == pytest.approx(trained["loss"])


def test_a_run_that_cannot_learn_says_why(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcun.train.loss.logits", lambda q, c, *rest: q @ c.T * float("nan"))
    with pytest.raises(RagcunError, match="the loss is nan at step 1"):
        run(encoder_on(tiny_base), tmp_path / "work")
    monkeypatch.undo()
    with pytest.raises(RagcunError, match="batch_size is 61"):
        run(encoder_on(tiny_base), tmp_path / "work", batch_size=61)


@pytest.mark.parametrize("lost", ["best", "checkpoint"])
def test_what_is_left_of_a_damaged_interruption_is_not_trusted(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Without the record of the best, step 0 must be a candidate again; a half-written checkpoint is passed over."""
    whole = encoder_on(tiny_base)
    expected = run(whole, tmp_path / "whole", evaluations=8)
    interrupt(tiny_base, tmp_path / "work", monkeypatch, step=5)
    if lost == "best":
        shutil.rmtree(tmp_path / "work" / "best")
    else:
        (tmp_path / "work" / "checkpoint-5" / "trainer_state.json").unlink()
    resumed = encoder_on(tiny_base)
    result = run(resumed, tmp_path / "work", evaluations=8)
    assert all(torch.equal(value, parameters(whole)[name]) for name, value in parameters(resumed).items())
    pd.testing.assert_frame_equal(result.curve, expected.curve)


def test_a_training_sees_train_passages_hard_negatives_and_masks(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8, at the last place where it could fail: of what the loss gets, nothing is a dev text."""
    pairs, store = problem()
    # Query 80 has a second right answer, which its own negatives list too.
    second = pd.DataFrame({"query": [80], "positive": [1], "negatives": [np.array([1])]})
    pairs = dataclasses.replace(pairs, train=pd.concat([pairs.train, second], ignore_index=True))
    seen: list[tuple[GlobalBatch, dict[str, Any]]] = []
    collate = BatchCollator.__call__

    def noting(self: BatchCollator, batches: list[GlobalBatch]) -> dict[str, Any]:
        inputs = collate(self, batches)
        seen.append((batches[0], inputs["label"]))
        return inputs

    monkeypatch.setattr(BatchCollator, "__call__", noting)
    settings = Training(**(SHARED | {"batch_size": 61, "epochs": 1, "store_negatives": 1000}))
    trainee = FrozenTrainee(encoder_on(tiny_base), store)
    fit(
        trainee,
        pairs,
        recipe(settings, {"projection": pace(1e-3)}),
        similarity="cosine",
        seed=1,
        work=tmp_path / "work",
    )
    ((batch, label),) = seen
    assert set(batch.candidates.tolist()) == set(range(PASSAGES))
    assert set(batch.queries.tolist()) == set(range(80, 80 + PASSAGES))
    for query, positive, masked in zip(batch.queries, batch.positives, label["masked"], strict=True):
        expected = {0, 1} - {int(positive)} if query == 80 else set()
        assert set(batch.candidates[masked.numpy()].tolist()) == expected
    few = plan_batches(pairs, settings.model_copy(update={"store_negatives": 0, "batch_size": 8}), 1)[0]
    hard = {(int(positive) + 1) % PASSAGES for positive in few.positives}
    assert hard - set(few.positives.tolist()), "vacuous"
    assert hard <= set(few.candidates.tolist()) | {2}
    bounded = plan_batches(pairs, settings.model_copy(update={"max_pairs": 20, "batch_size": 20}), 1)
    assert len(bounded) == 1


class Killed(Exception):
    pass


def interrupt(tiny_base: Path, work: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> Any:
    """A run that dies after `step` steps; returns the step's true computation."""
    compute = Trainer.compute_loss

    def dying(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise Killed
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "compute_loss", dying)
        with pytest.raises(Killed):
            run(encoder_on(tiny_base), work, evaluations=8)
    assert list(work.glob("checkpoint-*")), "vacuous: there is nothing to resume"
    return compute


@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """C6, bit for bit; with dropout-free heads the order of batches, Adam's moments and the schedule are the state."""
    whole = encoder_on(tiny_base)
    expected = run(whole, tmp_path / "whole", evaluations=8)
    compute = interrupt(tiny_base, tmp_path / "work", monkeypatch, step)
    resumed = encoder_on(tiny_base)
    steps = []
    monkeypatch.setattr(
        Trainer,
        "compute_loss",
        lambda self, *a, **k: steps.append(self.state.global_step) or compute(self, *a, **k),  # type: ignore[func-returns-value]
    )
    result = run(resumed, tmp_path / "work", evaluations=8)
    assert steps == list(range(step, 8)), "vacuous: it began anew"
    assert all(torch.equal(value, parameters(whole)[name]) for name, value in parameters(resumed).items())
    pd.testing.assert_frame_equal(result.curve, expected.curve)


def test_two_runs_with_one_seed_are_the_same_and_another_seed_is_not(tiny_base: Path, tmp_path: Path) -> None:
    models = []
    for place, seed in enumerate((1, 1, 2)):
        encoder = encoder_on(tiny_base)
        run(encoder, tmp_path / str(place), seed=seed, epochs=4)
        models.append(torch.cat([p.detach().flatten() for part in encoder.projection for p in part.parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def trained(base: str, work: str) -> dict[str, Any]:
    encoder = encoder_on(Path(base))
    result = run(encoder, Path(work), epochs=4)
    return {**parameters(encoder), "steps": result.curve["step"].tolist(), "losses": result.curve["loss"].tolist()[1:]}


@pytest.mark.engine
def test_a_run_on_two_processes_is_the_run_on_one(tiny_base: Path, tmp_path: Path, invariant: Invariant) -> None:
    """C5, end to end: 60 pairs in batches of 16 leave a last batch of 12."""
    alone = trained(str(tiny_base), str(tmp_path / "alone"))
    steps, losses = alone.pop("steps"), alone.pop("losses")
    for shared in run_in_processes(trained, 2, str(tiny_base), str(tmp_path / "shared")):
        assert shared.pop("steps") == steps
        found = shared.pop("losses")
        invariant("mean losses of a whole frozen run, 2 processes", max(map(relative, losses, found)), 1e-4)
        invariant("weights of a whole frozen run, 2 processes", difference(alone, shared, nought=1e-3), 1e-3)


@pytest.mark.parametrize(
    ("dtype", "has", "told"),
    [("bfloat16", False, True), ("bfloat16", True, False), ("float32", False, False), ("auto", False, False)],
)
def test_bfloat16_that_a_processor_lacks_is_told(
    dtype: Any, has: bool, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": has})
    monkeypatch.setattr("ragcun.distributed.device", lambda: torch.device("cpu"))
    warn_where_slow(dtype)
    assert ("dtype: float32" in caplog.text) == told
