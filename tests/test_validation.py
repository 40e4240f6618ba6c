"""The benchmark that checkpoints may be chosen on: one without parts, or none."""

from dataclasses import replace
from pathlib import Path

import pytest

from ragcun.benchmark import write_benchmark
from ragcun.errors import RagcunError
from ragcun.validation import read_validation
from tests.tiny import tiny_benchmark


def test_its_dev_queries_and_corpus_have_ids_of_their_own(tmp_path: Path) -> None:
    write_benchmark(tiny_benchmark(), tmp_path / "validation")
    found = read_validation(tmp_path / "validation", first_id=100)
    assert found is not None
    assert found.passage_ids.tolist() == list(range(100, 124))
    assert sorted(found.relevance) == [124, 125, 126]


def test_queries_that_are_documents_know_their_own_passage(tmp_path: Path) -> None:
    tiny = tiny_benchmark()
    own = dict(zip(tiny.queries["dev"], ["d03", "d00", "elsewhere"], strict=True))
    renamed = replace(
        tiny,
        queries={**tiny.queries, "dev": {own[query]: text for query, text in tiny.queries["dev"].items()}},
        qrels={**tiny.qrels, "dev": {own[query]: judged for query, judged in tiny.qrels["dev"].items()}},
    )
    for queries_are_documents, expected in ((False, {}), (True, {124: 100, 125: 103})):
        write_benchmark(replace(renamed, queries_are_documents=queries_are_documents), tmp_path / "validation")
        found = read_validation(tmp_path / "validation", first_id=100)
        assert found is not None
        assert found.own == expected


def test_a_note_is_no_benchmark_and_parts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation/none.txt").write_text("data.validation is null\n")
    assert read_validation(tmp_path / "validation", first_id=0) is None
    for part in ("a", "b"):
        write_benchmark(tiny_benchmark(), tmp_path / "parts" / part)
    with pytest.raises(RagcunError, match="a benchmark of several parts: name one without, or null"):
        read_validation(tmp_path / "parts", first_id=0)
