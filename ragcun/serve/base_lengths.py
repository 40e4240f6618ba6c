"""Vectors of a file have the lengths that a model's base gives: a projection of two layers is of another vector otherwise."""

import json
from pathlib import Path

import numpy as np

from ragcun.core.errors import RagcunError
from ragcun.encode.layout import saved_base_length
from ragcun.serve.vector_files import Map

# Vectors in float16 are further from length 1 than rounding in float32 leaves them.
_AT_LENGTH_ONE = 1e-2


def as_the_base_gives(model: Path, vectors: Path, apply: Map) -> Map:
    """`apply` of vectors at length 1 where the model's base ends in Normalize.

    Where it ends in pooling instead, the map raises RagcunError for vectors that are all of length 1, unless it makes no
    difference to the embeddings' directions, and these are all that count.
    """
    modules = json.loads((model / "modules.json").read_text(encoding="utf-8"))
    base = modules[: saved_base_length(model, len(modules))]
    config = json.loads((model / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    kind = base[-1]["type"].rpartition(".")[2]
    if kind == "Normalize":
        return lambda rows: apply(at_length_one(rows))
    linear = len(modules) - len(base) == 1 and config.get("similarity_fn_name") == "cosine"
    if kind != "Pooling" or linear:
        return apply

    def checked(rows: np.ndarray) -> np.ndarray:
        if (np.abs(np.linalg.norm(rows, axis=1) - 1) < _AT_LENGTH_ONE).all():
            raise RagcunError(
                f"{vectors} holds vectors of length 1, but the base of {model} does not normalise (normalize_base: drop): "
                "encode with the base without its Normalize, or name a model trained with normalize_base: keep"
            )
        return apply(rows)

    return checked


def at_length_one(rows: np.ndarray) -> np.ndarray:
    """The rows (n, d), divided by their lengths where these are not 1 already.

    >>> at_length_one(np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [1.0, 0.0], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where((np.abs(lengths - 1) < _AT_LENGTH_ONE) | (lengths == 0), 1, lengths)
