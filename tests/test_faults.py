"""A rank that fails, hangs, or is killed ends the stage soon, with its cause named and no output left behind."""

import time
from pathlib import Path

import pytest

from tests.training_folder import TrainingFolder

pytestmark = pytest.mark.engine


@pytest.fixture
def training(tmp_path: Path, tiny_base: Path) -> TrainingFolder:
    return TrainingFolder(tmp_path / "project", tiny_base, ddp={"nproc_per_node": 2, "timeout": 10})


@pytest.mark.parametrize(
    ("fault", "causes"),
    [
        ("raise:1:3", ["ZeroDivisionError: injected", "rank      : 1"]),
        ("late:1:0", ["ZeroDivisionError: injected late", "rank      : 1"]),
        ("kill:1:3", ["rank      : 1", "Signal 9 (SIGKILL) received"]),
        pytest.param("hang:1:3", ["error: rank 0 waited for another process for 10 s"], marks=pytest.mark.slow),
        ("nan:1:5", ["error: the loss is nan at step 6, with learning rates base", "checkpoint-4"]),
    ],
)
def test_one_rank_ends_the_stage_with_its_cause(training: TrainingFolder, fault: str, causes: list[str]) -> None:
    began = time.monotonic()
    ended = training.train(processes=2, FAULT=fault)
    assert ended.wait() != 0
    assert time.monotonic() - began < 60 + 10
    for cause in causes:
        assert cause in ended.output, ended.output
    assert not training.outputs


def test_sigterm_to_one_rank_saves_a_checkpoint_and_the_next_run_goes_on(training: TrainingFolder) -> None:
    ended = training.train(processes=2, FAULT="term:1:2")
    assert ended.wait() != 0
    assert "stopped by SIGTERM after step 3" in ended.output, ended.output
    assert not training.outputs
    ended = training.train(processes=2)
    assert ended.wait() == 0, ended.output
    assert "checkpoint-3" in ended.output.partition("resuming from")[2]
    assert training.model.is_dir()
