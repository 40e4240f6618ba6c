"""The real pipeline, by dvc, in a git copy of the project: a tiny random base model and 60 articles."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock

from ragcun.report.comparison import WITH_ADAPT
from tests import tiny_source
from tests.tiny import save_tiny_base

ROOT = Path(__file__).parents[1]
# Beside it: what the stages of its first run opened below data/ and models/, as lines of stage and path.
OPENED = "opened"
# And what that run printed.
PRINTED = "printed"
STRATEGIES = {"smart_hybrid", "full_finetune", "pretrain_finetune"}
CONTROLS = {"untrained", "random_projection"}
DENSE = {"base", "pretrain", *STRATEGIES, *CONTROLS}
TRAININGS = {f"finetune@{name}" for name in STRATEGIES}
EVALUATIONS = {f"evaluate@{model}-tiny" for model in DENSE}
EMBEDDINGS = {"embed_pairs@finetune", "embed_pairs@pretrain", "embed_benchmark@tiny"}
STARTS = TRAININGS | {"pretrain"} | {f"control@{name}" for name in CONTROLS}


# Params of trainings of a few steps.
SMALL_RUNS: dict[str, Any] = {
    # Compiling the model would take longer than its few texts.
    "embed__engine": "torch",
    "data__mined_negatives": 2,
    "finetune__shared__batch_size": 16,
    "finetune__shared__epochs": 2,
    "finetune__shared__store_negatives": 8,
    "finetune__shared__negatives": 1,
    "finetune__shared__isotropy_weight": 0.1,
    "finetune__shared__isotropy_directions": 8,
    "finetune__shared__evaluations": 2,
    "finetune__live__max_pairs": 20,
    "finetune__live__batch_size": 8,
    "finetune__live__max_length": 16,
    "finetune__live__dev_passages": 30,
    "pretrain__num_pairs": 40,
    "pretrain__batch_size": 8,
    "pretrain__epochs": 1,
    "pretrain__store_negatives": 4,
    "pretrain__evaluations": 2,
    "evaluate__permutations": 100,
}


def consequences(*strategies: str) -> set[str]:
    """The stages after these strategies' trainings, and those."""
    stages = {stage for name in strategies for stage in (f"finetune@{name}", f"evaluate@{name}-tiny")}
    return stages | {"compare"}


def models_of(table: pd.DataFrame) -> set[str]:
    """The models of a comparison, adapted or not, without BM25 combined with them."""
    return set(table["model"][~is_fused(table)].str.removesuffix(WITH_ADAPT))


def is_fused(table: pd.DataFrame) -> pd.Series:
    """Which rows are of BM25 combined with a model."""
    return table["model"].str.startswith("bm25 + ")


def ran(output: str) -> set[str]:
    """The stages that dvc says it runs."""
    return set(re.findall(r"Running stage '([^']+)'", output))


class Project:
    """A copy of the project, and a shell in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "RAGCUN_CACHE": str(folder.parent / "cache"),
            "HF_HUB_OFFLINE": "1",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@localhost",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@localhost",
        }

    def run(self, *command: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        """Run a command; what it printed. A failure is an assertion error with all of it."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A process group of its own: some tests kill it.
            start_new_session=True,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        assert check or done.returncode != 0, f"{' '.join(command)} should fail\n{done.stdout}"
        return done.stdout

    def stale(self) -> set[str]:
        """The stages that `dvc repro` would run."""
        return ran(self.run("dvc", "repro", "--dry"))

    def edit(self, path: str, change: Any) -> None:
        file = self.folder / path
        file.write_text(change(file.read_text()))

    def params(self, **changes: Any) -> None:
        """Set params by dotted key, with `__` for the dot."""

        def change(text: str) -> str:
            raw = yaml.safe_load(text)
            for dotted, value in changes.items():
                *parents, last = dotted.split("__")
                section = raw
                for parent in parents:
                    section = section[parent]
                section[last] = value
            return yaml.safe_dump(raw, sort_keys=False)

        self.edit("params.yaml", change)

    def restore_files(self) -> None:
        """Params, code and metrics as committed."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("git", "clean", "--quiet", "-fd")

    def commit(self, message: str) -> None:
        self.run("git", "add", ".")
        self.run("git", "commit", "--quiet", "-m", message)

    def metric(self, model: str, benchmark: str = "tiny") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics" / model / f"{benchmark}.json").read_text())
        return found


def copy_of_first_run(shared: Path, folder: Path) -> Project:
    """The project with tiny params, run once and committed, in `folder`; the run itself is made once, in `shared`.

    Args:
        shared: a folder that all test workers see.
    """
    with FileLock(shared / "project.lock"):
        if not (shared / "project.done").exists():
            first_run(shared / "project" / "copy")
            (shared / "project.done").touch()
    shutil.copytree(shared / "project", folder, symlinks=True)
    return Project(folder / "copy")


def first_run(folder: Path) -> None:
    """Copy the project, give it tiny params, run it and commit."""
    project = copied(folder)
    shutil.copy(tiny_source.__file__, folder / "ragcun/sources/tiny.py")
    project.edit("ragcun/sources/registry.py", register_tiny)
    project.params(
        **SMALL_RUNS,
        base_model=str(save_tiny_base(folder.parent / "base")),
        data__passages="tiny",
        data__pairs="tiny",
        data__benchmarks=["tiny"],
    )
    project.commit("start")
    audit = {"PYTHONPATH": str(ROOT / "tests/audit"), "OPENED_FILES": str(folder.parent / OPENED)}
    (folder.parent / PRINTED).write_text(project.run("dvc", "repro", environment=audit))
    project.commit("first results")


def copied(folder: Path) -> Project:
    """A copy of the project as it lies here, without results, in a git repository with no commit yet."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "data/own/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.run("git", "init", "--quiet")
    return project


def register_tiny(registry: str) -> str:
    """Add the tiny source to ragcun/sources/registry.py as its docstring says: a line in each registry."""
    text = registry.replace("\n_PASSAGES:", "\nfrom ragcun.sources.tiny import Tiny\n\n_PASSAGES:")
    for name in ("_PASSAGES", "_PAIRS", "_BENCHMARKS"):
        text, count = re.subn(rf"(\n{name}: .* = {{)", r'\1"tiny": lambda data: Tiny(), ', text)
        assert count == 1, name
    return text
