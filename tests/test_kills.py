"""SIGKILL to everything at a random step, then `dvc repro` again: the result is that of an uninterrupted run."""

import random

import pytest

from tests.project import ROOT, Project

pytestmark = pytest.mark.engine
KILLS = 10


def reproduce(project: Project, stage: str, killed_at: int | None = None) -> str:
    """Run a stage anew; or until everything is killed in the computation of a step (from 0)."""
    fault = {} if killed_at is None else {"FAULT": f"kill-all:0:{killed_at}", "PYTHONPATH": str(ROOT / "tests/faults")}
    command = ("dvc", "repro", "--force", "--single-item", stage)
    return project.run(*command, check=killed_at is None, environment=fault)


@pytest.mark.parametrize(
    ("stage", "model", "killed_at"),
    [
        ("finetune@full_finetune", "full_finetune", 2),
        pytest.param("pretrain", "pretrain", 4, marks=pytest.mark.slow),
    ],
)
def test_a_killed_stage_goes_on_to_the_same_model(fresh: Project, stage: str, model: str, killed_at: int) -> None:
    """The lock names the hash of every file of the model, and the curve is in git: nothing of both changes."""
    reproduce(fresh, stage, killed_at)
    assert not (fresh.folder / "models" / model).exists()
    output = reproduce(fresh, stage)
    assert "resuming from" in output, output
    assert not fresh.run("git", "status", "--porcelain")


@pytest.mark.slow
def test_ten_random_kills_change_nothing(fresh: Project) -> None:
    """Two processes, a base with dropout, 24 steps and a checkpoint every second one; most kills hit between two."""
    stage, steps = "finetune@full_finetune", 24
    fresh.params(ddp__nproc_per_node=2, finetune__live__epochs=8, finetune__live__evaluations=12)
    reproduce(fresh, stage)
    lock, curve = (fresh.folder / name for name in ("dvc.lock", "metrics/curves/full_finetune.tsv"))
    expected = lock.read_text(), curve.read_text()
    assert len(expected[1].splitlines()) == 1 + 1 + 12
    draw = random.Random(0)
    resumed = 0
    for _ in range(KILLS):
        reproduce(fresh, stage, draw.randrange(steps))
        resumed += "resuming from" in reproduce(fresh, stage)
        assert (lock.read_text(), curve.read_text()) == expected
    assert resumed > KILLS / 2
