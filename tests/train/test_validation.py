"""The benchmark that checkpoints may be chosen on: one without parts, or none."""

from dataclasses import replace
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, write_benchmark
from ragcun.train.validation import Validation, read_validation, validation_of
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


# Neither file is sorted, and the judgements are in another order than the queries.
QUERIES = {"9": "about rivers", "10": "about stars", "b": "about kings", "a": "about bread"}
QRELS = {"a": {"flour": 1}, "10": {"moon": 2, "sun": 0}, "b": {"crown": 1, "gone": 1, "sword": 3}, "9": {"boat": 1}}
CORPUS = {
    "sword": "a sword",
    "boat": "a boat",
    "moon": "the moon",
    "flour": "flour",
    "crown": "a crown",
    "sun": "a sun",
}


def unsorted_benchmark(queries: dict[str, str]) -> Benchmark:
    return Benchmark("odd", list(CORPUS), [""] * len(CORPUS), list(CORPUS.values()), {"dev": queries}, {"dev": QRELS})


def judged_texts(found: Validation) -> dict[str, dict[str, int]]:
    """For each query's text the grades of its judged passages, by their texts, read off the ids."""
    texts = [*found.passages, *found.queries]
    return {
        texts[query - found.first_id]: {texts[passage - found.first_id]: grade for passage, grade in judged.items()}
        for query, judged in found.relevance.items()
    }


def test_each_querys_text_goes_with_its_judged_passages(tmp_path: Path) -> None:
    expected = {
        QUERIES[query]: {CORPUS[document]: grade for document, grade in judged.items() if document in CORPUS}
        for query, judged in QRELS.items()
    }
    assert judged_texts(validation_of(unsorted_benchmark(QUERIES), 100)) == expected
    write_benchmark(tiny_benchmark(), tmp_path / "tiny")
    found = read_validation(tmp_path / "tiny", first_id=7)
    assert found is not None
    tiny = tiny_benchmark()
    texts = dict(zip(tiny.doc_ids, tiny.doc_texts, strict=True))
    assert judged_texts(found) == {
        tiny.queries["dev"][query]: {texts[document]: grade for document, grade in judged.items()}
        for query, judged in tiny.qrels["dev"].items()
    }


def test_the_order_of_the_queries_in_their_file_decides_nothing() -> None:
    """Their ids decide which of them a bounded evaluation draws."""
    found = validation_of(unsorted_benchmark(QUERIES), 100)
    assert found.queries == [QUERIES[query] for query in sorted(QUERIES)] != list(QUERIES.values())
    other_order = unsorted_benchmark(dict(sorted(QUERIES.items(), reverse=True)))
    other_order.qrels["dev"] = dict(reversed(QRELS.items()))
    other = validation_of(other_order, 100)
    assert (other.queries, other.relevance) == (found.queries, found.relevance)
    assert sorted(found.relevance) == [106, 107, 108, 109]
