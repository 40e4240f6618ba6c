"""Experiments by dvc run the stages that they change, and no other, and leave the rest as it was."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ragcun.data.benchmark import write_benchmark
from ragcun.report.comparison import WITH_ADAPT
from tests.project import DENSE, EVALUATIONS, Project, consequences, models_of, ran
from tests.tiny import tiny_benchmark


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
    output = fresh.run("dvc", "exp", "run", "-S", "finetune.strategies.smart_hybrid.projection_learning_rate=2e-1")
    assert ran(output) == consequences("smart_hybrid")
    assert {model for model in DENSE if fresh.metric(model) != before[model]} == {"smart_hybrid"}
    diff = fresh.run("dvc", "metrics", "diff", "--md")
    rows = re.findall(r"^\| (metrics\S+) +\| (\S+) +\|", diff, flags=re.MULTILINE)
    assert {path for path, _ in rows} == {"metrics/smart_hybrid/tiny.json"}
    # A row of a paper's table for each benchmark, and no more.
    assert {name for _, name in rows} <= {"ndcg@10", "dev_ndcg@10", "isoscore"}


def test_without_adapting_models_are_evaluated_again_and_nothing_more(fresh: Project) -> None:
    before = {model: fresh.metric(model) for model in DENSE}
    table = pd.read_csv(fresh.folder / "metrics/comparison.csv")
    fresh.params(evaluate__adapt=None)
    assert ran(fresh.run("dvc", "repro")) == EVALUATIONS | {"compare"}
    assert {model: fresh.metric(model) for model in DENSE} == before
    plain = pd.read_csv(fresh.folder / "metrics/comparison.csv")
    assert set(plain["model"]) == set(table["model"].str.removesuffix(WITH_ADAPT)) < set(table["model"])


def test_a_strategy_is_a_line_of_dvc_yaml_and_a_section_of_params(fresh: Project) -> None:
    line = "      mine: {init: models/pretrain, freeze_base: false, section: finetune.live}\n"
    fresh.edit("dvc.yaml", lambda text: text.replace("      smart_hybrid: {init", line + "      smart_hybrid: {init"))
    rates = {"projection_learning_rate": 1e-2, "base_learning_rate": 1e-4}
    models = yaml.safe_load((fresh.folder / "params.yaml").read_text())["evaluate"]["models"]
    fresh.params(finetune__strategies__mine=rates, evaluate__models=["mine", *models])
    assert ran(fresh.run("dvc", "repro")) == consequences("mine")
    table = pd.read_csv(fresh.folder / "metrics/comparison.csv")
    assert models_of(table) == {"bm25", "mine", *DENSE}
    curve = pd.read_csv(fresh.folder / "metrics/curves/mine.tsv", sep="\t")
    assert curve["learning_rate_base"].max() > 0


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
    output = fresh.run("dvc", "exp", "run", "-S", "finetune.strategies.full_finetune.base_learning_rate=1e-6")
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
    assert stages == {"own_files@base_model", "download@base_model", "embed_pairs@finetune", "finetune@smart_hybrid"}
    assert pd.read_csv(curve, sep="\t")["dev_ndcg@10"][0] == pytest.approx(reached, abs=1e-5)


@pytest.mark.slow
def test_a_folder_of_ones_own_is_evaluated_and_nothing_is_retrained(fresh: Project, tmp_path: Path) -> None:
    write_benchmark(tiny_benchmark("mine"), tmp_path / "mine")
    setting = ["-S", f"+data.local.mine={tmp_path / 'mine'}", "-S", "data.benchmarks=[tiny,mine]"]
    stages = ran(fresh.run("dvc", "exp", "run", *setting))
    new = {"own_benchmark@mine", "download_benchmark@mine", "embed_benchmark@mine", "evaluate_bm25@mine", "compare"}
    new |= {f"evaluate@{model}-mine" for model in DENSE}
    assert new <= stages
    # data.local is a param of all links, which stay what they are.
    assert stages - new <= {"own_benchmark@tiny", "own_files@validation"}
    table = pd.read_csv(fresh.folder / "metrics/comparison.csv")
    assert set(table["benchmark"]) == {"tiny", "mine"}
    # Without it again, the comparison and the lock are those before.
    fresh.restore_files()
    assert (fresh.folder / "data/benchmarks/mine").is_dir(), "vacuous"
    assert ran(fresh.run("dvc", "repro")) == {"compare"}
    assert not fresh.run("git", "status", "--porcelain")
