"""A user's benchmark is checked as any other."""

from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder
from ragcun.data.benchmark import Benchmark, read_benchmark, write_benchmark
from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.sources.beir import LocalBenchmark


def test_a_local_benchmark_is_read_under_the_name_it_was_given(tmp_path: Path) -> None:
    benchmark = Benchmark("mine", ["a"], ["A"], ["text"], {"test": {"q": "?"}}, {"test": {"q": {"a": 1}}})
    write_benchmark(benchmark, tmp_path / "folder")
    assert LocalBenchmark("mine", tmp_path / "folder").benchmark() == benchmark
    (tmp_path / "folder" / "qrels" / "test.tsv").unlink()
    with pytest.raises(RagcunError, match=r"test\.tsv is missing"):
        LocalBenchmark("mine", tmp_path / "folder").benchmark()


def fetched(tmp_path: Path, benchmark: Benchmark, **options: bool) -> Benchmark:
    """What evaluation reads after a user's folder with this benchmark was brought in."""
    write_benchmark(benchmark, tmp_path / "folder")
    with atomic_folder(tmp_path / "target") as partial:
        LocalBenchmark("mine", tmp_path / "folder", **options).fetch(target=partial)
    return read_benchmark(tmp_path / "target", name="mine")


TEXTS = ["river water", "planet moon", "castle king"]
# Row numbers as ids, of documents and of queries.
ROWS = Benchmark(
    "mine",
    ["0", "1", "2"],
    ["", "", ""],
    TEXTS,
    {"test": {str(row): f"which {text}?" for row, text in enumerate(TEXTS)}},
    {"test": {str(row): {str(row): 1} for row in range(3)}},
)
# Each query is the document of its id; the answer is another.
DOCUMENTS = Benchmark(
    "mine",
    [*"abcd"],
    ["River", "Planet", "", ""],
    ["river water", "planet moon", "castle king", "river boat"],
    {"test": {"a": "River  river water", "b": "planet moon"}},
    {"test": {"a": {"d": 1}, "b": {"c": 1}}},
)


def test_an_answer_with_its_querys_id_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = fetched(tmp_path, ROWS)
    assert evaluate_bm25(mine, 1000).summary()["ndcg@10"] == 1
    assert "data.queries_are_documents" not in caplog.text, "equal ids alone are no reason to think of it"


def test_queries_that_are_documents_find_others_where_the_user_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = fetched(tmp_path, DOCUMENTS)
    assert list(evaluate_bm25(mine, 1000).runs["test"]["a"]) == ["a", "d"]
    assert "mine: 2 of 2 queries are documents of its corpus" in caplog.text
    assert "name it in data.queries_are_documents" in caplog.text
    caplog.clear()
    mine = fetched(tmp_path, DOCUMENTS, queries_are_documents=True)
    assert mine.queries_are_documents
    assert list(evaluate_bm25(mine, 1000).runs["test"]["a"]) == ["d"]
    assert "mine:" not in caplog.text


def test_a_report_in_the_users_folder_decides_nothing(tmp_path: Path) -> None:
    write_benchmark(ROWS, tmp_path / "folder")
    (tmp_path / "folder" / "report.json").write_text("a report of the user's own")
    assert LocalBenchmark("mine", tmp_path / "folder").benchmark() == ROWS


def test_queries_that_are_said_to_be_documents_and_have_no_documents_id_are_an_error(tmp_path: Path) -> None:
    queries = {"test": {"q": "?"}}
    other = Benchmark("mine", ["a"], ["A"], ["text"], queries, {"test": {"q": {"a": 1}}})
    with pytest.raises(
        RagcunError, match=r"data\.queries_are_documents names mine, but none of its queries has .*remove"
    ):
        fetched(tmp_path, other, queries_are_documents=True)
