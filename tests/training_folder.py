"""A folder in which the real training stages run as the pipeline runs them, on tiny inputs: for tests of processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.inputs import tiny_params, write_inputs

ROOT = Path(__file__).parents[1]
FULL = ("finetune", "full_finetune", "--init", "models/base", "--freeze-base", "false")


class TrainingFolder:
    """The project's scripts, tiny params, a base model, pairs and their vectors."""

    def __init__(self, folder: Path, base: Path, **top: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("ragcun", "stages", "experiments"):
            (folder / name).symlink_to(ROOT / name)
        inputs = write_inputs(folder.parent / f"{folder.name}-inputs", base)
        (folder / "data/embeddings").mkdir(parents=True)
        shutil.move(inputs / "pairs", folder / "data/pairs")
        shutil.move(inputs / "store", folder / "data/embeddings/pairs")
        shutil.move(inputs / "validation", folder / "data/validation")
        shutil.copytree(base, folder / "models/base")
        raw = tiny_params().model_dump(mode="json")
        raw["finetune"]["live"] |= {"evaluations": 4}
        # High, so that eight steps improve the model, and the last one is the best.
        raw["finetune"]["strategies"]["full_finetune"] |= {"projection_learning_rate": 1e-2, "base_learning_rate": 1e-3}
        (folder / "params.yaml").write_text(yaml.safe_dump(raw | top))

    @property
    def model(self) -> Path:
        return self.folder / "models/full_finetune"

    @property
    def outputs(self) -> list[Path]:
        """What training has published, or left beside."""
        return [
            path for path in (*self.folder.glob("models/*"), *self.folder.glob("metrics/**/*.*")) if path.name != "base"
        ]

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT / "tests/faults"), str(self.folder)])
        own = {"PYTHONPATH": path, "RAGCUN_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1"}
        own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **own, **more}

    def begin(self, *command: str, **environment: str) -> "Running":
        """Start a command in a process group of its own."""
        # A file, for a pipe that nobody reads would fill and stop the process.
        log = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        with log.open("w") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(**environment),
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(process, log)

    def train(self, *command: str, processes: int = 1, **environment: str) -> "Running":
        """Run a training stage to its end."""
        stage, *arguments = command or FULL
        launch = ("python", "-m", "stages.launch", f"--nproc-per-node={processes}", "-m", f"stages.{stage}")
        running = self.begin(*launch, *arguments, **environment)
        running.wait()
        return running


@dataclass
class Running:
    """A command under way."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return self.log.read_text()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=300)

    def kill(self) -> None:
        """SIGKILL to its whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)
