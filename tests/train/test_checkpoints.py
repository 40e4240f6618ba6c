"""Interrupted runs, by an error or by SIGTERM, end like uninterrupted ones; damaged checkpoints are passed over."""

import json
import logging
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.train.learning_rates import Pace
from ragcun.train.resume import is_whole, latest_whole, seal
from ragcun.train.run import fit
from ragcun.train.selection import QueriesEvaluator
from ragcun.train.trainee import LiveTrainee
from ragcun.train.trainer import Trainer, TrainingResult
from tests.processes import run_in_processes
from tests.small_run import SETTINGS, TEXTS, pairs, recipe

pytestmark = pytest.mark.engine
STEPS = 8


def checkpoint(work: Path, step: int) -> Path:
    folder = work / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"moments")
    (folder / "inner/model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("damage", ["truncated", "missing", "more", "seal"])
def test_only_what_was_sealed_is_whole(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    older, newer = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert latest_whole(tmp_path) is None
    seal(older)
    seal(newer)
    assert is_whole(newer)
    assert latest_whole(tmp_path) == newer
    if damage == "truncated":
        (newer / "inner/model.safetensors").write_bytes(b"weigh")
    elif damage == "missing":
        (newer / "optimizer.pt").unlink()
    elif damage == "more":
        (newer / "other").touch()
    else:
        (newer / "files.json").write_text("{")
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert latest_whole(tmp_path) == older
    assert "checkpoint-10 is not whole" in caplog.text


class Killed(Exception):
    pass


def run(
    base: Path, work: Path, *, evaluations: int = 4, patience: int | None = None
) -> tuple[dict[str, Any], TrainingResult]:
    """A live run with dropout: its weights and what it says."""
    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=str(base), freeze_base=False, device="cpu")
    result = fit(
        LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32"),
        pairs(),
        recipe(
            SETTINGS.model_copy(update={"evaluations": evaluations, "patience": patience}),
            {"base": Pace(1e-3, "linear", 0.25), "projection": Pace(1e-2, "cosine", 0.25)},
        ),
        similarity="cosine",
        seed=3,
        work=work,
    )
    return {name: value.detach() for name, value in encoder.named_parameters()}, result


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do something in the computation of a step."""
    compute = Trainer.compute_loss

    def acting(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            action()
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "compute_loss", acting)


def in_evaluation(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do something in the middle of the evaluation of a step."""
    evaluate = QueriesEvaluator.__call__

    def acting(self: QueriesEvaluator, model: Any, output_path: None = None, epoch: float = -1, steps: int = -1) -> Any:
        if steps == step:
            action()
        return evaluate(self, model, output_path, epoch, steps)

    monkeypatch.setattr(QueriesEvaluator, "__call__", acting)


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """Lists that fill with the steps that are trained (by the number of those before) and those that are evaluated."""
    trained: list[int] = []
    evaluated: list[int] = []
    compute, evaluate = Trainer.compute_loss, QueriesEvaluator.__call__

    def training(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        trained.append(self.state.global_step)
        return compute(self, *args, **kwargs)

    def evaluating(
        self: QueriesEvaluator, model: Any, output_path: None = None, epoch: float = -1, steps: int = -1
    ) -> Any:
        evaluated.append(steps)
        return evaluate(self, model, output_path, epoch, steps)

    monkeypatch.setattr(Trainer, "compute_loss", training)
    monkeypatch.setattr(QueriesEvaluator, "__call__", evaluating)
    return trained, evaluated


def die() -> None:
    raise Killed


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def same(one: tuple[dict[str, Any], TrainingResult], other: tuple[dict[str, Any], TrainingResult]) -> None:
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())
    pd.testing.assert_frame_equal(one[1].curve, other[1].curve)
    assert (one[1].best_step, one[1].best_score) == (other[1].best_step, other[1].best_score)


@pytest.mark.parametrize("step", [3, 6])
def test_a_live_run_with_dropout_goes_on_bit_for_bit(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """C6. Checkpoints lie at every second step."""
    expected = run(tiny_base, tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_step(patch, step, die)
        with pytest.raises(Killed):
            run(tiny_base, tmp_path / "work")
    assert latest_whole(tmp_path / "work") == tmp_path / f"work/checkpoint-{step // 2 * 2}"
    same(run(tiny_base, tmp_path / "work"), expected)


def test_a_checkpoint_is_not_hashed_as_a_finished_model_is(tiny_base: Path, tmp_path: Path) -> None:
    """Other ranks write their random state to its folder while rank 0 saves the weights."""
    run(tiny_base, tmp_path / "work")
    checkpoint = latest_whole(tmp_path / "work")
    assert checkpoint is not None
    assert json.loads((checkpoint / "ragcun.json").read_text()).keys() == {"base_modules"}


def test_sigterm_saves_between_evaluations_and_the_curve_is_the_same(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tiny_base, tmp_path / "whole", evaluations=2)
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        at_step(patch, 2, sigterm)
        with pytest.raises(SystemExit) as ended:
            run(tiny_base, tmp_path / "work", evaluations=2)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert latest_whole(tmp_path / "work") == tmp_path / "work/checkpoint-3"
    same(run(tiny_base, tmp_path / "work", evaluations=2), expected)


@pytest.mark.parametrize("step", [4, STEPS])
@pytest.mark.parametrize("end", [die, sigterm])
def test_a_run_that_ends_in_an_evaluation_has_the_checkpoint_of_that_step(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, end: Callable[[], None]
) -> None:
    """C6. A kill costs the evaluation alone, which the resumed run makes; SIGTERM lets it end."""
    expected = run(tiny_base, tmp_path / "whole")
    with monkeypatch.context() as patch:
        in_evaluation(patch, step, end)
        with pytest.raises(Killed if end is die else SystemExit):
            run(tiny_base, tmp_path / "work")
    assert latest_whole(tmp_path / "work") == tmp_path / f"work/checkpoint-{step}"
    trained, evaluated = watched(monkeypatch)
    same(run(tiny_base, tmp_path / "work"), expected)
    assert trained == list(range(step, STEPS))
    assert evaluated == list(range(step if end is die else step + 2, STEPS + 1, 2))


@pytest.mark.parametrize("step", [4, STEPS])
def test_sigterm_before_an_evaluation_leaves_it_to_the_run_that_goes_on(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At the last step too: its checkpoint is all that the next run needs."""
    expected = run(tiny_base, tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_step(patch, step - 1, sigterm)
        _, evaluated = watched(patch)
        with pytest.raises(SystemExit) as ended:
            run(tiny_base, tmp_path / "work")
    assert ended.value.code == 143
    assert evaluated == list(range(0, step, 2))
    assert latest_whole(tmp_path / "work") == tmp_path / f"work/checkpoint-{step}"
    trained, evaluated = watched(monkeypatch)
    same(run(tiny_base, tmp_path / "work"), expected)
    assert trained == list(range(step, STEPS))
    assert evaluated == list(range(step, STEPS + 1, 2))


def test_a_damaged_checkpoint_costs_only_the_way_from_the_one_before(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(tiny_base, tmp_path / "whole")
    with monkeypatch.context() as patch:
        at_step(patch, 5, die)
        with pytest.raises(Killed):
            run(tiny_base, tmp_path / "work")
    damaged = tmp_path / "work/checkpoint-4/optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    steps: list[int] = []
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        at_step(patch, 2, lambda: steps.append(2))
        same(run(tiny_base, tmp_path / "work"), expected)
    assert steps == [2], "vacuous: it did not go back to the checkpoint at step 2"
    assert "checkpoint-4 is not whole" in caplog.text


def test_a_run_that_lost_its_patience_does_not_find_it_again(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores fall from the first on: two evaluations later the run ends, and a resumed one is not trained on."""
    scores = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr("ragcun.train.selection.mean_scores", lambda found: {"ndcg@10": next(scores)})
    expected = run(tiny_base, tmp_path / "work", evaluations=8, patience=2)
    assert expected[1].curve["step"].tolist() == [0, 1, 2]
    assert expected[1].best_step == 0
    # As where the process died before the model was saved.
    same(run(tiny_base, tmp_path / "work", evaluations=8, patience=2), expected)
    shutil.rmtree(tmp_path / "work")


def test_patience_that_ends_in_an_evaluation_that_was_cut_off_ends_the_run(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.8, 0.7, 0.9, 0.8, 0.7])
    monkeypatch.setattr("ragcun.train.selection.mean_scores", lambda found: {"ndcg@10": next(scores)})
    expected = run(tiny_base, tmp_path / "whole", evaluations=8, patience=2)
    with monkeypatch.context() as patch:
        in_evaluation(patch, 2, die)
        with pytest.raises(Killed):
            run(tiny_base, tmp_path / "work", evaluations=8, patience=2)
    trained, evaluated = watched(monkeypatch)
    same(run(tiny_base, tmp_path / "work", evaluations=8, patience=2), expected)
    assert (trained, evaluated) == ([], [2])


def test_without_patience_a_run_goes_to_its_end(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9 - 0.1 * number for number in range(9)])
    monkeypatch.setattr("ragcun.train.selection.mean_scores", lambda found: {"ndcg@10": next(scores)})
    assert run(tiny_base, tmp_path / "work", evaluations=8)[1].curve["step"].tolist() == list(range(STEPS + 1))


def on_each_rank(base: str, folder: str) -> dict[str, Any]:
    """A run; another that is cut off in an evaluation and goes on; and what this rank alone did in the first."""
    embedded: list[int] = []
    masks: list[torch.Tensor] = []
    vectors = LiveTrainee.vectors

    def counting(self: LiveTrainee, ids: Any, role: Any) -> Any:
        embedded.append(len(ids))
        return vectors(self, ids, role)

    def drop() -> None:
        with torch.random.fork_rng():
            masks.append(torch.nn.functional.dropout(torch.ones(64), 0.5))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveTrainee, "vectors", counting)
        at_step(patch, 0, drop)
        weights, whole = run(Path(base), Path(folder, "whole"))
    with pytest.MonkeyPatch.context() as patch:
        in_evaluation(patch, 4, die)
        with pytest.raises(Killed):
            run(Path(base), Path(folder, "work"))
    again = run(Path(base), Path(folder, "work"))
    same(again, (weights, whole))
    return {"mask": masks[0], "embedded": sum(embedded), "curve": whole.curve.to_csv(), **weights}


@pytest.mark.engine
def test_two_ranks_share_the_evaluations_drop_places_of_their_own_and_go_on_bit_for_bit(
    tiny_base: Path, tmp_path: Path
) -> None:
    one, other = run_in_processes(on_each_rank, 2, str(tiny_base), str(tmp_path))
    assert not torch.equal(one.pop("mask"), other.pop("mask"))
    # 30 passages and 8 dev queries, evaluated five times.
    assert [one.pop("embedded"), other.pop("embedded")] == [5 * (15 + 4)] * 2
    assert one.pop("curve") == other.pop("curve")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
