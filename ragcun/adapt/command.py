"""`ragcun adapt MODEL CORPUS OUT`: read, embed, choose, fold, write."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ragcun.adapt.directions import sees_directions
from ragcun.adapt.folder import base_and_head, fold, load_model, save_adapted
from ragcun.adapt.judged import Choice, Judged, choose_on_judged
from ragcun.adapt.rule import FEW_TEXTS, Adaptation, Statistics, choose, unit
from ragcun.adapt.stand_ins import stand_in_queries, stand_in_rows
from ragcun.adapt.texts import Texts, is_stored, read_corpus, read_queries, texts_by_id
from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import read_qrels
from ragcun.encode.base import similarity_of
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import Embeddings, benchmark_texts, read_embeddings, scratch_folder, write_embeddings

logger = logging.getLogger(__name__)

_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    model: str
    corpus: Path
    out: Path
    queries: Path | None = None
    qrels: Path | None = None
    to_isoscore: float = 0.30


def adapt(request: Request) -> dict[str, Any]:
    """Do it, and return what was done, in plain figures.

    Raises:
        RagcunError: an input is missing or not as expected, or OUT is there already.
    """
    _check(request)
    model = load_model(request.model)
    corpus = None if is_stored(request.corpus) else read_corpus(request.corpus)
    queries = None if request.queries is None else read_queries(request.queries)
    with scratch_folder() as scratch:
        vectors = _embedded(model, request.corpus, corpus, queries, scratch)
        rows = stand_in_rows(len(vectors["corpus"]))
        if len(vectors["stand_ins"]) != len(rows):
            raise RagcunError(
                f"{request.corpus} holds no vectors of stand-in queries, or not of all: write it anew, with "
                "`dvc repro`, or name the texts themselves"
            )
        statistics = Statistics.of(vectors["corpus"], vectors["stand_ins"], rows, vectors.get("queries"))
        choice = None
        if request.qrels is not None and corpus is not None and queries is not None:
            choice = choose_on_judged(statistics, _judged(model, vectors, corpus, queries, request.qrels))
            adaptation = choice.adaptation
        else:
            found = choose(statistics, request.to_isoscore)
            adaptation = None if found.left_alone else found
    done = _figures(statistics, adaptation, choice, request)
    if adaptation is not None:
        fold(model, adaptation)
        save_adapted(model, request.out, {"model": request.model, "corpus": str(request.corpus), **done})
    return done


def _check(request: Request) -> None:
    if request.out.exists():
        raise RagcunError(f"OUT {request.out} is there already: name another folder, or remove it")
    if request.qrels is not None and (request.queries is None or is_stored(request.corpus)):
        raise RagcunError("--qrels judges documents by queries, so it needs --queries, and a CORPUS of texts with ids")


def _embedded(
    model: SentenceTransformer, place: Path, corpus: Texts | None, queries: Texts | None, scratch: Path
) -> Mapping[str, np.ndarray]:
    """The model's embeddings, as it is adapted by them: of `corpus`, `stand_ins` and, where there are such, `queries`."""
    base, head = base_and_head(model)
    encoder = TextEncoder(base, dtype="float32", batch_tokens=_BATCH_TOKENS, max_length=None)
    asked = {} if queries is None else texts_by_id(queries)
    documents, found = [] if corpus is None else corpus.texts, {}
    if corpus is None:
        stored = read_embeddings(place)
        _check_origin(stored, encoder, place)
        found = {"stand_ins": np.empty((0, encoder.dim or 0))}
        found |= {name: stored.arrays[name] for name in ("corpus", "stand_ins") if name in stored.arrays}
    lists = benchmark_texts(documents, asked, [drawn.text for drawn in stand_in_queries(documents)])
    if lists := {name: texts for name, texts in lists.items() if texts.texts}:
        write_embeddings(scratch / "texts", encoder, lists)
        found |= read_embeddings(scratch / "texts").arrays
    if head is not None:
        found = {name: head.project(rows) for name, rows in found.items()}
    return {name: unit(rows) if sees_directions(model) else rows for name, rows in found.items()}


def _check_origin(stored: Embeddings, encoder: TextEncoder, place: Path) -> None:
    """Refuse vectors that another model made; the number format they were computed in may differ."""
    other = [
        name for name, value in encoder.description.items() if name != "dtype" and stored.description.get(name) != value
    ]
    if other:
        raise RagcunError(
            f"{place} holds vectors of another model, or of this one with other settings ({', '.join(other)}): name the "
            "model that made them, one that was trained on it, or the texts themselves"
        )


def _judged(
    model: SentenceTransformer, vectors: Mapping[str, np.ndarray], corpus: Texts, queries: Texts, qrels: Path
) -> Judged:
    known = texts_by_id(queries)
    texts_by_id(corpus)
    judgements = read_qrels(qrels, known_queries=dict(known), known_documents=set(corpus.ids), strict=False)
    return Judged(list(known), vectors["queries"], corpus.ids, vectors["corpus"], judgements, similarity_of(model))


def _figures(
    statistics: Statistics, adaptation: Adaptation | None, choice: Choice | None, request: Request
) -> dict[str, Any]:
    if statistics.stand_ins < FEW_TEXTS:
        logger.warning(
            "%d documents are few: the statistics are mostly chance below %d", statistics.documents, FEW_TEXTS
        )
    before = statistics.isoscore()
    done: dict[str, Any] = {
        "documents": statistics.documents,
        "stand_in_queries": statistics.stand_ins,
        "queries": statistics.queries,
        "isoscore_before": before,
        "isoscore_after": before if adaptation is None else adaptation.after,
        "gamma": 0.0 if adaptation is None else adaptation.gamma,
        "adapted": adaptation is not None,
        "out": None if adaptation is None else str(request.out),
    }
    if choice is not None:
        done["judged"] = {
            "queries": choice.queries,
            "ndcg@10": choice.base,
            "gain": choice.gain,
            "interval": list(choice.interval),
        }
    elif adaptation is None:
        done["to_isoscore"] = request.to_isoscore
    return done
