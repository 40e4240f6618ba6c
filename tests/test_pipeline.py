"""The real pipeline, by dvc, in a git copy of the project: a tiny random base model and 60 articles."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ragcun.benchmark import write_benchmark
from ragcun.pairs import read_pairs
from tests import tiny_source
from tests.tiny import save_tiny_base, tiny_benchmark

ROOT = Path(__file__).parents[1]


class Project:
    """A copy of the project, and a shell in it."""

    # What the stages of its first run opened below data/ and models/: lines of stage and path.
    opened: Path

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        scripts = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "RAGCUN_CACHE": str(cache),
            "HF_HUB_OFFLINE": "1",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@localhost",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@localhost",
        }

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command; what it printed. A failure is an assertion error with all of it."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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

    def metric(self, model: str, benchmark: str = "tiny") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics" / model / f"{benchmark}.json").read_text())
        return found


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


STRATEGIES = {"smart_hybrid", "full_finetune", "pretrain_finetune"}
CONTROLS = {"untrained", "random_projection"}
DENSE = {"base", "pretrain", *STRATEGIES, *CONTROLS}


def consequences(*strategies: str) -> set[str]:
    """The stages after these strategies' trainings, and those."""
    stages = {stage for name in strategies for stage in (f"finetune@{name}", f"evaluate@{name}-tiny")}
    return stages | {"compare"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy with tiny params, run once and committed."""
    folder = tmp_path_factory.mktemp("project") / "copy"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("metrics/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder, tmp_path_factory.mktemp("cache"))
    shutil.copy(tiny_source.__file__, folder / "ragcun/sources/tiny.py")
    project.edit("ragcun/sources/__init__.py", register_tiny)
    base = save_tiny_base(tmp_path_factory.mktemp("base") / "tiny")
    project.params(
        base_model=str(base),
        data__passages="tiny",
        data__pairs="tiny",
        data__benchmarks=["tiny"],
        data__mined_negatives=2,
        finetune__shared__batch_size=16,
        finetune__shared__epochs=2,
        finetune__shared__store_negatives=8,
        finetune__shared__negatives=1,
        finetune__shared__isotropy_weight=0.1,
        finetune__shared__isotropy_directions=8,
        finetune__shared__evaluations=2,
        finetune__live__max_pairs=20,
        finetune__live__batch_size=8,
        finetune__live__max_length=16,
        finetune__live__dev_passages=30,
        pretrain__num_pairs=40,
        pretrain__batch_size=8,
        pretrain__epochs=1,
        pretrain__store_negatives=4,
        pretrain__evaluations=1,
        evaluate__permutations=100,
    )
    project.run("git", "init", "--quiet")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "-m", "start")
    plain = project.environment
    project.opened = tmp_path_factory.mktemp("opened") / "files"
    project.environment = {**plain, "PYTHONPATH": str(ROOT / "tests/audit"), "OPENED_FILES": str(project.opened)}
    project.run("dvc", "repro")
    project.environment = plain
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "-m", "first results")
    return project


def register_tiny(registry: str) -> str:
    """Add the tiny source to ragcun/sources/__init__.py as its docstring says: a line in each registry."""
    text = registry.replace("\n_PASSAGES:", "\nfrom ragcun.sources.tiny import Tiny\n\n_PASSAGES:")
    for name, key in (("_PASSAGES", "tiny"), ("_PAIRS", "tiny"), ("_BENCHMARKS", "tiny")):
        text, count = re.subn(rf"(\n{name}: .* = {{)", rf'\1"{key}": Tiny, ', text)
        assert count == 1, name
    return text


@pytest.fixture
def edited(project: Project) -> Iterator[Project]:
    """The project as committed, to edit but not to run; as committed again afterwards."""
    yield project
    project.restore_files()


@pytest.fixture
def fresh(edited: Project) -> Iterator[Project]:
    """The project as committed, to run; it and its outputs as committed again afterwards."""
    yield edited
    edited.restore_files()
    edited.run("dvc", "checkout", "--quiet", "--force")


def test_the_chain_runs_from_nothing_to_the_comparison(project: Project) -> None:
    table = pd.read_csv(project.folder / "metrics/comparison.csv")
    assert set(table["model"]) == {"bm25", *DENSE}
    for model in table["model"].unique():
        row = table[(table["model"] == model) & (table["split"] == "test")].iloc[0]
        assert row["ndcg@10"] == pytest.approx(project.metric(model)["ndcg@10"], abs=1e-6)
    assert set(project.metric("base")) == {
        *("ndcg@10", "map@100", "recall@100", "p@10", "mrr@10"),
        *("isotropy", "dev"),
    }
    assert set(project.metric("bm25")) == {"ndcg@10", "map@100", "recall@100", "p@10", "mrr@10", "dev"}
    curve = pd.read_csv(project.folder / "metrics/curves/smart_hybrid.tsv", sep="\t")
    assert curve["step"].iloc[0] == 0
    assert len(curve) == 3


def test_only_metrics_and_the_lock_are_left_for_git(project: Project) -> None:
    committed = project.run("git", "show", "--name-only", "--format=", "HEAD").split()
    assert {name.split("/")[0] for name in committed} == {"metrics", "dvc.lock"}
    assert not project.run("git", "status", "--porcelain")


def test_stages_open_only_what_they_declare(project: Project) -> None:
    """What a stage reads and dvc.yaml does not name would not make it stale."""
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    opened = {tuple(line.split("\t")) for line in project.opened.read_text().splitlines()}
    assert {stage for stage, _ in opened} >= TRAININGS | EVALUATIONS | {"pretrain", "compare", "prepare_pretraining"}
    undeclared = {
        (stage, path)
        for stage, path in opened
        if not any(
            path == entry["path"] or path.startswith(f"{entry['path']}/")
            for kind in ("deps", "outs")
            for entry in lock[stage].get(kind, [])
        )
    }
    assert not undeclared


def test_a_second_run_runs_nothing(project: Project) -> None:
    output = project.run("dvc", "repro")
    assert not ran(output)
    assert "Data and pipelines are up to date" in output


def test_nothing_that_the_pairs_test_asks_for_is_in_the_pairs(project: Project) -> None:
    """C8, on a source that leaks its test articles as passages and as another query's answer."""
    pairs = read_pairs(project.folder / "data/pairs/finetune")
    source = tiny_source.Tiny()
    held_out = {pair.positive for pair in source.pairs() if pair.split == "test"}
    leaked = {p.title + " " + p.text for p in source.passages()} | {
        pair.positive for pair in source.pairs() if pair.split == "train"
    }
    assert held_out & leaked, "vacuous"
    assert not held_out & set(pairs.texts["text"])
    made = read_pairs(project.folder / "data/pairs/pretrain")
    assert made.report["passages"] == len(pairs.train_passage_ids) > 0
    dev = set(pairs.texts["text"].iloc[pairs.dev["positive"]])
    assert dev
    assert not dev & set(pairs.texts["text"].iloc[pairs.train_passage_ids])
    assert pairs.report["test"]["documents_found_in_training_and_removed"] > 0


TRAININGS = {f"finetune@{name}" for name in STRATEGIES}
EVALUATIONS = {f"evaluate@{model}-tiny" for model in DENSE}
STARTS = TRAININGS | {"pretrain"} | {f"control@{name}" for name in CONTROLS}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"finetune__smart_hybrid__projection_learning_rate": 0.5}, {"finetune@smart_hybrid"}),
        ({"finetune__full_finetune__base_learning_rate": 0.5}, {"finetune@full_finetune"}),
        ({"finetune__pretrain_finetune__projection_learning_rate": 0.5}, {"finetune@pretrain_finetune"}),
        ({"finetune__live__epochs": 2}, {"finetune@full_finetune", "finetune@pretrain_finetune"}),
        ({"finetune__shared__temperature": 0.5}, TRAININGS),
        ({"pretrain__temperature": 0.5}, {"pretrain"}),
        ({"pretrain__num_pairs": 41}, {"prepare_pretraining", "pretrain"}),
        ({"whitening": 0.1}, STARTS),
        ({"freeze_base": False}, {"finetune@pretrain_finetune"}),
        ({"data__mined_negatives": 3}, {"prepare_pairs"}),
        ({"evaluate__permutations": 101}, {"compare"}),
        ({"evaluate__top_k": 1001}, {"evaluate_bm25@tiny"} | EVALUATIONS),
    ],
)
def test_a_param_makes_stale_what_it_decides(edited: Project, changes: dict[str, Any], expected: set[str]) -> None:
    """What follows from those is seen by the real runs below: it depends on whether their outputs change."""
    edited.params(**changes)
    assert edited.stale() == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("ragcun/report.py", {"compare"}),
        ("ragcun/losses.py", TRAININGS | {"pretrain"}),
        ("ragcun/start.py", STARTS),
        ("ragcun/unsupervised.py", {"prepare_pretraining"}),
        ("ragcun/lexical.py", {"evaluate_bm25@tiny"}),
        ("ragcun/retrieval.py", TRAININGS | EVALUATIONS | {"pretrain"}),
        ("ragcun/prepare.py", {"prepare_pairs"}),
        ("ragcun/params.py", set()),
    ],
)
def test_a_comment_in_a_module_makes_stale_the_stages_that_import_it(
    edited: Project, module: str, expected: set[str]
) -> None:
    edited.edit(module, lambda text: text + "# a comment\n")
    assert edited.stale() == expected


@pytest.mark.slow
def test_other_negatives_train_only_the_strategies(fresh: Project) -> None:
    fresh.params(data__mined_negatives=3)
    assert ran(fresh.run("dvc", "repro", "finetune@smart_hybrid", "control@untrained", "pretrain")) == {
        "prepare_pairs",
        "finetune@smart_hybrid",
    }


def test_a_comment_before_training_trains_nothing(fresh: Project) -> None:
    fresh.edit("stages/prepare_pairs.py", lambda text: text + "# a comment\n")
    assert ran(fresh.run("dvc", "repro")) == {"prepare_pairs"}


def test_an_experiment_changes_its_strategy_and_the_diff_shows_it(fresh: Project) -> None:
    before = {model: fresh.metric(model) for model in DENSE}
    output = fresh.run("dvc", "exp", "run", "-S", "finetune.smart_hybrid.projection_learning_rate=2e-1")
    assert ran(output) == consequences("smart_hybrid")
    assert {model for model in DENSE if fresh.metric(model) != before[model]} == {"smart_hybrid"}
    diff = fresh.run("dvc", "metrics", "diff", "--md")
    changed = {line.split("|")[1].strip() for line in diff.splitlines() if line.startswith("| metrics")}
    assert changed == {"metrics/smart_hybrid/tiny.json"}


def test_the_freezing_switch_reruns_one_strategy_and_in_a_copy_too(fresh: Project) -> None:
    """C1, by `--temp`: it copies what git sees; outputs and the row cache are found, and the working tree stays."""
    output = fresh.run("dvc", "exp", "run", "--temp", "--name", "apart", "-S", "freeze_base=false")
    assert ran(output) == consequences("pretrain_finetune")
    assert not fresh.run("git", "status", "--porcelain")
    (revision,) = re.findall(r"(\w+) \[apart\]", fresh.run("dvc", "exp", "list"))
    curve = fresh.run("git", "show", f"{revision}:metrics/curves/pretrain_finetune.tsv")
    assert "learning_rate_base" in curve.splitlines()[0]
    fresh.run("dvc", "exp", "remove", "apart")


@pytest.mark.slow
def test_a_rate_of_the_base_reruns_its_strategy(fresh: Project) -> None:
    output = fresh.run("dvc", "exp", "run", "-S", "finetune.full_finetune.base_learning_rate=1e-6")
    assert ran(output) == consequences("full_finetune")


@pytest.mark.slow
def test_other_pretraining_pairs_train_only_what_they_pretrain(fresh: Project) -> None:
    output = fresh.run("dvc", "exp", "run", "-S", "pretrain.pairs=title_body")
    prepared = {"prepare_pretraining", "embed_pairs@pretrain", "pretrain", "evaluate@pretrain-tiny"}
    assert ran(output) == consequences("pretrain_finetune") | prepared


@pytest.mark.slow
def test_a_model_trained_earlier_is_a_base_to_go_on_from(fresh: Project, tmp_path: Path) -> None:
    earlier = shutil.copytree(fresh.folder / "models/smart_hybrid", tmp_path / "earlier")
    curve = fresh.folder / "metrics/curves/smart_hybrid.tsv"
    reached = pd.read_csv(curve, sep="\t")["dev_ndcg@10"].max()
    fresh.params(base_model=str(earlier))
    stages = ran(fresh.run("dvc", "repro", "finetune@smart_hybrid"))
    assert stages == {"download@base_model", "embed_pairs@finetune", "finetune@smart_hybrid"}
    assert pd.read_csv(curve, sep="\t")["dev_ndcg@10"][0] == pytest.approx(reached, abs=1e-5)


def test_a_folder_of_ones_own_is_evaluated_and_nothing_is_retrained(fresh: Project, tmp_path: Path) -> None:
    write_benchmark(tiny_benchmark("mine"), tmp_path / "mine")
    setting = ["-S", f"+data.local.mine={tmp_path / 'mine'}", "-S", "data.benchmarks=[tiny,mine]"]
    stages = ran(fresh.run("dvc", "exp", "run", *setting))
    new = {"download_benchmark@mine", "embed_benchmark@mine", "evaluate_bm25@mine", "compare"}
    new |= {f"evaluate@{model}-mine" for model in DENSE}
    assert new <= stages
    # data.local is a param of every benchmark's download: it runs again, and its output is the same.
    assert stages - new <= {"download_benchmark@tiny"}
    table = pd.read_csv(fresh.folder / "metrics/comparison.csv")
    assert set(table["benchmark"]) == {"tiny", "mine"}


def test_a_clone_that_pulls_has_nothing_to_do(project: Project, tmp_path: Path) -> None:
    remote = ("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    project.run(*remote)
    project.run("dvc", "push")
    project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone", tmp_path / "cache")
    clone.run(*remote)
    assert not (clone.folder / "models").exists()
    clone.run("dvc", "pull")
    output = clone.run("dvc", "repro")
    assert not ran(output)
    assert "Data and pipelines are up to date" in output
    assert (clone.folder / "models/smart_hybrid/modules.json").is_file()
    project.run("dvc", "remote", "remove", "--local", "shared")


@pytest.mark.parametrize(
    ("changes", "stage", "words"),
    [
        ({"whitening": 7}, "finetune@smart_hybrid", "whitening: Input should be less than or equal to 1"),
        ({"finetune__shared__batch_size": 999}, "finetune@smart_hybrid", "batch_size is 999"),
        ({"ddp__nproc_per_node": 0}, "embed_pairs@finetune", "ddp.nproc_per_node"),
        ({"base_model": "./nowhere"}, "download@base_model", "does not exist"),
    ],
)
def test_a_mistake_ends_the_stage_with_its_cause_and_leaves_nothing(
    fresh: Project, changes: dict[str, Any], stage: str, words: str
) -> None:
    fresh.params(**changes)
    output = fresh.run("dvc", "repro", "--single-item", stage, check=False)
    assert f"failed to reproduce '{stage}'" in output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not list(fresh.folder.rglob("*.partial"))
    out = {"finetune@smart_hybrid": "models/smart_hybrid", "embed_pairs@finetune": "data/embeddings/pairs/finetune"}
    assert not (fresh.folder / out.get(stage, "models/base")).exists()
