"""A BEIR folder is read as beir reads it, and whatever would quietly change a score is an error."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from beir.datasets.data_loader import GenericDataLoader

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, count_benchmark, read_benchmark, read_parts, write_benchmark
from ragcun.data.corpus import LazyTexts

BENCHMARK = Benchmark(
    name="tiny",
    doc_ids=["plain", '"Heroes" (album)', "naïve  id", "titleless"],
    titles=["Plain", '"Heroes"', "Naïve", ""],
    bodies=["a text", 'tab\there, "quotes"', "line\u2028separator and\nline break", "only text"],
    queries={"test": {"q1": "first?", "q2": "zweite für dich?"}, "dev": {"q3": "third?"}},
    qrels={
        "test": {"q1": {"plain": 1, '"Heroes" (album)': 2}, "q2": {"naïve  id": 1, "plain": 0}},
        "dev": {"q3": {"titleless": 1}},
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_benchmark(BENCHMARK, tmp_path / "tiny")
    return tmp_path / "tiny"


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, "the edit must touch one place, else the test proves nothing"
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


def test_what_is_written_is_read_back_equal(folder: Path) -> None:
    assert read_benchmark(folder) == BENCHMARK
    assert read_benchmark(folder, name="mine").name == "mine"


def test_that_queries_are_documents_is_kept_with_the_benchmark(folder: Path) -> None:
    assert not read_benchmark(folder).queries_are_documents
    assert read_benchmark(folder, queries_are_documents=True).queries_are_documents
    write_benchmark(replace(BENCHMARK, queries_are_documents=True), folder)
    assert read_benchmark(folder) == replace(BENCHMARK, queries_are_documents=True)
    assert read_benchmark(folder, queries_are_documents=False) == BENCHMARK
    (folder / "report.json").unlink()
    assert not read_benchmark(folder).queries_are_documents


def test_an_answer_that_is_left_out_as_the_querys_own_document_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = ["0", "1", "2"]
    queries = {"test": {"0": "a?", "1": "b?"}, "dev": {"2": "c?"}}
    qrels = {"test": {"0": {"0": 1}, "1": {"1": 0, "0": 1}}, "dev": {"2": {"2": 2}}}
    write_benchmark(Benchmark("rows", ids, ["", "", ""], ["a", "b", "c"], queries, qrels), tmp_path / "rows")
    read_benchmark(tmp_path / "rows")
    assert "judged relevant" not in caplog.text
    read_benchmark(tmp_path / "rows", queries_are_documents=True)
    assert "rows: of 2 queries the document with the query's own id is judged relevant" in caplog.text


@pytest.mark.parametrize("split", ["test", "dev"])
def test_beir_loads_what_is_written(folder: Path, split: str) -> None:
    corpus, queries, qrels = GenericDataLoader(str(folder)).load(split=split)
    assert list(corpus) == BENCHMARK.doc_ids
    assert [corpus[i]["title"] for i in corpus] == BENCHMARK.titles
    assert [corpus[i]["text"] for i in corpus] == BENCHMARK.bodies
    assert queries == BENCHMARK.queries[split]
    assert qrels == BENCHMARK.qrels[split]


def test_document_text_joins_title_and_text_and_a_missing_title_is_empty(folder: Path) -> None:
    edit(folder, "corpus.jsonl", '"title": "", ', "")
    edit(folder, "corpus.jsonl", '"title": "Plain"', '"title": null')
    texts = read_benchmark(folder).doc_texts
    assert texts[0] == "a text"
    assert texts[1] == '"Heroes" tab\there, "quotes"'
    assert texts[3] == "only text"


def test_a_split_has_the_queries_it_judges_and_no_others(folder: Path) -> None:
    with (folder / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "q4", "text": "never judged", "metadata": {"any": 1}}\n\n')
    assert read_benchmark(folder).queries == BENCHMARK.queries


def test_dev_is_optional_and_test_is_not(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").unlink()
    assert list(read_benchmark(folder).queries) == ["test"]
    (folder / "qrels" / "test.tsv").unlink()
    with pytest.raises(RagcunError, match=r"qrels/test\.tsv is missing: a benchmark needs judgements; add"):
        read_benchmark(folder)


BAD = {
    "malformed JSON": (
        "corpus.jsonl",
        '{"_id": "naïve',
        '{_id": "naïve',
        r"corpus\.jsonl, line 3: malformed JSON .*; write",
    ),
    "no object": (
        "queries.jsonl",
        '{"_id": "q2", "text": "zweite für dich?"}',
        "[]",
        r"queries\.jsonl, line 2: list instead",
    ),
    "no id": ("queries.jsonl", '"_id": "q1"', '"id": "q1"', r"queries\.jsonl, line 1: `_id` is None; it must"),
    "numeric id": ("corpus.jsonl", '"_id": "plain"', '"_id": 7', r"corpus\.jsonl, line 1: `_id` is 7; it must"),
    "id with a tab": ("corpus.jsonl", '"_id": "plain"', '"_id": "pl\\tain"', r"line 1: `_id` is .*without tabs"),
    "document id with a lone surrogate": (
        "corpus.jsonl",
        '"_id": "plain"',
        '"_id": "pl\\ud800ain"',
        r"corpus\.jsonl, line 1: `_id` is 'pl\\ud800ain'; .* and lone surrogates",
    ),
    "query id with a lone surrogate": (
        "queries.jsonl",
        '"_id": "q2"',
        '"_id": "q2\\udfff"',
        r"queries\.jsonl, line 2: `_id` is 'q2\\udfff'; .* and lone surrogates",
    ),
    "document twice": (
        "corpus.jsonl",
        '"_id": "titleless"',
        '"_id": "plain"',
        r"corpus\.jsonl, line 4: the document id 'plain' is given twice; keep",
    ),
    "query twice": (
        "queries.jsonl",
        '"_id": "q3"',
        '"_id": "q1"',
        r"queries\.jsonl, line 3: the query id 'q1' is given twice; keep",
    ),
    "empty query": ("queries.jsonl", "first?", "  ", r"queries\.jsonl, line 1: query 'q1' has an empty text; give"),
    "text no string": ("corpus.jsonl", '"only text"', "5", r"corpus\.jsonl, line 4: 'text' is int; it must"),
    "unknown query": (
        "qrels/test.tsv",
        "q2\tplain",
        "q9\tplain",
        r"test\.tsv, line 5: the query id 'q9' is not in queries\.jsonl; add",
    ),
    "unknown document": (
        "qrels/dev.tsv",
        "titleless",
        "nowhere",
        r"dev\.tsv, line 2: the document id 'nowhere' is not in corpus\.jsonl; add",
    ),
    "two columns": ("qrels/test.tsv", "q1\tplain\t1", "q1\tplain", r"test\.tsv, line 2: 2 columns instead of 3; write"),
    "TREC's four columns": (
        "qrels/test.tsv",
        "q1\tplain\t1",
        "q1\t0\tplain\t1",
        r"test\.tsv, line 2: 4 columns instead of 3; write",
    ),
    "score no integer": (
        "qrels/test.tsv",
        "q1\tplain\t1",
        "q1\tplain\t0.5",
        r"test\.tsv, line 2: the score '0\.5' is not an integer; write",
    ),
    "no header": ("qrels/dev.tsv", "query-id\tcorpus-id\tscore\n", "", r"dev\.tsv, line 1: the header is missing; add"),
    "judged twice": (
        "qrels/test.tsv",
        "q2\tplain\t0",
        "q1\tplain\t0",
        r"test\.tsv, line 5: 'q1' and 'plain' are judged twice, differently; keep",
    ),
    "nothing relevant": ("qrels/dev.tsv", "titleless\t1", "titleless\t0", r"dev\.tsv judges no document relevant"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_an_error_that_names_file_line_and_remedy(folder: Path, bad: str) -> None:
    name, old, new, message = BAD[bad]
    edit(folder, name, old, new)
    with pytest.raises(RagcunError, match=message):
        read_benchmark(folder, strict=True)


@pytest.mark.parametrize("strict", [True, False])
def test_a_document_without_text_is_kept_with_a_warning_and_counted(
    folder: Path, strict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    edit(folder, "corpus.jsonl", "only text", " ")
    benchmark = read_benchmark(folder, strict=strict)
    assert "tiny: 1 documents have neither title nor text" in caplog.text
    assert list(benchmark.doc_texts)[3] == ""
    assert benchmark.doc_ids == BENCHMARK.doc_ids
    assert count_benchmark(benchmark)["documents_without_text"] == 1


def test_a_published_judgement_of_an_unknown_document_is_let_through_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit(folder, *BAD["unknown document"][:3])
    with (folder / "qrels" / "dev.tsv").open("a") as file:
        file.write("q3\tplain\t1\n")
    counts = count_benchmark(read_benchmark(folder))
    assert "1 judgements are of documents" in caplog.text
    assert counts["splits"]["dev"]["judgements_of_unknown_documents"] == 1


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad != "unknown document"])
def test_everything_else_is_an_error_of_a_published_benchmark_too(folder: Path, bad: str) -> None:
    name, old, new, message = BAD[bad]
    edit(folder, name, old, new)
    with pytest.raises(RagcunError, match=message):
        read_benchmark(folder)


def test_lone_surrogates_in_texts_are_replaced_and_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit(folder, "corpus.jsonl", '"title": "Plain"', '"title": "Pl\\ud800ain"')
    edit(folder, "corpus.jsonl", "only text", "only\\udc00\\ud83d\\ude00 text")
    edit(folder, "queries.jsonl", "third?", "third\\udfff?")
    read = read_benchmark(folder)
    assert "corpus.jsonl: lone surrogates in 2 lines were replaced by U+FFFD" in caplog.text
    assert "queries.jsonl: lone surrogates in 1 lines were replaced by U+FFFD" in caplog.text
    assert read.titles[0] == "Pl\ufffdain"
    assert read.bodies[3] == "only\ufffd\N{GRINNING FACE} text", "a pair of surrogates is a character"
    assert read.queries["dev"] == {"q3": "third\ufffd?"}
    write_benchmark(read, tmp_path / "written")
    caplog.clear()
    again = read_benchmark(tmp_path / "written", name="tiny")
    assert again == read
    assert "surrogates" not in caplog.text


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_surrogates_encoded_as_if_they_were_characters_are_no_utf8(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content.replace(b"q1" if b"q1" in content else b"plain", b"\xed\xa0\x80", 1))
    with pytest.raises(RagcunError, match=rf"{name}.* is not UTF-8"):
        read_benchmark(folder)


def test_texts_are_read_when_asked_for_and_equal_those_held(folder: Path) -> None:
    read = read_benchmark(folder)
    assert isinstance(read.titles, LazyTexts)
    assert read.bodies[-1] == BENCHMARK.bodies[-1]
    assert read.bodies[1:3] == BENCHMARK.bodies[1:3]
    assert list(read.doc_texts) == list(BENCHMARK.doc_texts)
    assert read.titles != BENCHMARK.bodies
    with pytest.raises(IndexError):
        read.bodies[4]


def test_a_folder_of_folders_is_a_benchmark_of_parts(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_benchmark(BENCHMARK, tmp_path / "both" / name)
    assert list(read_parts(tmp_path / "both")) == ["a", "b"]
    assert read_parts(tmp_path / "both" / "a") == {"": replace(BENCHMARK, name="a")}
    with pytest.raises(RagcunError, match=r"corpus\.jsonl is missing"):
        read_parts(tmp_path)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RagcunError, match=rf"{name} is missing; a folder in BEIR's layout has"):
        read_benchmark(folder)


def test_an_empty_corpus_a_missing_folder_and_another_encoding_are_errors(folder: Path) -> None:
    with pytest.raises(RagcunError, match="there is no benchmark folder"):
        read_benchmark(folder / "elsewhere")
    (folder / "queries.jsonl").write_bytes('{"_id": "q1", "text": "für"}'.encode("latin-1"))
    with pytest.raises(RagcunError, match=r"queries\.jsonl, line 1 is not UTF-8"):
        read_benchmark(folder)
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(RagcunError, match=r"corpus\.jsonl is empty"):
        read_benchmark(folder)


def test_a_benchmark_that_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    broken: dict[str, Any] = {**vars(BENCHMARK), "bodies": BENCHMARK.bodies[:-1]}
    with pytest.raises(ValueError, match="shorter"):
        write_benchmark(Benchmark(**broken), tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_the_corpus_is_one_json_object_a_line(folder: Path) -> None:
    lines = (folder / "corpus.jsonl").read_bytes().decode("utf-8").split("\n")
    assert [json.loads(line)["_id"] for line in lines if line] == BENCHMARK.doc_ids
