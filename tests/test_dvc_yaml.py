"""dvc.yaml: what each stage says it depends on is what its script imports and reads."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

from stages.launch import SHUTDOWN_TIMEOUT
from tests.imports import direct_imports, transitive_imports

ROOT = Path(__file__).parents[1]
STAGES = {
    name: definition.get("do", definition)
    for name, definition in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
}
# Their values are tracked as params; the others hold no code that a stage's result could depend on.
NOT_DEPS = {
    "ragcun/params.py",
    "ragcun/param_forms.py",
    "ragcun/param_data.py",
    "ragcun/__init__.py",
    "stages/launch.py",
}


def command(stage: str) -> str:
    text: str = STAGES[stage]["cmd"]
    return text


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_transitive_imports(stage: str) -> None:
    """By file, or by room where the stage imports all of it: no stage runs again for what it does not use."""
    imports = transitive_imports(Path("stages", f"{stage}.py"), ROOT) - NOT_DEPS
    expected = {module for module in imports if not module.endswith("__init__.py")}
    named = code_deps(stage)
    assert len(named) == len(set(named))
    modules = [module for dep in named for module in modules_of(dep)]
    assert sorted(modules) == sorted(expected)


def modules_of(dep: str) -> list[str]:
    """The modules that a dep, a file or a folder, stands for."""
    if dep.endswith(".py"):
        return [dep]
    paths = (path.relative_to(ROOT).as_posix() for path in (ROOT / dep).rglob("*.py"))
    return [path for path in paths if not path.endswith("__init__.py")]


def test_what_contributors_are_told_that_a_change_runs_again_is_what_the_deps_say() -> None:
    """Each row names modules, or a room for those of its modules that have no row of their own."""
    rows = re.findall(r"^\| (`ragcun/.*) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    told = {path: stages for paths, stages in rows for path in re.findall(r"`(ragcun/[^`]+)`", paths)}
    modules = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("ragcun/**/*.py")]
    for module in set(modules) - NOT_DEPS:
        if not module.endswith("__init__.py"):
            stages = told.get(module) or told["/".join(module.split("/")[:2])]
            expected = [stage for stage in STAGES if any(module in modules_of(dep) for dep in code_deps(stage))]
            assert expected == (list(STAGES) if stages == "every stage" else re.findall(r"`(\w+)`", stages)), module


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.startswith(("ragcun", "stages"))]


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_runs_the_stages_own_script(stage: str) -> None:
    assert f"-m stages.{stage}" in command(stage)


def test_every_script_is_a_stage() -> None:
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__", "launch"}
    assert scripts == STAGES.keys()


@pytest.mark.parametrize("stage", ["embed_pairs", "embed_benchmark", "pretrain", "finetune", "evaluate"])
def test_what_trains_or_encodes_is_launched_on_as_many_processes_as_params_say(stage: str) -> None:
    start = f"python -m stages.launch --nproc-per-node=${{ddp.nproc_per_node}} -m stages.{stage}"
    assert command(stage) == start or command(stage).startswith(f"{start} ")


def test_slurm_leaves_a_training_the_time_to_save() -> None:
    """SLURM kills torchrun at the time limit, torchrun its processes after their time."""
    batch = (ROOT / "experiments/slurm.sbatch").read_text()
    (before,) = re.findall(r"^#SBATCH --signal=TERM@(\d+)$", batch, re.MULTILINE)
    assert int(before) > SHUTDOWN_TIMEOUT
    # Whatever stands between SLURM and torchrun would have to hand the signal on.
    assert re.findall(r"^exec srun .*bash -c '.*exec bash experiments/several_nodes.sh", batch, re.MULTILINE)
    script = (ROOT / "experiments/several_nodes.sh").read_text()
    assert next(line for line in script.splitlines() if "stages.launch" in line).startswith(
        "exec python -m stages.launch"
    )


def test_training_never_depends_on_a_benchmark() -> None:
    for stage in ("prepare_pairs", "prepare_pretraining", "embed_pairs", "pretrain", "finetune", "control"):
        words = [*map(str, STAGES[stage]["deps"]), *map(str, STAGES[stage].get("params", [])), command(stage)]
        assert not [word for word in words if "benchmark" in word.removeprefix("ragcun/data/benchmark.py")]


def test_the_modules_left_out_of_deps_hold_no_code() -> None:
    assert len((ROOT / "ragcun/__init__.py").read_text().splitlines()) == 1
    assert not [path for path in ROOT.glob("ragcun/*/**/__init__.py") if path.read_text()]


def test_imports_are_followed_through_packages_and_functions(tmp_path: Path) -> None:
    """The premise of the checks above."""
    files = {
        "stages/a.py": "from ragcun import b\nimport ragcun.deep.c\n",
        "ragcun/__init__.py": "",
        "ragcun/b.py": "def f():\n    from ragcun.d import x\n",
        "ragcun/d.py": "import json\n",
        "ragcun/deep/__init__.py": "",
        "ragcun/deep/c.py": "",
        "ragcun/unused.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert transitive_imports(Path("stages/a.py"), tmp_path) == files.keys() - {"ragcun/unused.py"}


# From the ground up. Imports go down, and within a floor never in a circle.
FLOORS = [
    ["core"],
    ["params", "param_forms", "param_data", "distributed", "fetch", "data", "measure"],
    ["sources", "search", "encode"],
    ["prepare", "model", "adapt"],
    ["train", "evaluate", "report"],
    ["serve"],
    ["cli"],
]


def test_imports_go_down_the_floors_and_in_no_circle() -> None:
    floor = {module: height for height, modules in enumerate(FLOORS) for module in modules}
    modules = {path.relative_to(ROOT / "ragcun").parts[0].removesuffix(".py") for path in ROOT.glob("ragcun/**/*.py")}
    assert modules - {"__init__"} == floor.keys(), "every room has its floor"
    above: dict[str, set[str]] = {module: set() for module in floor}
    for path in ROOT.glob("ragcun/**/*.py"):
        module = path.relative_to(ROOT / "ragcun").parts[0].removesuffix(".py")
        for needed in direct_imports(path, ROOT):
            other = Path(needed).relative_to("ragcun").parts[0].removesuffix(".py")
            if other not in ("__init__", module):
                assert floor[other] <= floor[module], f"{path} imports {needed}"
                above[module].add(other)
    tuple(TopologicalSorter(above).static_order())
