"""Training over several nodes, each a torchrun of its own on this machine, by the scripts of experiments/."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.invariants import Invariant, deciding, difference
from tests.tiny import save_tiny_base
from tests.training_folder import FULL, Running, TrainingFolder

pytestmark = pytest.mark.engine
SCRIPT = ("bash", "experiments/several_nodes.sh", *FULL)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, of which each process draws its own."""
    return save_tiny_base(tmp_path_factory.mktemp("base") / "tiny", dropout=0)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, base: Path) -> TrainingFolder:
    """Trained by one process."""
    training = TrainingFolder(tmp_path_factory.mktemp("alone") / "project", base)
    ended = training.train()
    assert ended.wait() == 0, ended.output
    assert best_step(training) > 0, "vacuous: the model is the one it began with"
    return training


def head() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def listening(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def wait_for(condition: Callable[[], object], running: Running) -> None:
    while not condition():
        assert running.process.poll() is None, running.output
        time.sleep(0.1)


def best_step(training: TrainingFolder) -> int:
    curve = pd.read_csv(training.folder / "metrics/curves/full_finetune.tsv", sep="\t")
    return int(curve.loc[curve["dev_ndcg@10"].idxmax(), "step"])


def weights(training: TrainingFolder) -> dict[str, Tensor]:
    return deciding(
        {
            f"{path.parent.name} {name}": tensor
            for path in training.model.rglob("*.safetensors")
            for name, tensor in load_file(path).items()
        }
    )


def compared(alone: TrainingFolder, training: TrainingFolder, invariant: Invariant, how: str) -> None:
    seen = difference(weights(alone), weights(training), nought=1e-3)
    invariant(f"weights of a whole live run, {how}", seen, 1e-3)


def test_two_nodes_train_what_one_process_does(
    alone: TrainingFolder, base: Path, tmp_path: Path, invariant: Invariant
) -> None:
    training = TrainingFolder(tmp_path / "project", base)
    where = {"NNODES": "2", "HEAD": head(), "NPROC": "1"}
    nodes = [training.begin(*SCRIPT, **where, NODE_RANK=str(rank)) for rank in range(2)]
    for node in nodes:
        assert node.wait() == 0, node.output
    compared(alone, training, invariant, "two nodes")


@pytest.mark.slow
def test_a_node_that_is_lost_leaves_the_run_to_the_other(
    alone: TrainingFolder, base: Path, tmp_path: Path, invariant: Invariant
) -> None:
    """Elastic: what is left goes on from the last checkpoint, with another world size."""
    training = TrainingFolder(tmp_path / "project", base, ddp={"nproc_per_node": 1, "timeout": 20})
    where = {"NNODES": "1:2", "HEAD": head(), "NPROC": "1", "RUN_ID": "elastic", "FAULT": "slow:0:0"}
    first = training.begin(*SCRIPT, **where)
    # The first node is where the others meet.
    wait_for(lambda: listening(where["HEAD"]), first)
    second = training.begin(*SCRIPT, **where)
    wait_for(lambda: list(training.folder.glob("cache/checkpoints/*/checkpoint-*/files.json")), first)
    second.kill()
    assert first.wait() == 0, first.output
    assert "resuming from" in first.output
    compared(alone, training, invariant, "elastic, a node lost")


@pytest.mark.slow
def test_the_slurm_script_starts_a_node_for_each_task(base: Path, tmp_path: Path) -> None:
    """With stand-ins for SLURM's commands that start two tasks on this machine."""
    training = TrainingFolder(tmp_path / "project", base)
    commands = tmp_path / "bin"
    commands.mkdir()
    address, port = head().split(":")
    (commands / "scontrol").write_text(f"#!/bin/sh\nprintf '{address}\\nother\\n'\n")
    (commands / "srun").write_text(
        '#!/bin/sh\nshift\nSLURM_NODEID=0 "$@" & first=$!\nSLURM_NODEID=1 "$@" & second=$!\nwait $first && wait $second\n'
    )
    for command in commands.iterdir():
        command.chmod(0o755)
    slurm = {
        "SLURM_SUBMIT_DIR": str(training.folder),
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "nodes",
        "PORT": port,
        "NPROC": "1",
        "PATH": f"{commands}{os.pathsep}{training.environment()['PATH']}",
    }
    job = training.begin("bash", "experiments/slurm.sbatch", *FULL, **slurm)
    assert job.wait() == 0, job.output
    assert training.model.is_dir(), job.output
