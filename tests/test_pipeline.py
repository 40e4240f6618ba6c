"""The whole chain from nothing, what makes which stage stale, and what a mistake leaves behind."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ragcun.data.pairs import read_pairs
from ragcun.report.comparison import WITH_ADAPT
from ragcun.sources.source_report import SourceReport
from tests import tiny_source
from tests.project import (
    CONTROLS,
    DENSE,
    EMBEDDINGS,
    EVALUATIONS,
    OPENED,
    PRINTED,
    STARTS,
    TRAININGS,
    Project,
    is_fused,
    models_of,
    ran,
)

# Measures of a space of so few texts: eight of documents and of queries, and two of both together.
SPACE = 8 + 8 + 2
# What a dense model costs: trained parameters, and bytes of a vector.
COSTS = 2


def test_the_chain_runs_from_nothing_to_the_comparison(project: Project) -> None:
    table = pd.read_csv(project.folder / "metrics/comparison.csv")
    assert models_of(table) == {"bm25", *DENSE}
    for model in ("bm25", *DENSE):
        row = table[(table["model"] == model) & (table["split"] == "test")].iloc[0]
        assert row["ndcg@10"] == pytest.approx(project.metric(model)["ndcg@10"], abs=1e-6)
    assert set(project.metric("base")) == {"ndcg@10", "dev_ndcg@10", "isoscore"}
    assert set(project.metric("bm25")) == {"ndcg@10", "dev_ndcg@10"}
    measures = pd.read_csv(project.folder / "metrics/measures.csv")
    adapted, combined = measures["model"].str.endswith(WITH_ADAPT), is_fused(measures)
    assert (~adapted & ~combined).sum() == 2 * 5 * len({"bm25", *DENSE}) + (SPACE + COSTS) * len(DENSE)
    fused = len(DENSE - CONTROLS)
    assert combined.sum() == fused * (2 * 2 * 5 + 1), "two combinations, and the weight of one"
    assert table["model"][is_fused(table)].nunique() == 2 * fused
    trained = measures[measures["measure"] == "trained_parameters"].groupby("model")["value"].first()
    assert trained["base"] == trained["untrained"] == 0 < trained["smart_hybrid"] < trained["full_finetune"]
    compression = pd.read_csv(project.folder / "metrics/compression.csv")
    assert models_of(compression) == DENSE
    whole = compression[compression["format"] == "float32"].groupby("model").first()
    for model in DENSE:
        assert whole.loc[model, "ndcg@10"] == pytest.approx(project.metric(model)["ndcg@10"], abs=1e-5)
    curve = pd.read_csv(project.folder / "metrics/curves/smart_hybrid.tsv", sep="\t")
    assert curve["step"].iloc[0] == 0
    assert len(curve) == 3


def test_each_dense_model_is_adapted_to_the_benchmark_or_left_alone(project: Project) -> None:
    measures = pd.read_csv(project.folder / "metrics/measures.csv")
    adapted = measures[measures["model"].str.endswith(WITH_ADAPT)]
    assert models_of(adapted) == DENSE
    figures = adapted[adapted["split"] == "adaptation"].pivot_table(index="model", columns="measure", values="value")
    assert len(adapted) == (2 * 5 + SPACE + COSTS + 4) * len(DENSE)
    isotropic = figures["isoscore_before"] >= 0.3
    assert (figures["left_alone"] == isotropic).all()
    table = pd.read_csv(project.folder / "metrics/comparison.csv")
    shown = {model for model in table["model"] if model.endswith(WITH_ADAPT)}
    assert shown == set(figures.index[~isotropic])


def test_only_metrics_links_and_the_lock_are_left_for_git(project: Project) -> None:
    committed = project.run("git", "show", "--name-only", "--format=", "HEAD").split()
    assert {name.split("/")[0] for name in committed} == {"metrics", "dvc.lock", "data"}
    assert all(name.startswith("data/own/") for name in committed if name.startswith("data/"))
    assert not project.run("git", "status", "--porcelain")


def test_stages_open_only_what_they_declare(project: Project) -> None:
    """What a stage reads and dvc.yaml does not name would not make it stale."""
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    opened = {tuple(line.split("\t")) for line in (project.folder.parent / OPENED).read_text().splitlines()}
    assert {stage for stage, _ in opened} >= TRAININGS | EVALUATIONS | {"pretrain", "compare"}
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


def test_a_stage_says_what_it_does_and_no_more(project: Project) -> None:
    """The library that fits fonts into a PDF tells of every glyph, in hundreds of lines."""
    stages = (project.folder.parent / PRINTED).read_text().split("Running stage '")[1:]
    lines = {part.split("'")[0]: len(part.splitlines()) for part in stages}
    assert len(lines) > 15
    assert max(lines.values()) < 60, lines
    assert lines["compare"] < 20, lines


def test_a_second_run_runs_nothing(project: Project) -> None:
    output = project.run("dvc", "repro")
    assert not ran(output)
    assert "Data and pipelines are up to date" in output


def test_nothing_that_the_pairs_test_asks_for_is_in_the_pairs(project: Project) -> None:
    """C8, on a source that leaks its test articles as passages and as another query's answer."""
    pairs = read_pairs(project.folder / "data/pairs/finetune")
    source = tiny_source.Tiny()
    held_out = {pair.positive for pair in source.pairs(SourceReport("test")) if pair.split == "test"}
    leaked = {p.title + " " + p.text for p in source.passages(SourceReport("test"))} | {
        pair.positive for pair in source.pairs(SourceReport("test")) if pair.split == "train"
    }
    assert held_out & leaked, "vacuous"
    assert not held_out & set(pairs.texts["text"])
    made = read_pairs(project.folder / "data/pairs/pretrain")
    assert made.report["passages"] == len(pairs.train_passage_ids) > 0
    dev = set(pairs.texts["text"].iloc[pairs.dev["positive"]])
    assert dev
    assert not dev & set(pairs.texts["text"].iloc[pairs.train_passage_ids])
    assert pairs.report["test"]["documents_found_in_training_and_removed"] > 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"finetune__strategies__smart_hybrid__projection_learning_rate": 0.5}, {"finetune@smart_hybrid"}),
        ({"finetune__strategies__full_finetune__base_learning_rate": 0.5}, {"finetune@full_finetune"}),
        ({"finetune__strategies__pretrain_finetune__projection_learning_rate": 0.5}, {"finetune@pretrain_finetune"}),
        ({"finetune__live__epochs": 2}, {"finetune@full_finetune", "finetune@pretrain_finetune"}),
        ({"finetune__shared__temperature": 0.5}, TRAININGS),
        ({"pretrain__temperature": 0.5}, {"pretrain"}),
        ({"pretrain__num_pairs": 41}, {"prepare_pretraining", "pretrain"}),
        ({"whitening": 0.1}, STARTS),
        ({"projection": "linear"}, STARTS),
        ({"normalize_base": "drop"}, STARTS | EMBEDDINGS),
        ({"freeze_base": False}, {"finetune@pretrain_finetune"}),
        ({"data__mined_negatives": 3}, {"prepare_pairs"}),
        ({"data__seed": 1}, {"download@pairs", "download@passages"}),
        ({"data__msmarco__max_negatives": 1}, {"download@pairs"}),
        ({"data__wikipedia__num_passages": 1}, {"download@passages"}),
        ({"evaluate__permutations": 101}, {"compare"}),
        ({"evaluate__top_k": 1001}, {"evaluate_bm25@tiny"} | EVALUATIONS),
        ({"evaluate__adapt": None}, EVALUATIONS),
        ({"evaluate__compression": False}, EVALUATIONS),
        ({"evaluate__fusion": ["rrf"]}, {"compare"}),
    ],
)
def test_a_param_makes_stale_what_it_decides(edited: Project, changes: dict[str, Any], expected: set[str]) -> None:
    """What follows from those is seen by the real runs below: it depends on whether their outputs change."""
    edited.params(**changes)
    assert edited.stale() == expected


def test_another_benchmark_adds_what_it_needs_and_no_training(edited: Project) -> None:
    """That nothing else runs is seen by a real run in test_experiment_runs.py."""
    before = set(edited.run("dvc", "stage", "list", "--all", "--name-only").split())
    edited.params(data__benchmarks=["tiny", "mine"])
    own = {"own_benchmark@mine", "download_benchmark@mine", "embed_benchmark@mine", "evaluate_bm25@mine"}
    own |= {f"evaluate@{model}-mine" for model in DENSE}
    assert set(edited.run("dvc", "stage", "list", "--all", "--name-only").split()) - before == own


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("ragcun/report/comparison.py", {"compare"}),
        ("ragcun/train/loss.py", TRAININGS | {"pretrain"}),
        ("ragcun/train/initial.py", STARTS),
        ("ragcun/prepare/pretraining.py", {"prepare_pretraining"}),
        ("ragcun/report/fusion.py", {"compare"}),
        ("ragcun/measure/directions.py", EVALUATIONS),
        ("ragcun/measure/sigreg.py", TRAININGS | EVALUATIONS | {"pretrain"}),
        ("ragcun/evaluate/lexical.py", {"evaluate_bm25@tiny"}),
        ("ragcun/adapt/rule.py", EVALUATIONS),
        ("ragcun/adapt/stand_ins.py", {"embed_benchmark@tiny"} | EVALUATIONS),
        ("ragcun/adapt/command.py", set()),
        ("ragcun/search/exact.py", TRAININGS | EVALUATIONS | {"pretrain"}),
        ("ragcun/prepare/finetuning.py", {"prepare_pairs"}),
        ("ragcun/params.py", set()),
    ],
)
def test_a_comment_in_a_module_makes_stale_the_stages_that_import_it(
    edited: Project, module: str, expected: set[str]
) -> None:
    edited.edit(module, lambda text: text + "# a comment\n")
    assert edited.stale() == expected


def test_a_clone_that_pulls_has_nothing_to_do(project: Project, tmp_path: Path) -> None:
    remote = ("dvc", "remote", "add", "--local", "--default", "shared", str(tmp_path / "remote"))
    project.run(*remote)
    project.run("dvc", "push")
    project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
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
