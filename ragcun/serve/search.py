"""`ragcun search MODEL CORPUS [QUERY…]`: index a corpus once, then rank its documents by a model, by BM25, or by both.

Both are fused by reciprocal rank: a document's score is the sum over the rankings of 1 / (60 + rank) (Cormack, Clarke &
Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods, SIGIR 2009).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.data.corpus import LazyTexts
from ragcun.data.text import document_text
from ragcun.encode.store import scratch_folder
from ragcun.search.bm25 import BM25Index
from ragcun.search.exact import search
from ragcun.serve.search_index import Document, Form, first_dims, index_folder, open_documents, open_vectors
from ragcun.serve.snippets import best_by_vectors, best_by_words, sentences, shortened

if TYPE_CHECKING:
    from ragcun.serve.query_model import QueryModel

Ranking = Literal["dense", "bm25", "fuse"]
# Documents of each ranking that are fused.
DEPTH = 100
_RANK_OFFSET = 60


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    model: str
    corpus: Path
    index: Path | None = None
    ranking: Ranking = "dense"
    top: int = 10
    dims: int | None = None
    int8: bool = False


@dataclass(frozen=True)
class Result:
    """A document that was found; `snippet` is its sentence that is nearest to the query."""

    rank: int
    id: str
    score: float
    title: str
    snippet: str


# Row and score, best first.
Ranked = list[tuple[int, float]]


class Searcher:
    """A corpus that is indexed and open, with what ranks it.

    Raises:
        RagcunError: the model or the corpus cannot be read, or --dims is more than the vectors have.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        index = index_folder(request.corpus, request.index)
        self.documents = open_documents(request.corpus, index)
        self._texts = LazyTexts(len(self.documents), self._text)
        # Of equal scores `search` puts the last id first: so that the first document wins, ids count down.
        self._names = LazyTexts(len(self.documents), lambda row: f"{len(self.documents) - 1 - row:012d}")
        self.model: QueryModel | None = None
        if request.ranking != "bm25":
            self.model = model = _load(request.model)
            # Before a corpus is encoded, which may take long.
            first_dims(np.empty((0, model.dim)), request.dims)
            form = Form(model.similarity, request.dims, request.int8)
            with scratch_folder() as scratch:
                self._vectors = open_vectors(
                    self.documents, index, model.description, form, lambda: model.encode_corpus(self._texts, scratch)
                )
        self._bm25 = None if request.ranking == "dense" else BM25Index(self._texts)

    def find(self, query: str) -> list[Result]:
        """The best documents of a query, best first. Raises RagcunError for a query without text."""
        if not query.strip():
            raise RagcunError("the query is empty: give it a word")
        vector = None if self.model is None else first_dims(self.model.encode([query], "query"), self.request.dims)
        rankings: list[Ranked] = []
        depth = DEPTH if self.request.ranking == "fuse" else self.request.top
        if vector is not None:
            rankings.append(self._dense(vector, depth))
        if self._bm25 is not None:
            ((rows, scores),) = self._bm25.ranked([query], depths=[depth])
            rankings.append(list(zip(rows.tolist(), scores.tolist(), strict=True)))
        best = (fuse(rankings) if len(rankings) > 1 else rankings[0])[: self.request.top]
        found = [self.documents[row] for row, _ in best]
        snippets = self._snippets(query, vector, found)
        return [
            Result(rank, document.id, score, document.title, snippet)
            for rank, ((_, score), document, snippet) in enumerate(zip(best, found, snippets, strict=True), start=1)
        ]

    def _text(self, row: int) -> str:
        document = self.documents[row]
        return document_text(document.title, document.text)

    def _dense(self, query: np.ndarray, depth: int) -> Ranked:
        assert self.model is not None
        similarity, scale = self.model.similarity, self._vectors.scale
        hits = search(query / scale, self._vectors.rows, self._names, depth, similarity)
        scores = hits.scores[0] if similarity == "cosine" else hits.scores[0] * scale**2
        if similarity == "euclidean":
            scores = -np.sqrt(np.maximum(0, np.square(query).sum() - scores))
        last = len(self.documents) - 1
        return [(last - int(name), float(score)) for name, score in zip(hits.ids[0], scores, strict=True)]

    def _snippets(self, query: str, vector: np.ndarray | None, found: Sequence[Document]) -> list[str]:
        parts = [sentences(document.text or document.title) for document in found]
        if not parts:
            return []
        if vector is None or self.model is None:
            best = best_by_words(query, parts)
        else:
            every = [sentence for part in parts for sentence in part]
            vectors = first_dims(self.model.encode(every, "passage"), self.request.dims)
            best = best_by_vectors(vector[0], np.split(vectors, np.cumsum([len(part) for part in parts])[:-1]))
        return [shortened(part[row]) for part, row in zip(parts, best, strict=True)]


def _load(path: str) -> "QueryModel":
    # Imports sentence-transformers, which takes seconds.
    from ragcun.serve.query_model import QueryModel

    return QueryModel(path)


def fuse(rankings: Sequence[Ranked]) -> Ranked:
    """Reciprocal rank fusion of rankings; of equal documents the one that comes first in the corpus wins."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, (row, _) in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (_RANK_OFFSET + rank)
    return sorted(scores.items(), key=lambda each: (-each[1], each[0]))


def as_json(query: str, results: Sequence[Result]) -> dict[str, Any]:
    """What `--json` prints of a query."""
    return {"query": query, "results": [asdict(result) for result in results]}


def as_text(results: Sequence[Result]) -> str:
    """What a person reads of a query's results."""
    if not results:
        return "nothing found"
    return "\n".join(
        f"{each.rank:>3}  {each.score:.4f}  {each.title or each.id}\n     {each.snippet}" for each in results
    )
