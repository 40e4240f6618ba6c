"""The whole chain on every full-scale source, by `dvc exp run`, against servers on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.project import SMALL_RUNS, Project, copied, models_of, ran
from tests.servers.beir import beir_routes
from tests.servers.http import HttpServer
from tests.servers.hub import (
    TOKEN_WITH_ACCESS,
    HubServer,
    Repo,
    article,
    hub_environment,
    ms_marco_files,
    ms_marco_row,
    wikipedia_files,
)
from tests.tiny import SUBJECTS, save_tiny_base

pytestmark = pytest.mark.sources
BASE = "maker/tiny"
# A row for each way to a model; test_pipeline.py has the others.
MODELS = ["base", "pretrain", "smart_hybrid", "full_finetune"]
LEAKED = {2: 61, 4: 62, 5: 64}


def ms_marco() -> dict[str, bytes]:
    """60 train and 30 validation queries; every third has no selected passage. Three train answers are validation answers too."""
    rows = [ms_marco_row(number, selected=() if number % 3 == 0 else (1,)) for number in range(90)]
    for train, held_out in LEAKED.items():
        rows[train]["passages"]["passage_text"][1] = rows[held_out]["passages"]["passage_text"][1]
    return ms_marco_files(rows[:60], rows[60:])


def wikipedia() -> dict[str, bytes]:
    """40 articles of eight sentences."""
    return wikipedia_files(
        [
            article(
                number, " ".join(f"The {word} of {number} is old and large{i}." for i, word in enumerate(words * 2))
            )
            for number, words in ((number, SUBJECTS[number % 6].split()[:4]) for number in range(40))
        ]
    )


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    base = save_tiny_base(tmp_path_factory.mktemp("hub") / "tiny")
    model = {path.relative_to(base).as_posix(): path.read_bytes() for path in base.rglob("*") if path.is_file()}
    repos = [
        Repo("model", BASE, {**model, "pytorch_model.bin": b"pickle"}, licence="apache-2.0", gated=True),
        Repo("dataset", "microsoft/ms_marco", ms_marco()),
        Repo("dataset", "wikimedia/wikipedia", wikipedia(), licence=["cc-by-sa-3.0", "gfdl"]),
    ]
    with HubServer(repos) as server:
        yield server


@pytest.fixture(scope="module")
def mirror() -> Iterator[HttpServer]:
    with HttpServer(beir_routes()) as server:
        yield server


@pytest.fixture(scope="module")
def run(hub: HubServer, mirror: HttpServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The project after the experiment, and what the experiment printed."""
    folder = tmp_path_factory.mktemp("chain")
    project = copied(folder / "copy")
    own = {"finetune__shared__metric_for_best": "validation_ndcg@10", "data__validation": "nfcorpus"}
    project.params(**SMALL_RUNS, **own, evaluate__models=MODELS, evaluate__controls=[])
    project.commit("small runs")
    variables = hub_environment(hub, folder)
    del variables["PYTHONPATH"]
    project.environment |= {**variables, "HF_TOKEN": TOKEN_WITH_ACCESS}
    settings = {
        "base_model": f"{BASE}@v1.0",
        "data.pairs": "msmarco",
        "data.msmarco.max_train_samples": 40,
        "data.msmarco.split_ratio": 0.5,
        "data.passages": "wikipedia",
        "data.wikipedia.num_passages": 60,
        "data.wikipedia.min_length": 40,
        "data.wikipedia.max_length": 120,
        "data.benchmarks": "[cqadupstack]",
        "data.beir_url": f"{mirror.url}/beir",
        "data.beir_published": "false",
    }
    options = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    return project, project.run("dvc", "exp", "run", *options, "compare")


def read(project: Project, path: str) -> Any:
    return json.loads((project.folder / path).read_text())


def test_every_model_is_compared_on_the_mean_of_the_parts(run: tuple[Project, str]) -> None:
    project, output = run
    assert {"download@base_model", "pretrain", "finetune@full_finetune", "compare"} <= ran(output)
    table = pd.read_csv(project.folder / "metrics/comparison.csv")
    assert set(table["benchmark"]) == {"cqadupstack"}
    assert models_of(table) == {"bm25", *MODELS}
    measures = pd.read_csv(project.folder / "metrics/measures.csv").query(
        "model == 'smart_hybrid' and measure == 'ndcg@10'"
    )
    parts = measures.loc[measures["split"].str.startswith("test/"), "value"]
    assert len(parts) == 12
    assert project.metric("smart_hybrid", "cqadupstack")["ndcg@10"] == pytest.approx(parts.mean())
    adapted = pd.read_csv(project.folder / "metrics/measures.csv").query("split == 'adaptation'")
    assert models_of(adapted) == set(MODELS)
    assert "Leakage" in (project.folder / "metrics/comparison.md").read_text()


def test_each_source_reports_what_it_took(run: tuple[Project, str], hub: HubServer) -> None:
    project, _ = run
    pairs, passages = read(project, "data/raw/pairs/report.json"), read(project, "data/raw/passages/report.json")
    assert pairs["dropped"]["queries without a selected passage"] > 0
    assert "microsoft/ms_marco v2.1 at " in pairs["revision"]
    assert passages["kept"] == 60
    base = read(project, "models/base/hub.json")
    assert (base["name"], base["revision"], base["licence"]) == (BASE, "v1.0", "apache-2.0")
    assert len(base["commit"]) == 40
    assert read(project, "data/validation/report.json")["source"] == "BEIR nfcorpus"
    assert read(project, "data/benchmarks/cqadupstack/gis/report.json")["documents"] == 9


def test_what_the_pairs_own_test_asks_for_is_found_and_removed(run: tuple[Project, str]) -> None:
    project, _ = run
    report = read(project, "data/pairs/finetune/report.json")
    assert report["train_pairs"]["given"] == 40
    assert report["train_pairs"]["removed_document_held_out"] == len(LEAKED)
    assert report["dev_pairs"]["kept"] + report["test"]["queries"] == 20
    texts = pd.read_parquet(project.folder / "data/pairs/finetune/texts.parquet")
    trained = set(texts["text"][texts["split"] == "train"])
    assert not trained & {f"passage 1 of query {number}, on the subject {number % 7}" for number in LEAKED.values()}
    assert "passage 1 of query 7, on the subject 0" in trained, "else vacuous"


def test_the_validation_benchmark_chooses_the_checkpoint(run: tuple[Project, str]) -> None:
    project, _ = run
    curve = pd.read_csv(project.folder / "metrics/curves/smart_hybrid.tsv", sep="\t")
    assert "validation_ndcg@10" in curve


def test_nothing_is_left_to_do_and_nothing_was_taken_from_elsewhere(run: tuple[Project, str], hub: HubServer) -> None:
    project, _ = run
    asked = len(hub.log)
    assert not ran(project.run("dvc", "repro", "compare"))
    assert len(hub.log) == asked
    assert hub.asked_for("modules.json")
    assert not hub.asked_for("pytorch_model.bin")


def test_the_token_is_in_no_file_and_in_nothing_that_was_printed(run: tuple[Project, str], tmp_path: Path) -> None:
    project, output = run
    assert TOKEN_WITH_ACCESS not in output
    holding = [
        path
        for path in project.folder.parent.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and TOKEN_WITH_ACCESS.encode() in path.read_bytes()
        # The tests' own copy of it.
        and "tests" not in path.relative_to(project.folder.parent).parts
    ]
    assert not holding
