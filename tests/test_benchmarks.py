"""benchmarks/: each script does equal work as its peer, and its page says what was reached.

The scripts compare the results of ours and the peer themselves, and fail where they differ; times of tiny work say nothing.
"""

import doctest
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import evaluate, full_finetuning, harness, machine, measures, report
from benchmarks.harness import Bar, Seconds, Timed, in_turn, ratio
from benchmarks.search import check_same

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.mark.parametrize("name", report.BENCHMARKS)
def test_a_benchmark_runs_on_tiny_work_and_finds_equal_results(name: str, results: Path) -> None:
    importlib.import_module(f"benchmarks.{name}").main(["--small", "--rounds", "1", "--results", str(results)])
    result = json.loads((results / f"{name}.json").read_text())
    assert result["small"]
    assert result["same"]
    assert result["figures"]
    assert all(bar["reached"] is not None or bar["why"] for bar in result["bars"])


def test_works_take_turns_and_the_ratio_is_the_median_of_the_rounds() -> None:
    order: list[str] = []
    seconds = iter([1.0, 4.0, 30.0, 3.0, 1.0, 2.0])

    def work(name: str) -> Seconds:
        order.append(name)
        return Seconds(next(seconds), name)

    timed = in_turn(3, {name: lambda name=name: work(name) for name in ("ours", "peer")})
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert timed["ours"] == Timed([1.0, 3.0, 1.0], "ours")
    assert ratio(timed, "peer") == 4.0


@pytest.mark.parametrize(("reached", "met"), [(2.9, False), (3.0, True), (None, False)])
def test_a_bar_is_met_where_the_figure_reaches_it(reached: float | None, met: bool) -> None:
    assert Bar("faster", reached, "×", at_least=3.0, why="no peer").met is met
    below = None if reached is None else -reached
    assert Bar("sooner", below, " s", at_most=-3.0, why="no peer").met is met


def test_the_page_shows_missed_bars_what_was_not_measured_and_what_was_not_run(tmp_path: Path) -> None:
    bars = [
        {**vars(Bar("fast", 2.0, "×", at_least=3.0)), "met": False},
        {**vars(Bar("slim", 1.0, " GB", at_most=3.0, extrapolated="from 5 steps")), "met": True},
        {**vars(Bar("alone", None, "×", at_least=1.0, why="no faiss")), "met": False},
    ]
    result = {
        "name": "search",
        "small": False,
        "command": "python -m benchmarks.search",
        "date": "2026-01-01 00:00",
        "machine": {"cores": 2, "processor": "P", "vectors": "AVX2", "memory_gb": 8, "system": "Linux", "load": 0.5},
        "versions": {"torch": "1"},
        "bars": bars,
        "seconds": {"ours": [1.0]},
        "figures": {"ours, s": 1.0},
        "same": "all",
        "notes": [],
    }
    (tmp_path / "search.json").write_text(json.dumps(result))
    (tmp_path / "encode.json").write_text(json.dumps({**result, "name": "encode", "small": True}))
    page = report.page(report.load(tmp_path))
    assert "| fast | at least 3× | 2× | missed |" in page
    assert "| slim (from 5 steps) | at most 3 GB | 1 GB | met |" in page
    assert "| alone | at least 1× | not measured: no faiss | |" in page
    assert "Not run yet: encode," in page, "tiny runs do not count"


def test_the_page_is_that_of_the_results() -> None:
    assert (ROOT / "benchmarks/README.md").read_text() == report.page(report.load(ROOT / "benchmarks/results"))


def test_another_document_among_the_hits_is_a_difference_unless_its_score_is_too_close(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.5, 0.1]], dtype=np.float32)
    np.savez(tmp_path / "ours.npz", rows=[[1, 2, 3]], scores=scores)
    np.savez(tmp_path / "peer.npz", rows=[[1, 2, 4]], scores=scores)
    check_same(tmp_path, "peer")
    np.savez(tmp_path / "peer.npz", rows=[[1, 4, 3]], scores=scores)
    with pytest.raises(AssertionError, match="peer"):
        check_same(tmp_path, "peer")
    np.savez(tmp_path / "peer.npz", rows=[[1, 2, 3]], scores=scores + 0.001)
    with pytest.raises(AssertionError):
        check_same(tmp_path, "peer")


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (measures, "mean_scores", lambda table: dict.fromkeys(table, 0.25)),
        (evaluate, "CUTOFFS", (10, 100)),
        (full_finetuning, "without_dropout", lambda model: None),
    ],
)
def test_unequal_results_fail(
    module: object, name: str, other: object, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, other)
    if module is evaluate:
        # A model that encodes otherwise than its embeddings say.
        monkeypatch.setattr(evaluate.EncodingModel, "_encode", lambda self, call, texts, size: wrong(len(texts)))
    with pytest.raises(AssertionError):
        module.main(["--small", "--rounds", "1", "--results", str(results)])  # type: ignore[attr-defined]


def wrong(count: int) -> object:
    import torch

    return torch.from_numpy(np.random.default_rng(0).standard_normal((count, 32)).astype(np.float32))


def test_the_examples_of_the_harness_hold() -> None:
    for module in (harness, machine):
        assert doctest.testmod(module).failed == 0
