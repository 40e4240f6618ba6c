"""The benchmark that checkpoints may be chosen on: one without parts, or none."""

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


def test_a_note_is_no_benchmark_and_parts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation/none.txt").write_text("data.validation is null\n")
    assert read_validation(tmp_path / "validation", first_id=0) is None
    for part in ("a", "b"):
        write_benchmark(tiny_benchmark(), tmp_path / "parts" / part)
    with pytest.raises(RagcunError, match="a benchmark of several parts: name one without, or null"):
        read_validation(tmp_path / "parts", first_id=0)
