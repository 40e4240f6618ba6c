"""The page of several seeds is made of what dvc recorded of each."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from estimate import seeds
from ragcun.evaluate.results import Evaluation, write_evaluation
from ragcun.measure.ranking import CUTOFFS
from ragcun.params import load_params

pytestmark = pytest.mark.outputs

ROOT = Path(__file__).parents[1]
BENCHMARKS = ("vital-descriptions", "fanoutqa")
MODELS = ("base", "pretrain", "smart_hybrid", "full_finetune", "pretrain_finetune")


def write_scores(gain: float) -> None:
    """The results of every model, which gain the same on the base's scores of 20 queries."""
    names = [f"{measure}@{k}" for measure in ("ndcg", "map", "recall", "p", "mrr") for k in CUTOFFS]
    for model in MODELS:
        for benchmark in BENCHMARKS:
            rng = np.random.default_rng(BENCHMARKS.index(benchmark))
            values = rng.uniform(0.2, 0.5, size=(20, len(names))) + (gain if model != "base" else 0)
            table = pd.DataFrame(values, index=pd.Index([f"q{i:02}" for i in range(20)], name="query"), columns=names)
            evaluation = Evaluation({"test": {query: {"d": 1.0} for query in table.index}}, {"test": table})
            folder = Path("data/runs", model, benchmark)
            write_evaluation(evaluation, Path("metrics", model, f"{benchmark}.json"), folder, 10, model)


def call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the results of the committed seed, and those of two more as revisions; its folder holds others."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    call("git", "init", "--quiet", "--initial-branch=main")
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        call("git", "config", name, value)
    call("dvc", "init", "--quiet")
    for seed, gain in (("1", 0.1), ("2", 0.3), ("42", 0.2)):
        write_scores(gain)
        call("dvc", "add", "--quiet", "data/runs")
        call("git", "add", "--all")
        call("git", "commit", "--quiet", "-m", seed)
        call("git", "tag", f"seeds-{seed}")
    write_scores(0.5)
    return tmp_path


def test_its_tables_are_of_the_committed_seed_and_of_those_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = project / "page.md"
    page.write_text("before\n<!-- seeds -->\nold\n<!-- end -->\nafter\n")
    command = ["estimate.seeds", "seeds", "1", "2"]
    monkeypatch.setattr("sys.argv", [*command, "--page", str(page)])
    seeds.main()
    text = page.read_text()
    assert text.startswith("before\n<!-- seeds -->\n## NDCG@10")
    assert text.endswith("|\n<!-- end -->\nafter\n")
    assert "old" not in text
    assert "over the seeds 42, 1, 2" in text
    column = CUTOFFS.index(10)
    drawn = [np.random.default_rng(at).uniform(0.2, 0.5, size=(20, 5 * len(CUTOFFS))) for at in range(len(BENCHMARKS))]
    for model in MODELS[1:]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {model} ") and "±" in line]
        expected = [f"{values[:, column].mean() + 0.2:.4f} ± 0.1000" for values in drawn]
        assert [cell.strip() for cell in line.split("|")[2:4]] == expected
    against = [line for line in text.splitlines() if "3 of 3" in line]
    assert len(against) == (len(MODELS) - 1) * len(BENCHMARKS)
    assert text.count("0 of 3") == 3 * len(BENCHMARKS), "the strategies are alike"
    monkeypatch.setattr("sys.argv", [*command, "--models", "smart_hybrid"])
    seeds.main()
    printed = capsys.readouterr().out
    assert "smart_hybrid" in printed
    assert "full_finetune" not in printed


def test_the_trained_models_are_those_that_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    raw = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    assert set(seeds.trained_models(load_params())) == {"pretrain", *raw["finetune"]["foreach"]}
