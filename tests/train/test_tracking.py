"""Trackers are told what the curve is, by the main process, and one that is not installed is an error."""

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from ragcun.core.errors import RagcunError
from ragcun.params import Tracking
from ragcun.train import tracking
from ragcun.train.tracking import trackers
from tests.processes import run_in_processes
from tests.train.test_fit import encoder_on
from tests.train.test_fit import run as run_training

pytestmark = pytest.mark.engine


class Recorder(TrainerCallback):
    """In the place of a tracker's own callback."""

    def __init__(self, **kwargs: Any) -> None:
        self.logged: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logged.append({"step": state.global_step, **logs})


def test_none_is_the_default_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers(Tracking(report_to=[]), "run") == []
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(RagcunError, match="wandb, which is not installed: pip install wandb"):
        trackers(Tracking(report_to=["wandb"]), "run")


def named_on_each_rank() -> int:
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        return len(trackers(Tracking(report_to=["mlflow"]), "run"))


def stand_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tracking, "find_spec", lambda name: object())
    patch.setattr(tracking, "get_reporting_integration_callbacks", lambda names: [Recorder for _ in names])
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_only_the_main_process_tracks() -> None:
    assert run_in_processes(named_on_each_rank, 2) == [1, 0]


def test_a_tracker_is_told_every_logged_figure(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unused")
    (recorder,) = trackers(Tracking(report_to=["mlflow"]), "run")
    assert isinstance(recorder, Recorder)
    curve = run_training(encoder_on(tiny_base), tmp_path, callbacks=[recorder]).curve
    told = {(entry["step"], name): value for entry in recorder.logged for name, value in entry.items()}
    for row in curve.to_dict("records"):
        assert told[row["step"], "eval_dev_ndcg@10"] == row["dev_ndcg@10"]
        assert told[row["step"], "learning_rate_projection"] == row["learning_rate_projection"]
        if row["step"]:
            assert told[row["step"], "loss"] == row["loss"]
