"""What a model costs: parameters to train, and bytes to keep."""

from pathlib import Path

from ragcun.evaluate.vectors import Vectors
from ragcun.model.card import made_with


def cost(model: Path, vectors: Vectors) -> dict[str, float]:
    """`trained_parameters` as the model's card says, 0 of one that was not trained; `bytes` of a document's float32 vector."""
    return {
        "trained_parameters": made_with(model).get("trained_parameters", 0),
        "bytes": 4 * vectors.corpus.shape[1],
    }
