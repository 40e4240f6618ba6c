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
