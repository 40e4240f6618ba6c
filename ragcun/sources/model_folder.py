"""What is taken of a base model's folder, and the check that it is a SentenceTransformer.

Weights are safetensors: pickled weights can run code when loaded, ONNX and OpenVINO copies are never used, and neither
is taken, whatever the origin.
"""

import fnmatch
import json
from pathlib import Path, PurePosixPath
from typing import get_args

from ragcun.core.errors import RagcunError, unsupported_similarity, without_pooling
from ragcun.params import Similarity

# `*` also matches `/`, as in huggingface_hub, which is given the same patterns.
TAKEN = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.md")
LEFT_OUT = ("onnx/*", "*/onnx/*", "openvino/*", "*/openvino/*", "checkpoint-*/*", ".*", "*/.*")

# The kinds of module that hold weights, by the last part of their type in modules.json.
_WITH_WEIGHTS = ("Transformer", "Dense", "LayerNorm", "StaticEmbedding")
# Kinds that need a vector of the whole text, or give none. A model of these alone, after a transformer, has no pooling.
_WITHOUT_POOLING = {"Transformer", "Dense", "Normalize", "Dropout", "LayerNorm"}
# Files that hold a tokenizer's vocabulary; one of them is enough.
_TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")


def is_taken(path: PurePosixPath) -> bool:
    """Whether the file at `path`, relative to the model's folder, is part of what ragcun uses."""
    name = str(path)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in TAKEN) and not any(
        fnmatch.fnmatchcase(name, pattern) for pattern in LEFT_OUT
    )


def check_model_folder(folder: Path, *, origin: str) -> None:
    """Raise RagcunError, naming `origin`, unless `folder` is a SentenceTransformer with safetensors weights."""
    path = folder / "modules.json"
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RagcunError(
            f"{origin} is not a SentenceTransformer: it has no modules.json. Name another base_model, or make it one: "
            "SentenceTransformer(MODEL).save(FOLDER), then base_model: FOLDER"
        ) from error
    except ValueError as error:
        raise RagcunError(f"{origin}: modules.json is not valid JSON ({error}); get the model anew") from error
    if not isinstance(modules, list) or not modules or not all(_is_module(module) for module in modules):
        raise RagcunError(f"{origin}: modules.json does not list modules with a type and a path; get the model anew")
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        if kind in _WITH_WEIGHTS and not any((folder / module["path"]).rglob("*.safetensors")):
            raise RagcunError(
                f"{origin} has no safetensors weights for its module {module['path'] or '.'!r} ({kind}); ragcun reads no "
                "pickled weights. Convert it where you trust it: SentenceTransformer(MODEL).save(FOLDER)"
            )
        # Without its files transformers would make an empty tokenizer, to which every word is unknown.
        if kind == "Transformer" and not any(any((folder / module["path"]).glob(name)) for name in _TOKENIZER):
            raise RagcunError(f"{origin} has no tokenizer ({', '.join(_TOKENIZER)}); get the model anew")
    # Loading the model shows both too, but only after all data was fetched and prepared.
    if {module["type"].rsplit(".", 1)[-1] for module in modules} <= _WITHOUT_POOLING and not any(
        b"sentence_embedding" in path.read_bytes() for path in folder.rglob("sentence_*_config.json")
    ):
        raise without_pooling(origin)
    similarity = _similarity(folder, origin)
    if similarity not in (None, *get_args(Similarity)):
        raise unsupported_similarity(origin, similarity)


def _similarity(folder: Path, origin: str) -> object:
    """What config_sentence_transformers.json says; None where it, or the file, says nothing."""
    try:
        config = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RagcunError(
            f"{origin}: config_sentence_transformers.json is not valid JSON ({error}); get the model anew"
        ) from error
    return config.get("similarity_fn_name") if isinstance(config, dict) else None


def _is_module(module: object) -> bool:
    if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("type", "path")):
        return False
    path = PurePosixPath(module["path"])
    return not path.is_absolute() and ".." not in path.parts
