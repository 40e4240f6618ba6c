"""The base model: any SentenceTransformer, loaded with an error that says what is wrong."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from ragcun.errors import RagcunError


def load_base(path: str, **kwargs: Any) -> SentenceTransformer:
    """Load a SentenceTransformer to build upon.

    Raises:
        RagcunError: there is none at `path`.
    """
    if Path(path).is_dir() and not Path(path, "modules.json").is_file():
        raise RagcunError(
            f"{path} is not a SentenceTransformer folder (it has no modules.json): save the model with "
            "SentenceTransformer(...).save(path) and name that folder"
        )
    try:
        return SentenceTransformer(path, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RagcunError(f"{path} does not load as a SentenceTransformer: {error}") from error


def cut_texts_at(model: SentenceTransformer, max_length: int | None) -> None:
    """Let `model` read at most `max_length` tokens of a text; None keeps its own limit.

    Raises:
        RagcunError: the model cannot read as many, or has no such limit to set.
    """
    if max_length is None:
        return
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and max_length > limit:
        raise RagcunError(
            f"embed.max_length is {max_length}, but the base model reads at most {limit} tokens: lower it"
        )
    try:
        model.max_seq_length = max_length
    except AttributeError as error:
        raise RagcunError("embed.max_length does not apply to this base model: set it to null") from error
