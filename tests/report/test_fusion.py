"""BM25 and a dense model are combined as defined, to the last bit, and the weight is chosen on dev alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import Evaluation, join_parts, read_scores, score_run, write_evaluation, write_runs
from ragcun.measure.ranking import Qrels, Run, mean_scores, score_queries
from ragcun.report.comparison import compare
from ragcun.report.fusion import WEIGHTS, FusedRow, Lists, fused, reciprocal_ranks, weighted, write_fused
from ragcun.report.leakage import COLUMNS
from ragcun.report.significance import paired_p_value
from ragcun.report.tables import headline, to_markdown
from ragcun.report.trec_runs import TrecRun, read_run

pytestmark = pytest.mark.outputs

DOCUMENTS = [f"d {i}%" for i in range(30)]


def a_benchmark(*, dev: bool = True) -> Benchmark:
    rng = np.random.default_rng(0)
    splits = {"test": [f"q{i}" for i in range(20)]} | ({"dev": [f"v{i}" for i in range(10)]} if dev else {})
    qrels: dict[str, Qrels] = {
        split: {query: {str(d): 1 for d in rng.choice(DOCUMENTS, 3, replace=False)} for query in queries}
        for split, queries in splits.items()
    }
    texts = {split: dict.fromkeys(queries, "text") for split, queries in splits.items()}
    return Benchmark("b", DOCUMENTS, [""] * 30, ["text"] * 30, texts, qrels)


def a_run(benchmark: Benchmark, seed: int, noise: float, depth: int = 15) -> Run:
    """The best `depth` documents of each query; the answers score above the others, but for the noise."""
    rng, run = np.random.default_rng(seed), {}
    for qrels in benchmark.qrels.values():
        for query, judged in qrels.items():
            scores = {document: (document in judged) + noise * rng.standard_normal() for document in DOCUMENTS}
            best = sorted(scores.items(), key=lambda item: item[1], reverse=True)[:depth]
            run[query] = {document: float(score) for document, score in best}
    return run


def lists_of(lexical: Run, dense: Run) -> Lists:
    return Lists.of(list(lexical), [TrecRun.of(lexical)], [TrecRun.of(dense)])


# The definitions, a query at a time.
Plain = Callable[[dict[str, float], dict[str, float]], dict[str, float]]


def plain_rrf(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    places = [{document: rank for rank, document in enumerate(found, start=1)} for found in (first, second)]
    return {d: sum(1 / (60 + place[d]) for place in places if d in place) for d in {*first, *second}}


def plain_convex(weight: float) -> Plain:
    def scaled(found: dict[str, float]) -> dict[str, float]:
        low, high = min(found.values(), default=0), max(found.values(), default=0)
        return {d: (score - low) / (high - low) if high > low else 1.0 for d, score in found.items()}

    def combined(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
        first, second = scaled(first), scaled(second)
        return {d: (1 - weight) * first.get(d, 0) + weight * second.get(d, 0) for d in {*first, *second}}

    return combined


def plainly(lexical: Run, dense: Run, plain: Plain, depth: int) -> Run:
    run = {}
    for query, found in lexical.items():
        scores = plain(found, dense.get(query, {}))
        best = sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=True)
        run[query] = dict(best[:depth])
    return run


def ragged_runs(benchmark: Benchmark) -> tuple[Run, Run]:
    """Two runs that tie often: of some queries one or both find nothing, one document, or documents of one score."""
    lexical, dense = a_run(benchmark, 1, 0.5), a_run(benchmark, 2, 0.5)
    lexical = {query: {d: round(score, 1) for d, score in found.items()} for query, found in lexical.items()}
    lexical["q0"], lexical["q1"], dense["q2"] = {}, {"d 7%": 2.0}, {}
    lexical["q3"], dense["q3"] = {}, {}
    lexical["q4"] = dict.fromkeys(lexical["q4"], 1.5)
    return lexical, dense


COMBINATIONS = [(reciprocal_ranks, plain_rrf), *((weighted(w), plain_convex(w)) for w in WEIGHTS)]


def test_each_querys_best_are_those_of_the_definitions_to_the_last_bit() -> None:
    lexical, dense = ragged_runs(a_benchmark())
    lists, ties = lists_of(lexical, dense), 0
    for combine, plain in COMBINATIONS:
        for depth in (1, 10, 100):
            found, expected = lists.ranked(combine, list(lexical), depth), plainly(lexical, dense, plain, depth)
            assert found == expected
            assert [list(best) for best in found.values()] == [list(best) for best in expected.values()]
        ties += sum(len(best) - len(set(best.values())) for best in expected.values())
    assert ties > 100, "vacuous"
    some = ["v1", "q3", "q0"]
    assert list(lists.ranked(reciprocal_ranks, some, 5)) == some


@pytest.mark.parametrize("method", ["rrf", "convex"])
def test_the_evaluation_is_that_of_the_definitions(method: str) -> None:
    benchmark = a_benchmark()
    lexical, dense = ragged_runs(benchmark)

    def score(plain: Plain, split: str, depth: int) -> pd.DataFrame:
        run = plainly({query: lexical[query] for query in benchmark.qrels[split]}, dense, plain, depth)
        return score_queries(benchmark.qrels[split], run)

    found = fused({"": benchmark}, lists_of(lexical, dense), method)  # type: ignore[arg-type]
    assert found is not None
    plain: Plain = plain_rrf
    if method == "convex":
        dev = {weight: score(plain_convex(weight), "dev", 10)["ndcg@10"].mean() for weight in WEIGHTS}
        weight = max(WEIGHTS, key=lambda each: (dev[each], -each))
        assert found.fusion == {"weight": weight}
        plain = plain_convex(weight)
    for split in ("test", "dev"):
        pd.testing.assert_frame_equal(found.per_query[split], score(plain, split, 100), check_exact=True)
        expected = plainly({query: lexical[query] for query in benchmark.qrels[split]}, dense, plain, 10)
        assert found.runs[split] == expected


def test_the_best_come_first_and_equal_ones_by_id_descending() -> None:
    lists = lists_of({"q": {"a": 3.0, "b": 2.0}}, {"q": {"b": 0.9, "a": 0.8, "c": 0.1}})
    assert list(lists.ranked(reciprocal_ranks, ["q"], 100)["q"]) == ["b", "a", "c"]
    assert list(lists.ranked(reciprocal_ranks, ["q"], 2)["q"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("lexical", "dense"), [({}, {"a": 0.5}), ({"a": 2.0}, {}), ({"a": 2.0, "b": 2.0}, {"a": 0.5}), ({}, {})]
)
def test_lists_that_are_empty_or_of_one_score_are_combined(lexical: dict[str, float], dense: dict[str, float]) -> None:
    lists = lists_of({"q": lexical}, {"q": dense})
    for combine in (reciprocal_ranks, weighted(0.5)):
        found = lists.ranked(combine, ["q"], 10)["q"]
        assert found.keys() == {*lexical, *dense}
        assert all(score > 0 for score in found.values())


def test_the_weight_is_the_best_on_dev_and_test_has_no_say() -> None:
    benchmark = a_benchmark()
    lists = lists_of(a_run(benchmark, 1, 0.4), a_run(benchmark, 2, 0.9))

    def dev(weight: float) -> float:
        run = lists.ranked(weighted(weight), list(benchmark.qrels["dev"]), 10)
        return mean_scores(score_queries(benchmark.qrels["dev"], run, (10,)))["ndcg@10"]

    chosen = fused({"": benchmark}, lists, "convex")
    assert chosen is not None
    assert chosen.fusion is not None
    best = [step / 10 for step in range(11) if dev(step / 10) == max(dev(other / 10) for other in range(11))]
    assert chosen.fusion["weight"] == best[0]
    assert 0 < best[0] < 0.5, "the better model should weigh more"
    # The test queries' judgements turned over: another score, the same weight.
    turned = {query: {d: 1 for d in DOCUMENTS if d not in judged} for query, judged in benchmark.qrels["test"].items()}
    other = fused({"": replace(benchmark, qrels={**benchmark.qrels, "test": turned})}, lists, "convex")
    assert other is not None
    assert other.fusion == chosen.fusion
    assert other.measures()["test"] != chosen.measures()["test"]


def test_without_dev_queries_there_is_no_convex_combination() -> None:
    benchmark = a_benchmark(dev=False)
    lists = lists_of(a_run(benchmark, 1, 0.5), a_run(benchmark, 2, 0.5))
    assert fused({"": benchmark}, lists, "convex") is None
    assert fused({"": benchmark}, lists, "rrf") is not None


def test_odd_ids_are_read_as_they_were_written(tmp_path: Path) -> None:
    odd = ["NA", "", '"a', "b c", "100%", "é", "0x1", "a,b", "tab\there", "a\rb", "a\u2028b", "null", "%20", "\\N"]
    run = {
        query: {document: 1.0 / (place + 1) for place, document in enumerate(odd) if document} for query in odd if query
    }
    evaluation = Evaluation({"test": run}, {"test": score_queries({"NA": {"NA": 1}}, run)})
    write_runs(evaluation, tmp_path, 100, "tag")
    found = read_run(tmp_path / "test.trec")
    assert found.queries == list(run)
    assert found.documents == list(run["NA"])
    assert found.score.tolist() == list(run["NA"].values()) * len(run)


def write(run: Run, parts: dict[str, Benchmark], folder: Path) -> None:
    evaluation = join_parts({part: score_run(benchmark, run, 100, None) for part, benchmark in parts.items()})
    write_evaluation(evaluation, folder.parent / "metrics.json", folder, 100, "tag")


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    benchmark = a_benchmark()
    run = a_run(benchmark, 1, 0.5)
    write(run, {"": benchmark}, tmp_path / "runs")
    read: dict[str, list[tuple[str, float]]] = {}
    for split in ("test", "dev"):
        found = read_run(tmp_path / "runs" / f"{split}.trec")
        for query, document, score in zip(found.query, found.document, found.score, strict=True):
            read.setdefault(found.queries[query], []).append((found.documents[document], float(score)))
    assert read == {query: list(best.items()) for query, best in run.items()}
    (tmp_path / "empty.trec").touch()
    assert read_run(tmp_path / "empty.trec").score.tolist() == []
    with pytest.raises(RagcunError, match="none"):
        read_run(tmp_path / "none.trec")


@pytest.mark.parametrize("names", [[""], ["one", "two"]])
def test_rows_of_the_comparison_are_held_against_the_dense_model(names: list[str], tmp_path: Path) -> None:
    benchmark = a_benchmark()
    parts = dict.fromkeys(names, benchmark)
    lexical, dense = a_run(benchmark, 1, 0.8), a_run(benchmark, 2, 0.6)
    # A query that BM25 finds nothing for has no line in its file.
    lexical["q0"] = {}
    for model, run in (("bm25", lexical), ("base", a_run(benchmark, 3, 0.45)), ("new", dense)):
        write(run, parts, tmp_path / "runs" / model / "b")
    rows = [("new", "rrf"), ("new", "convex")]
    for _ in range(2):
        write_fused("b", parts, rows, runs=tmp_path / "runs", root=tmp_path / "fused")  # type: ignore[arg-type]
    queries = [f"{name}/{query}" if name else query for name in names for query in benchmark.qrels["test"]]
    comparison = compare(
        ["bm25", "base", "new"],
        ["b"],
        runs=tmp_path / "runs",
        leakage={"b": pd.DataFrame(False, index=queries, columns=list(COLUMNS))},
        permutations=1000,
        seed=0,
        fused=[FusedRow.of(model, method, tmp_path / "fused") for model, method in rows],  # type: ignore[arg-type]
    )
    test = comparison.test.set_index("model")
    assert list(test.index) == ["bm25", "base", "new", "bm25 + new (rrf)", "bm25 + new (convex)"]
    expected = {query: plain_rrf(lexical[query], dense[query]) for query in benchmark.qrels["test"]}
    found = mean_scores(score_queries(benchmark.qrels["test"], expected))
    assert test.loc["bm25 + new (rrf)", "ndcg@10"] == pytest.approx(found["ndcg@10"], abs=1e-9)
    assert test["ndcg@10"]["bm25 + new (rrf)"] > test["ndcg@10"]["new"], "two views should be better than one"
    ours, alone, base = (
        read_scores(tmp_path / folder / "b", "test")["ndcg@10"] for folder in ("fused/new/rrf", "runs/new", "runs/base")
    )
    p_value, against_base = test.loc["bm25 + new (rrf)", "p_value"], paired_p_value(ours, base, 1000, 0)
    assert p_value == pytest.approx(paired_p_value(ours, alone, 1000, 0), abs=1e-3)
    assert p_value != pytest.approx(against_base, abs=0.01), "vacuous"
    assert headline(comparison)["model"].tolist() == ["bm25", "base", "new"]
    assert headline(comparison, comparison.fused)["model"].tolist() == list(comparison.fused)
    assert "## BM25 combined with each model" in to_markdown(comparison)
    weights = comparison.measures.query("split == 'fusion'")
    assert weights["model"].tolist() == ["bm25 + new (convex)"]
