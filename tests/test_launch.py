"""One process runs a stage itself, several are torchrun's; a mistake in params.yaml is one line either way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from stages import launch

ROOT = Path(__file__).parents[1]
# Says how it was started, and what it was given.
STAGE = """
import os, sys
from stages.launch import run_stage
if __name__ == "__main__":
    run_stage(lambda: print(os.environ.get("WORLD_SIZE"), "TORCHELASTIC_RUN_ID" in os.environ, *sys.argv[1:]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with one more stage."""
    for name in ("ragcun", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "stages/how.py").write_text(STAGE)
    return tmp_path


def start(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.launch", *arguments]
    return subprocess.run(
        command, cwd=project, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_one_process_is_this_one_whatever_another_launcher_left(project: Path) -> None:
    done = start(project, "--nproc-per-node=1", "-m", "stages.how", "a", "--b", "c", WORLD_SIZE="3", RANK="2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "None False a --b c\n", "")


def test_several_processes_are_torchruns(project: Path) -> None:
    done = start(project, "--nproc-per-node=2", "-m", "stages.how", "a", "--b", "c")
    assert (done.returncode, done.stdout) == (0, "2 True a --b c\n" * 2), done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mistake_in_params_is_one_line_before_anything_starts(project: Path, processes: int) -> None:
    (project / "params.yaml").write_text("seed: -1\n")
    (project / "stages/how.py").write_text(
        STAGE.replace("lambda: print(", "lambda: load_params() and print(").replace(
            "import os, sys\n", "import os, sys\nfrom ragcun.params import load_params\n"
        )
    )
    done = start(project, f"--nproc-per-node={processes}", "-m", "stages.how")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: params.yaml: seed")


@pytest.mark.parametrize("nodes", [(), ("--nnodes=2", "--node-rank=0", "--master-addr=head", "--master-port=1")])
def test_torchrun_gives_a_training_the_time_to_save(nodes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """It kills its processes 30 s after SIGTERM unless told."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    monkeypatch.setattr(launch, "run_stage", lambda main: None)
    launch.launch([*nodes, "--nproc-per-node=2", "-m", "stages.pretrain", "more"])
    ((python, m, torchrun, *arguments),) = started
    assert (python, m, torchrun) == (sys.executable, "-m", "torch.distributed.run")
    read = get_args_parser().parse_args(arguments)
    assert read.shutdown_timeout == launch.SHUTDOWN_TIMEOUT >= 120
    assert read.standalone == (not nodes)
    assert (read.module, read.training_script, read.training_script_args) == (True, "stages.pretrain", ["more"])


# Libraries that take a second or more to import. The stages that are not here train or encode, and need them.
HEAVY = ("torch", "sentence_transformers", "transformers", "datasets", "scipy", "sklearn", "matplotlib")
IMPORTED = {
    "own_files": set(),
    "own_benchmark": set(),
    "download": {"scipy"},
    "download_benchmark": {"scipy"},
    "prepare_pairs": {"scipy"},
    "prepare_pretraining": set(),
    "evaluate_bm25": {"scipy"},
    "evaluate": {"torch"},
    "compare": {"scipy", "matplotlib"},
}


@pytest.mark.parametrize("stage", IMPORTED)
def test_a_stage_imports_no_heavier_libraries_than_it_needs(stage: str) -> None:
    seen = f"import sys, stages.{stage}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", seen], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == IMPORTED[stage]


def test_numpy_has_one_thread_in_a_stage() -> None:
    """Beside another busy process, two made the measures of a space take seconds in place of a tenth of one."""
    seen = "import stages.launch, numpy, threadpoolctl\nprint(*(pool['num_threads'] for pool in threadpoolctl.threadpool_info()))"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", seen], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1"]
