"""The sentence of a document that answers a query best: it shows why the document was found."""

import re
from collections.abc import Sequence

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.search.bm25 import BM25Index

# Sentences of a document that are looked at, and characters that are shown.
SENTENCES = 40
CHARACTERS = 300
# A full stop, question or exclamation mark before white space and a capital, digit or quote; or a line's end.
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9À-ÞΑ-ΩА-Я])|\n+")


def sentences(text: str) -> list[str]:
    """The first sentences of a text, at least one, perhaps empty."""
    found = [" ".join(part.split()) for part in _END.split(text)]
    return [part for part in found if part][:SENTENCES] or [""]


def best_by_vectors(query: np.ndarray, vectors: Sequence[np.ndarray]) -> list[int]:
    """For each document the row of its sentence, (n, D) each, that is nearest to the query, (D,), by cosine."""
    return [int((rows @ query / np.maximum(np.linalg.norm(rows, axis=1), 1e-12)).argmax()) for rows in vectors]


def best_by_words(query: str, documents: Sequence[Sequence[str]]) -> list[int]:
    """For each document the row of its sentence with the highest BM25 score; the first where none shares a word."""
    every = [sentence for document in documents for sentence in document]
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    starts = np.concatenate([[0], np.cumsum([len(document) for document in documents])])
    best = [0] * len(documents)
    try:
        ((rows, _),) = BM25Index(every).ranked([query], depths=[len(every)])
    except RagcunError:
        return best
    for row in rows[::-1]:
        best[owner[row]] = int(row - starts[owner[row]])
    return best


def shortened(sentence: str) -> str:
    """A sentence as it is shown: at most CHARACTERS long."""
    return sentence if len(sentence) <= CHARACTERS else sentence[: CHARACTERS - 1].rstrip() + "…"
