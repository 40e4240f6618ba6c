"""A source of 60 articles, put into a copy of the project by tests/test_pipeline.py as ragcun/sources/tiny.py.

An article is three words of one subject; its query is two of them. One in five articles is test, one in five dev.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from ragcun.data.benchmark import Benchmark, write_benchmark
from ragcun.data.text import document_text
from ragcun.sources.records import Pair, Passage, Split
from ragcun.sources.source_report import SourceReport

SUBJECTS = (
    "river water boat bridge fish shore",
    "star planet orbit telescope moon comet",
    "king crown throne castle sword knight",
)
ARTICLES = [
    (f"{words[0]} {words[1]} {words[2]}", f"the {words[2]} of the {words[0]} and the {words[1]}")
    for subject in SUBJECTS
    for words in itertools.combinations(subject.split(), 3)
]
SPLITS: tuple[Split, ...] = ("train", "train", "test", "train", "dev")


class Tiny:
    def passages(self, report: SourceReport) -> Iterator[Passage]:
        for row, (title, text) in enumerate(ARTICLES):
            # Leaky on purpose: the whole collection, so that keeping the held-out articles out is the pipeline's work.
            yield Passage(f"a{row}", title, text)

    def pairs(self, report: SourceReport) -> Iterator[Pair]:
        for row, (title, text) in enumerate(ARTICLES):
            yield Pair(self._split(row), self._query(row), document_text(title, text))
            if self._split(row) == "train":
                # A leak: a held-out article as another train query's answer.
                yield Pair("train", f"{self._query(row)} old", document_text(*ARTICLES[2]))

    def benchmark(self) -> Benchmark:
        rows = {split: [row for row in range(len(ARTICLES)) if self._split(row) == split] for split in ("test", "dev")}
        return Benchmark(
            "tiny",
            [f"a{row}" for row in range(len(ARTICLES))],
            [title for title, _ in ARTICLES],
            [text for _, text in ARTICLES],
            {split: {f"q{row}": self._query(row) for row in rows[split]} for split in rows},
            {split: {f"q{row}": {f"a{row}": 1} for row in rows[split]} for split in rows},
        )

    def fetch(self, *, target: Path) -> None:
        write_benchmark(self.benchmark(), target, {"source": "tiny"})

    def _split(self, row: int) -> Split:
        return SPLITS[row % len(SPLITS)]

    def _query(self, row: int) -> str:
        words = ARTICLES[row][0].split()
        return f"which {words[row % 3]} {words[(row + 1) % 3]}"
