"""What is taken of a base model's folder, and the check that it is a SentenceTransformer.

Weights are safetensors: pickled weights can run code when loaded, ONNX and OpenVINO copies are never used, and neither
is taken, whatever the origin.
"""

import fnmatch
import json
from pathlib import Path, PurePosixPath

from ragcun.errors import RagcunError

# `*` also matches `/`, as in huggingface_hub, which is given the same patterns.
TAKEN = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.md")
LEFT_OUT = ("onnx/*", "*/onnx/*", "openvino/*", "*/openvino/*", "checkpoint-*/*", ".*", "*/.*")

# The kinds of module that hold weights, by the last part of their type in modules.json.
_WITH_WEIGHTS = ("Transformer", "Dense", "LayerNorm", "StaticEmbedding")
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


def _is_module(module: object) -> bool:
    if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("type", "path")):
        return False
    path = PurePosixPath(module["path"])
    return not path.is_absolute() and ".." not in path.parts
