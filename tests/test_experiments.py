"""The scripts behind the published tables: what they set exists, and is allowed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from estimate.dry import plan
from estimate.inputs import overridden
from ragcun.params import Params
from tests.project import Project, ran

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("experiments/*.sh"))
LINES = [
    (script.stem, *found.groups())
    for script in SCRIPTS
    for found in re.finditer(r"^ *queue (\S+) (\S+) (.+)$", script.read_text(), flags=re.MULTILINE)
    # Those whose settings stand in the line itself; paper.sh is run, below.
    if "$" not in found.group(2) and "[@]" not in found.group(3)
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_it_is_a_script(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize(("script", "group", "name", "settings"), LINES, ids=lambda part: part)
def test_each_experiment_sets_keys_that_exist_to_values_that_they_take(
    script: str, group: str, name: str, settings: str
) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    before = Params.model_validate(raw)
    for setting in settings.split(" -- ")[0].split():
        dotted, value = setting.split("=", 1)
        *parents, last = dotted.split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        assert last in section, dotted
        section[last] = yaml.safe_load(value)
    assert Params.model_validate(raw) != before, "these are the defaults: this compares nothing"


def test_no_two_experiments_of_a_group_have_one_name() -> None:
    names = [(group, name) for _, group, name, _ in LINES]
    assert len(names) == len(set(names)) > 20


# dvc, as far as paper.sh calls it: notes its arguments; every queued experiment ends well, with one metric.
DVC = r"""#!{python}
import json, sys
arguments = sys.argv[1:]
with open("{log}", "a") as log:
    print(json.dumps(arguments), file=log)
lines = [json.loads(line) for line in open("{log}")]
names = [line[line.index("--name") + 1] for line in lines if "--queue" in line]
if arguments[:2] == ["exp", "list"]:
    print(*names, sep="\n")
if arguments[:2] == ["exp", "show"]:
    metrics = lambda score: {{"metrics/base/fiqa.json": {{"data": {{"ndcg@10": score, "isoscore": 0.25}}}}}}
    made = lambda score: {{"data": {{"metrics": metrics(score)}}}}
    runs = [{{"name": name, "executor": None, "revs": [made(0.5 + number / 10)]}} for number, name in enumerate(names)]
    print(json.dumps([{{}}, {{**made(0.1), "experiments": runs}}]))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is, as the commit of a repository of its own."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "start"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    return folder


def run(folder: Path, *command: str, first: Path | None = None) -> str:
    """What a command prints, without a network, and with the programs of `first` before all others."""
    path = os.pathsep.join([*([str(first)] if first else []), str(Path(sys.executable).parent), os.environ["PATH"]])
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **nowhere, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def queued(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The settings that paper.sh gives to dvc for two GPUs, by experiment."""
    programs = tmp_path_factory.mktemp("programs")
    log = programs / "log"
    (programs / "dvc").write_text(DVC.format(python=sys.executable, log=log))
    (programs / "dvc").chmod(0o755)
    run(copy, "bash", "experiments/paper.sh", "2", first=programs)
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert ["exp", "run", "--run-all", "--jobs", "1"] in calls
    found = {}
    for call in (call for call in calls if "--queue" in call):
        assert call[:4] == ["exp", "run", "--queue", "--name"]
        assert set(call[5::2]) == {"--set-param"}, "all of the stages"
        found[call[4]] = call[6::2]
    return found


@pytest.fixture(scope="module")
def dry(copy: Path) -> str:
    """What `paper.sh --dry 2` prints, having touched nothing."""

    def state() -> list[object]:
        files = sorted(path for path in copy.rglob("*") if ".git" not in path.relative_to(copy).parts)
        return [
            [
                (path, path.read_bytes() if path.is_file() else None)
                for path in files
                if "__pycache__" not in path.parts
            ],
            run(copy, "git", "for-each-ref"),
            run(copy, "git", "status", "--porcelain", "--ignored=no"),
        ]

    before = state()
    printed = run(copy, "bash", "experiments/paper.sh", "--dry", "2")
    assert state() == before
    return printed


def stages_of(printed: str, experiment: str) -> list[str]:
    """The stages under an experiment's heading, in order."""
    part = printed.split(f"\n{experiment} runs")[1] if f"\n{experiment} runs" in printed else printed
    part = part.split("\npaper-")[0]
    return re.findall(r"^ +\d+ (\S+): ", part, flags=re.MULTILINE)


def test_the_paper_sets_keys_that_exist_to_values_that_they_take_and_that_are_not_the_defaults(
    queued: dict[str, list[str]],
) -> None:
    default = overridden([])
    for setting in {setting: None for settings in queued.values() for setting in settings}:
        # One at a time: a key that is not there, or takes other values, is an error.
        assert overridden([setting]) != default, f"{setting} is the default"
    assert all(overridden(settings).ddp.nproc_per_node == 2 for settings in queued.values())


def test_the_paper_is_four_experiments_on_the_same_data(queued: dict[str, list[str]]) -> None:
    assert list(queued) == ["paper-seed-42", "paper-base-trains", "paper-seed-1", "paper-seed-2"]
    common, *others = queued.values()
    assert [sorted(set(other) - set(common)) for other in others] == [["freeze_base=false"], ["seed=1"], ["seed=2"]]
    made = overridden(common)
    assert (made.data.pairs, made.data.passages, made.output_dim) == ("msmarco", "wikipedia", 512)
    assert made.data.benchmarks == ["scifact", "nfcorpus", "arguana", "fiqa", "trec-covid"]


def test_the_papers_table_has_its_experiments_and_not_the_embedded_default(
    queued: dict[str, list[str]], copy: Path
) -> None:
    table = (copy / "experiments/paper.md").read_text()
    (copy / "experiments/paper.md").unlink()
    assert re.findall(r"^\| (\S+) +\| base +\| +(\S+) ", table, flags=re.MULTILINE) == [
        ("seed-2", "0.8000"),
        ("seed-1", "0.7000"),
        ("base-trains", "0.6000"),
        ("seed-42", "0.5000"),
    ]


def test_dry_prints_every_stage_after_those_it_reads_and_the_estimates(
    dry: str, queued: dict[str, list[str]], copy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(copy, folder)
    for setting in queued["paper-seed-42"]:
        assert f"    -S {setting}\n" in dry
    from dvc.utils.hydra import apply_overrides

    apply_overrides(folder / "params.yaml", queued["paper-seed-42"])
    # `dvc repro --dry` stops where the outputs before a stage are not there.
    stages = run(folder, "dvc", "stage", "list", "--name-only").split()
    edges = re.findall(r'"(.+)" -> "(.+)";', run(folder, "dvc", "dag", "--dot"))
    shown = stages_of(dry, "paper-seed-42")
    assert len(stages) == 74
    assert sorted(shown) == sorted(stages)
    assert len(edges) > 100
    assert all(shown.index(before) < shown.index(after) for before, after in edges)
    assert "paper-seed-42 runs all 74 stages" in dry
    assert "python -m stages.launch --nproc-per-node=2 -m stages.finetune smart_hybrid" in dry
    assert "ESTIMATES" in dry
    assert "| finetune@full_finetune " in dry
    assert "Time of all: " in dry


def test_the_docs_show_the_estimates_as_printed(dry: str) -> None:
    assert dry[dry.index("ESTIMATES") :] in (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def test_dry_shows_of_the_later_experiments_what_differs(dry: str) -> None:
    links = {stage for stage in stages_of(dry, "paper-seed-42") if stage.startswith("own_")}
    evaluations = {
        f"evaluate@pretrain_finetune-{name}" for name in ("scifact", "nfcorpus", "arguana", "fiqa", "trec-covid")
    }
    base_trains = set(stages_of(dry, "paper-base-trains"))
    assert base_trains == links | {"finetune@pretrain_finetune", *evaluations, "compare"}
    for seed in ("paper-seed-1", "paper-seed-2"):
        of_seed = set(stages_of(dry, seed))
        assert {"prepare_pretraining", "pretrain", "finetune@smart_hybrid", "finetune@full_finetune"} <= of_seed
        assert not any(
            stage.startswith(("download", "embed_benchmark", "evaluate_bm25", "evaluate@base")) for stage in of_seed
        )
        assert {"prepare_pairs", "embed_pairs@finetune"}.isdisjoint(of_seed)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["freeze_base=false", "seed=7"])
def test_what_a_later_experiment_is_planned_to_run_is_what_dvc_runs(
    fresh: Project, tmp_path: Path, setting: str
) -> None:
    """The premise of `--dry`, on a project whose first run is done: `dvc repro --dry` does not look beyond a stale stage."""
    shutil.copytree(fresh.folder, tmp_path / "copy", symlinks=True)
    planned = plan(tmp_path / "copy", {"first": [], "later": [setting]})["later"].steps
    printed = fresh.run("dvc", "exp", "run", "--set-param", setting)
    # Links are made anew in a queued experiment, not in the folder where they lie.
    assert {step.stage for step in planned if not step.stage.startswith("own_")} == ran(printed)
