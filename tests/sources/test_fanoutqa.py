"""FanOutQA over the vital articles: the design's counts, and evidence found at any depth."""

from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources import fanoutqa, vital

ARTICLES = [vital.Article(title, f"about {title}", "") for title in ("Cat", "Dog", "Bear")]


def evidence(title: str) -> dict[str, Any]:
    return {"pageid": 1, "revid": 2, "title": title, "url": "https://example.org"}


def part(title: str | None, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "p", "question": "?", "decomposition": list(parts), "evidence": title and evidence(title)}


def build(**questions: Any) -> Any:
    test = [{"id": "t", "question": "which?", "necessary_evidence": [evidence("Cat")]}]
    return fanoutqa.build(ARTICLES, {"test": test, **questions})


def test_the_counts_are_the_designs(real_json: list[Any]) -> None:
    collection, *questions = real_json
    benchmark = fanoutqa.build(vital.parse_articles(collection), dict(zip(fanoutqa.MEMBERS, questions, strict=True)))
    assert len(benchmark.doc_ids) == 10_033
    assert {split: len(queries) for split, queries in benchmark.queries.items()} == {"test": 404, "dev": 161}
    assert {split: sum(map(len, qrels.values())) for split, qrels in benchmark.qrels.items()} == {
        "test": 1333,
        "dev": 558,
    }


def test_evidence_of_a_nested_decomposition_is_found_at_any_depth() -> None:
    dev = [
        {
            "id": "d",
            "question": " who? ",
            "decomposition": [part(None, part("Dog", part("Bear")), part("Elsewhere")), part("Dog")],
        }
    ]
    benchmark = build(dev=dev)
    assert benchmark.qrels["dev"] == {"d": {"Dog": 1, "Bear": 1}}
    assert benchmark.queries["dev"] == {"d": "who?"}


def test_a_question_without_evidence_in_the_collection_is_no_query() -> None:
    dev = [
        {"id": "d", "question": "who?", "decomposition": [part("Elsewhere")]},
        {"id": "e", "question": "what?", "decomposition": [part("Dog")]},
    ]
    assert list(build(dev=dev).queries["dev"]) == ["e"]


GOOD = {"id": "d", "question": "who?", "decomposition": [part("Dog")]}


@pytest.mark.parametrize(
    ("dev", "message"),
    [
        ({"a": 1}, "holds dict instead of a list"),
        (["text"], "question 0 is str instead of an object"),
        ([GOOD, {**GOOD, "id": ""}], "question 1 lacks 'id' as text"),
        ([{**GOOD, "question": " "}], "question 0 lacks 'question' as text"),
        ([GOOD, GOOD], "question 1 has the id 'd' of an earlier one"),
        ([{"id": "d", "question": "who?"}], "question 0 lacks 'decomposition' as a list"),
        ([{**GOOD, "decomposition": [[]]}], "question 0: a sub-question is list"),
        (
            [{**GOOD, "decomposition": [{**part("Dog"), "evidence": {"url": "u"}}]}],
            "question 0: an evidence lacks 'title'",
        ),
        ([{"id": "d", "question": "who?", "necessary_evidence": ["Dog"]}], "question 0: an evidence lacks 'title'"),
        ([{**GOOD, "decomposition": [part("Elsewhere")]}], "no evidence is in the collection"),
    ],
)
def test_questions_that_are_not_as_expected_are_an_error_naming_wheel_and_file(dev: Any, message: str) -> None:
    with pytest.raises(
        RagcunError, match=rf"fanout-final-dev\.json in the wheel fanoutqa==1\.1\.1.*{message}.*name another"
    ):
        build(dev=dev)
