"""An evaluation's files: a table's figures, every measure, runs that TREC's tools read, scores per query under their ids."""

import json
import random
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow.parquet as pq
import pytest
import pytrec_eval

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate.results import HEADLINE, Evaluation, join_parts, read_scores, score_run, write_evaluation
from ragcun.measure.ranking import CUTOFFS, Run, mean_scores, score_queries

TOP_K = 1000
SHAPE = {"isoscore": 0.25, "mean_cosine": -0.01, "effective_rank": 12.5, "hubness": 0.75}
# Ids that a reader of tables or of TREC files may take for something else.
ODD_IDS = [
    "001",
    "1",
    "1e5",
    "NA",
    "null",
    "nan",
    "None",
    "TRUE",
    "-inf",
    "a b",
    "a%20b",
    "a  b ",
    "no\u00a0break",
    "line\u2028separator",
    '"Heroes" (album)',
    "it's, he said",
    "#hash",
    "Zürich",
]


def a_benchmark(*, dev: bool = True) -> Benchmark:
    """Every odd id is a test query's and a document's; three more queries are the dev split's."""
    documents = ODD_IDS + [f"d{i}" for i in range(30)]
    splits = {"test": ODD_IDS} | ({"dev": ["v0", "v1", "NaN"]} if dev else {})
    rng = random.Random(0)
    qrels = {
        split: {query: {document: rng.randrange(3) for document in rng.sample(documents, 12)} for query in queries}
        for split, queries in splits.items()
    }
    queries = {split: {query: f"text of {query}" for query in judged} for split, judged in qrels.items()}
    return Benchmark("odd", documents, [""] * len(documents), [f"text of {i}" for i in documents], queries, qrels)


def a_run(benchmark: Benchmark, seed: int = 0) -> Run:
    """Distinct scores for every document of every query but one, which finds none."""
    rng = random.Random(seed)
    run = {query: {document: rng.gauss(0, 1) for document in benchmark.doc_ids} for query in benchmark.all_queries}
    run["001"] = {}
    return run


def written(
    folder: Path, *, dev: bool = True, shape: dict[str, float] | None = SHAPE, run_depth: int = 20
) -> tuple[Benchmark, Evaluation]:
    benchmark = a_benchmark(dev=dev)
    evaluation = score_run(benchmark, a_run(benchmark), TOP_K, shape)
    write_evaluation(evaluation, folder / "metrics.json", folder / "runs", run_depth, tag="tag")
    return benchmark, evaluation


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("shape", [SHAPE, {}, None])
def test_metrics_and_measures_have_exactly_the_documented_keys(
    dev: bool, shape: dict[str, float] | None, tmp_path: Path
) -> None:
    written(tmp_path, dev=dev, shape=shape)
    metrics = {"ndcg@10"} | ({"dev_ndcg@10"} if dev else set()) | ({"isoscore"} if shape else set())
    assert read(tmp_path / "metrics.json").keys() == metrics
    measures = read(tmp_path / "runs/measures.json")
    assert measures.pop("corpus", None) == shape
    assert set(measures) == ({"test", "dev"} if dev else {"test"})
    for values in measures.values():
        assert values.keys() == {"ndcg@10", "map@100", "recall@100", "p@10", "mrr@10"}


def test_measures_are_each_splits_own_means_and_metrics_are_of_them(tmp_path: Path) -> None:
    benchmark, _ = written(tmp_path)
    run = a_run(benchmark)
    test, dev = (mean_scores(score_queries(benchmark.qrels[split], run)) for split in ("test", "dev"))
    assert test["ndcg@10"] != dev["ndcg@10"]
    measures = read(tmp_path / "runs/measures.json")
    for name in HEADLINE:
        assert measures["test"][name] == test[name]
        assert measures["dev"][name] == dev[name]
    assert read(tmp_path / "metrics.json") == {
        "ndcg@10": test["ndcg@10"],
        "dev_ndcg@10": dev["ndcg@10"],
        "isoscore": SHAPE["isoscore"],
    }


def test_a_query_that_finds_nothing_counts_as_0() -> None:
    benchmark = a_benchmark()
    scores = score_run(benchmark, a_run(benchmark), TOP_K, None).per_query["test"]
    assert (scores.loc["001"] == 0).all()
    assert set(scores.index) == set(ODD_IDS)


def test_runs_hold_their_own_splits_queries_only() -> None:
    benchmark = a_benchmark()
    runs = score_run(benchmark, a_run(benchmark), TOP_K, None).runs
    assert {split: set(run) for split, run in runs.items()} == {
        split: set(queries) for split, queries in benchmark.queries.items()
    }


def test_scores_per_query_come_back_under_their_ids(tmp_path: Path) -> None:
    _, evaluation = written(tmp_path)
    for split, expected in evaluation.per_query.items():
        names = [f"{measure}@{k}" for measure in ("ndcg", "map", "recall", "p", "mrr") for k in CUTOFFS]
        table = pq.read_table(tmp_path / "runs" / f"{split}.parquet")
        assert table.column_names == ["query", *names]
        assert table["query"].to_pylist() == list(expected.index)
        pd.testing.assert_frame_equal(read_scores(tmp_path / "runs", split), expected, check_exact=True)


def trec_lines(path: Path) -> list[list[str]]:
    """As trec_eval reads them: bytes, cut at white space."""
    return [[cell.decode() for cell in line.split()] for line in path.read_bytes().splitlines()]


def test_trec_files_have_six_columns_whatever_the_ids(tmp_path: Path) -> None:
    benchmark, _ = written(tmp_path)
    for split in ("test", "dev"):
        text = (tmp_path / "runs" / f"{split}.trec").read_text(encoding="utf-8")
        # Also for readers that take every Unicode space for one.
        assert {len(line.split()) for line in text.split("\n") if line} == {6}
        lines = trec_lines(tmp_path / "runs" / f"{split}.trec")
        assert {len(line) for line in lines} == {6}
        assert {line[1] for line in lines} == {"Q0"}
        assert {line[5] for line in lines} == {"tag"}
        # Two ids never become one, and each can be told from what is written.
        assert {unquote(line[0]) for line in lines} == set(benchmark.queries[split]) - {"001"}
    assert {unquote(line[2]) for line in trec_lines(tmp_path / "runs" / "test.trec")} == set(benchmark.doc_ids)


def test_plain_ids_stand_in_trec_files_as_they_are(tmp_path: Path) -> None:
    written(tmp_path)
    names = {line[2] for line in trec_lines(tmp_path / "runs" / "test.trec")}
    assert {"001", "NA", "Zürich", "#hash"} <= names


def test_trec_files_rank_the_best_first_and_no_deeper_than_asked(tmp_path: Path) -> None:
    benchmark, _ = written(tmp_path, run_depth=7)
    run = a_run(benchmark)
    by_query: dict[str, list[list[str]]] = {}
    for line in trec_lines(tmp_path / "runs" / "test.trec"):
        by_query.setdefault(unquote(line[0]), []).append(line)
    assert len(by_query) == len(ODD_IDS) - 1
    for query, lines in by_query.items():
        best = sorted(run[query], key=run[query].__getitem__, reverse=True)[:7]
        assert [unquote(line[2]) for line in lines] == best
        assert [line[3] for line in lines] == [str(place) for place in range(1, 8)]
        assert [float(line[4]) for line in lines] == [run[query][document] for document in best]


def test_equal_scores_are_written_in_trec_evals_order(tmp_path: Path) -> None:
    documents = [f"d{i}" for i in range(12)]
    benchmark = Benchmark(
        "ties", documents, [""] * 12, ["text"] * 12, {"test": {"q": "text"}}, {"test": {"q": {"d3": 1}}}
    )
    evaluation = score_run(benchmark, {"q": dict.fromkeys(documents, 1.0)}, TOP_K, None)
    write_evaluation(evaluation, tmp_path / "metrics.json", tmp_path / "runs", 100, tag="tag")
    places = {line[2]: int(line[3]) for line in trec_lines(tmp_path / "runs" / "test.trec")}
    assert list(places) == sorted(documents, reverse=True)
    assert evaluation.measures()["test"]["mrr@10"] == pytest.approx(1 / places["d3"])


def test_trec_evals_own_reader_and_scorer_agree_with_the_summary(tmp_path: Path) -> None:
    benchmark, evaluation = written(tmp_path, run_depth=1000)
    with (tmp_path / "runs" / "test.trec").open(encoding="utf-8") as file:
        read = pytrec_eval.parse_run(file)
    run = {unquote(query): {unquote(i): score for i, score in found.items()} for query, found in read.items()}
    scores = score_queries(benchmark.qrels["test"], run)
    pd.testing.assert_frame_equal(scores, evaluation.per_query["test"])


def test_the_folder_of_a_former_evaluation_is_replaced_whole(tmp_path: Path) -> None:
    written(tmp_path, dev=True)
    written(tmp_path, dev=False)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"measures.json", "test.parquet", "test.trec"}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "metrics.json"}


def test_the_files_depend_on_the_evaluation_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path / name)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_parts_are_searched_apart_and_their_means_count_alike(tmp_path: Path) -> None:
    """The same ids in both parts; the second has a dev split, and fewer test queries."""
    first, second = a_benchmark(dev=False), a_benchmark()
    del second.queries["test"]["NA"], second.qrels["test"]["NA"]
    parts = {
        "a": score_run(first, a_run(first, 1), TOP_K, {"isoscore": 0.2}),
        "b": score_run(second, a_run(second, 2), TOP_K, {"isoscore": 0.4}),
    }
    joined = join_parts(parts)
    measures = joined.measures()
    for name in HEADLINE:
        means = [mean_scores(evaluation.per_query["test"])[name] for evaluation in parts.values()]
        assert measures["test"][name] == pytest.approx(sum(means) / 2, abs=1e-12)
        assert measures["dev"][name] == pytest.approx(mean_scores(parts["b"].per_query["dev"])[name], abs=1e-12)
    assert measures["test/a"] == {"ndcg@10": mean_scores(parts["a"].per_query["test"])["ndcg@10"]}
    assert measures["corpus"] == {"isoscore": pytest.approx(0.3)}
    assert set(joined.runs["test"]) == {f"a/{i}" for i in ODD_IDS} | {f"b/{i}" for i in ODD_IDS if i != "NA"}
    write_evaluation(joined, tmp_path / "metrics.json", tmp_path / "runs", 5, tag="tag")
    table = read_scores(tmp_path / "runs", "test").reset_index()
    assert set(table["part"]) == {"a", "b"}
    assert table["query"].tolist() == list(joined.per_query["test"].index)


def test_a_benchmark_without_parts_is_its_own_evaluation() -> None:
    benchmark = a_benchmark()
    evaluation = score_run(benchmark, a_run(benchmark), TOP_K, None)
    assert join_parts({"": evaluation}) is evaluation
