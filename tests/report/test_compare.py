"""The stage `compare`, on two models' results: what it reads of the project's folders, writes and sets aside."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ragcun.data.benchmark import write_benchmark
from ragcun.data.pairs import PreparedPairs, write_pairs
from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.evaluate.results import write_evaluation
from stages import compare
from tests.tiny import tiny_benchmark

ROOT = Path(__file__).parents[2]
BENCHMARKS = ("vital-descriptions", "fanoutqa")
LEFTOVERS = ("data/benchmarks/gone", "data/runs/base/gone", "data/runs/old/fanoutqa", "metrics/base/gone.json")


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder in which every stage before `compare` has run, and more benchmarks once."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["evaluate"] |= {"models": ["base"], "controls": ["base"]}
    Path("benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks/published.yaml", "benchmarks")
    Path("params.yaml").write_text(yaml.safe_dump(params))
    for name in BENCHMARKS:
        benchmark = tiny_benchmark(name)
        write_benchmark(benchmark, Path("data/benchmarks", name))
        for model in ("bm25", "base"):
            evaluation = evaluate_bm25(benchmark, 10)
            write_evaluation(
                evaluation, Path("metrics", model, f"{name}.json"), Path("data/runs", model, name), 10, model
            )
    texts = pd.DataFrame(
        [
            (benchmark.doc_texts[0], "passage", "train"),
            ("a dev answer", "passage", "dev"),
            (benchmark.queries["test"]["q1"], "query", "train"),
            ("a dev query", "query", "dev"),
        ],
        columns=["text", "role", "split"],
    )
    none = [np.empty(0, dtype=np.int64)]
    train = pd.DataFrame({"query": [2], "positive": [0], "negatives": none})
    dev = pd.DataFrame({"query": [3], "positive": [1], "negatives": none})
    write_pairs(Path("data/pairs/finetune"), PreparedPairs(texts, train, dev, {}))
    Path("data/validation").mkdir()
    Path("data/validation/none.txt").write_text("data.validation is null\n")
    for path in LEFTOVERS:
        Path(path).mkdir(parents=True)
    return tmp_path


def compared(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The CSV, of the test split."""
    compare.main()
    written = {path.name for path in Path("metrics").iterdir() if path.is_file()}
    views = {*(f"comparison.{suffix}" for suffix in ("csv", "md", "tex", "png")), "compression.csv", "compression.png"}
    assert written == {"measures.csv", "panels.md", "significance.csv", *views}
    return pd.read_csv("metrics/comparison.csv").query("split == 'test'")


def test_the_results_of_a_removed_benchmark_or_model_are_set_aside(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = compared(monkeypatch)
    assert set(table["benchmark"]) == set(BENCHMARKS)
    assert set(table["model"]) == {"bm25", "base"}
    for path in LEFTOVERS:
        assert not Path(path).exists()
        assert Path("data/set_aside", path).is_dir()


def test_how_far_models_were_adapted_is_in_the_tidy_table(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"gamma": 0.125, "isoscore_before": 0.0625, "isoscore_after": 0.25, "left_alone": 0.0}
    evaluation = evaluate_bm25(tiny_benchmark("fanoutqa"), 10)
    adapted = replace(evaluation, adapted=replace(evaluation, adaptation=figures))
    write_evaluation(adapted, Path("metrics/base/fanoutqa.json"), Path("data/runs/base/fanoutqa"), 10, "base")
    assert set(compared(monkeypatch)["model"]) == {"bm25", "base", "base + adapt"}
    measures = pd.read_csv("metrics/measures.csv").query("split == 'adaptation'")
    assert set(zip(measures["model"], measures["benchmark"], strict=True)) == {("base + adapt", "fanoutqa")}
    assert dict(zip(measures["measure"], measures["value"], strict=True)) == figures


def test_what_was_seen_is_told_and_the_validation_benchmark_counts(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ["query_in_training.queries", "answer_is_training_positive.queries", "answer_is_dev_positive.queries"]
    assert compared(monkeypatch)[columns].drop_duplicates().values.tolist() == [[1, 1, 0]]
    validation = tiny_benchmark()
    validation.qrels["dev"]["v1"] = validation.qrels["test"]["q1"]
    write_benchmark(validation, Path("data/validation"))
    assert compared(monkeypatch)[columns].drop_duplicates().values.tolist() == [[1, 1, 1]]
