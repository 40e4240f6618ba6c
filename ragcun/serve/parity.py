"""Whether an artefact gives the model's vectors: cosines to the torch fp32 ones, and NDCG@10 on the pairs' dev."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.data.pairs import read_pairs
from ragcun.measure.ranking import Qrels, mean_scores, score_queries
from ragcun.params import Role, Similarity
from ragcun.search.exact import search

LEAST_COSINE = 0.999
# Dev queries, and passages that they are ranked over: enough to see a fault, and encoded in a minute.
QUERIES, PASSAGES = 200, 600
# Texts that show whether a folder loads as the model it is: its weights are the same files.
FEW = 100
_LARGEST = 127
# Texts that artefacts often disagree on: short, long, without spaces, of other scripts, with odd characters.
PROBES = (
    "a",
    "Rhine",
    "who wrote Candide?",
    "  leading and   double spaces, and a tab\t.",
    "Naïve café, Ærø, Łódź, Việt Nam",
    "北京是中国的首都。",
    "Москва и Санкт-Петербург",
    "القاهرة عاصمة مصر",
    'x = {"key": [1, 2.5e-3]}; // comment <br/> https://example.org/a?b=c',
    "🚢 on the river \u200b with a zero-width space",
    "antidisestablishmentarianism" * 8,
    "The Rhine is one of the major European rivers. " * 80,
)


@dataclass(frozen=True)
class Sample:
    """Texts, the role of each, and the judgements of the queries among them, by their places."""

    texts: Sequence[str]
    roles: Sequence[Role]
    qrels: Qrels

    @classmethod
    def of(cls, pairs: Path) -> "Sample":
        """The probes, and dev queries with the dev passages of prepared pairs where they are there."""
        if not (pairs / "dev.parquet").is_file():
            return cls(PROBES, _roles(len(PROBES), 0), {})
        prepared = read_pairs(pairs)
        queries = prepared.dev["query"].unique()[:QUERIES].tolist()
        answers = [sorted(prepared.known_positives[query]) for query in queries]
        wanted = [each for answer in answers for each in answer]
        passages = list(dict.fromkeys([*wanted, *prepared.dev["positive"].tolist()]))[:PASSAGES]
        texts = prepared.texts["text"]
        place = {each: len(PROBES) + at for at, each in enumerate(passages)}
        first = len(PROBES) + len(passages)
        qrels = {
            str(first + at): {str(place[each]): 1 for each in answer if each in place}
            for at, answer in enumerate(answers)
        }
        return cls([*PROBES, *texts.iloc[passages], *texts.iloc[queries]], _roles(first, len(queries)), qrels)

    def few(self) -> "Sample":
        """The first FEW of the texts, without judgements."""
        return Sample(self.texts[:FEW], self.roles[:FEW], {})

    @property
    def queries(self) -> int:
        """How many are judged."""
        return len(self.qrels)

    @property
    def passages(self) -> int:
        """How many the queries are ranked over."""
        return len(self.texts) - len(PROBES) - len(self.qrels)

    def encoded(self, encode: Callable[[Sequence[str], Role], np.ndarray]) -> np.ndarray:
        """Vectors (N, D) of all texts."""
        vectors: list[Any] = [None] * len(self.texts)
        for role in dict.fromkeys(self.roles):
            rows = [row for row, each in enumerate(self.roles) if each == role]
            for row, vector in zip(rows, encode([self.texts[row] for row in rows], role), strict=True):
                vectors[row] = vector
        return np.stack(vectors)

    def ndcg(self, vectors: np.ndarray, similarity: Similarity) -> float | None:
        """NDCG@10 of the dev queries over the passages of the sample; None where there are none."""
        if not self.qrels:
            return None
        rows, first = sorted(map(int, self.qrels)), len(PROBES)
        names = [str(row) for row in range(first, rows[0])]
        hits = search(vectors[rows], vectors[first : rows[0]], names, 10, similarity)
        run = hits.to_run([str(row) for row in rows])
        return mean_scores(score_queries(self.qrels, run, (10,)))["ndcg@10"]


def _roles(passages: int, queries: int) -> list[Role]:
    roles: list[Role] = ["passage"] * passages
    return roles + ["query"] * queries


def cosines(vectors: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """The least and the mean cosine of two lists of vectors (N, D), row by row."""
    products = (vectors.astype(np.float64) * wanted).sum(axis=1)
    found = products / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wanted, axis=1)
    return {"least_cosine": float(found.min()), "mean_cosine": float(found.mean())}


def check(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise RagcunError where an artefact that must give the model's vectors does not."""
    for name, each in figures.items():
        if each["must_hold"] and not each["least_cosine"] >= LEAST_COSINE:
            raise RagcunError(
                f"{name} does not give the model's vectors: the least cosine to them is {each['least_cosine']:.6f}, below "
                f"{LEAST_COSINE}; nothing is written. Report this with the model's base"
            )


def bytes_against_quality(sample: Sample, vectors: np.ndarray) -> list[dict[str, Any]]:
    """NDCG@10 under cosine of shorter and of rounded vectors, with the bytes of each."""
    dim = vectors.shape[1]
    rows = []
    for dims in [dim, *(each for each in (256, 128, 64) if each < dim)]:
        part = vectors[:, :dims]
        rounded = np.rint(part / np.abs(part).max(axis=1, keepdims=True) * _LARGEST)
        for kind, values, size in (("float32", part, 4), ("int8", rounded, 1)):
            rows.append({"dims": dims, "numbers": kind, "bytes": dims * size, "ndcg@10": sample.ndcg(values, "cosine")})
    return rows
