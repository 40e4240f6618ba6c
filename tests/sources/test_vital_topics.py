"""The articles of one topic: every topic of the data is a benchmark, and its queries are those of the two that it is cut from."""

from collections import Counter
from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark
from ragcun.sources import fanoutqa, vital
from ragcun.sources.vital_topics import TOPICS, of_topic


def test_every_topic_is_a_benchmark_and_together_they_hold_every_article(real_json: list[Any]) -> None:
    collection, *questions = real_json
    articles = vital.parse_articles(collection)
    whole = [
        vital.descriptions(articles),
        fanoutqa.build(articles, dict(zip(fanoutqa.MEMBERS, questions, strict=True))),
    ]
    topics = {name: of_topic(name, articles, whole) for name in TOPICS}
    assert sum(len(topic.doc_ids) for topic in topics.values()) == 10_033
    assert min(len(topic.doc_ids) for topic in topics.values()) == 256
    asked = Counter(query for topic in topics.values() for query in topic.queries["test"])
    assert set(asked) == {query for benchmark in whole for query in benchmark.queries["test"]}
    assert sum(len(judged) for topic in topics.values() for judged in topic.qrels["test"].values()) == 1814 + 1333
    mathematics = topics["vital-mathematics"]
    assert {split: len(queries) for split, queries in mathematics.queries.items()} == {"test": 56, "dev": 26}


ARTICLES = [vital.Article(title, f"about {title}", "", topic) for title, topic in (("Cat", "Arts"), ("Dog", "History"))]
WHOLE = Benchmark(
    "whole",
    ["Cat", "Dog"],
    ["Cat", "Dog"],
    ["about Cat", "about Dog"],
    {"test": {"both": "which?", "dog": "who?"}},
    {"test": {"both": {"Cat": 1, "Dog": 1}, "dog": {"Dog": 1}}},
)


def test_a_query_keeps_the_answers_of_the_topic_alone() -> None:
    arts = of_topic("vital-arts", ARTICLES, [WHOLE])
    assert list(arts.doc_ids) == ["Cat"]
    assert arts.qrels["test"] == {"both": {"Cat": 1}}
    assert arts.queries["test"] == {"both": "which?"}


def test_a_topic_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RagcunError, match=r"no article of .* has the topic Mathematics"):
        of_topic("vital-mathematics", ARTICLES, [WHOLE])
