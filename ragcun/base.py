"""The base model: any SentenceTransformer, or the base inside a model that ragcun saved."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from ragcun.errors import RagcunError

# Beside a saved model's own files: how many of its modules are the base. SentenceTransformer does not read it.
LAYOUT_FILE = "ragcun.json"
# Families that number a text's positions from behind the padding token's id, and so read fewer tokens than they have places.
_POSITIONS_AFTER_PADDING = {"mpnet", "roberta", "xlm-roberta", "camembert"}


def load_base(path: str, **kwargs: Any) -> SentenceTransformer:
    """Load a SentenceTransformer to build upon; of a model that ragcun saved, the base without the projection.

    Raises:
        RagcunError: there is none at `path`.
    """
    if Path(path).is_dir() and not Path(path, "modules.json").is_file():
        raise RagcunError(
            f"{path} is not a SentenceTransformer folder (it has no modules.json): save the model with "
            "SentenceTransformer(...).save(path) and name that folder"
        )
    try:
        model = SentenceTransformer(path, **kwargs)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise RagcunError(f"{path} does not load as a SentenceTransformer: {error}") from error
    if not Path(path, LAYOUT_FILE).is_file():
        return model
    return SentenceTransformer(
        modules=list(model)[: saved_base_length(Path(path), len(model))],
        prompts={name: prompt for name, prompt in model.prompts.items() if prompt is not None},
        default_prompt_name=model.default_prompt_name,
        similarity_fn_name=model.similarity_fn_name,
        device=str(model.device),
    )


def saved_base_length(folder: Path, modules: int) -> int:
    """How many of the `modules` of a model that ragcun saved are its base.

    Raises:
        RagcunError: ragcun did not save it, or its layout file is damaged.
    """
    try:
        length = json.loads((folder / LAYOUT_FILE).read_text(encoding="utf-8"))["base_modules"]
    except (OSError, ValueError, KeyError) as error:
        raise RagcunError(
            f"{folder} was not saved by IsotropicGaussianEncoder (no readable {LAYOUT_FILE}): "
            "to put a new projection on it, give it as base_model"
        ) from error
    if not isinstance(length, int) or not 0 < length < modules:
        raise RagcunError(f"{folder / LAYOUT_FILE} says base_modules = {length!r} of {modules} modules: save it anew")
    return length


def cut_texts_at(model: SentenceTransformer, max_length: int | None) -> None:
    """Let `model` read at most `max_length` tokens of a text; None keeps its own limit.

    Raises:
        RagcunError: the model cannot read as many, or has no such limit to set.
    """
    if max_length is None:
        return
    config = model.config
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and getattr(config, "model_type", "") in _POSITIONS_AFTER_PADDING:
        limit -= (getattr(config, "pad_token_id", None) or 0) + 1
    if limit is not None and max_length > limit:
        raise RagcunError(
            f"max_length is {max_length}, but the base model reads at most {limit} tokens: lower it in params.yaml"
        )
    try:
        model.max_seq_length = max_length
    except AttributeError as error:
        raise RagcunError("max_length does not apply to this base model: set it to null in params.yaml") from error
