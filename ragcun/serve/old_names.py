"""A copy of a model's folder for clients that know only the module names before sentence-transformers 6.

They read `sentence_transformers.models.Transformer` and so on, a pooling that is told by one switch for each mode, and a Dense
without the settings that came later. A module that has no older form is an error: the copy would give other vectors.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ragcun.core.errors import RagcunError
from ragcun.core.files import write_json

_KINDS = ("Transformer", "Pooling", "Dense", "Dropout", "Normalize")
_POOLING_MODES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")
_NOT_COPIED = ("ragcun.json", "README.md")


def write_old_names(folder: Path, out: Path, max_length: int | None) -> None:
    """Write the copy of the model in `folder` to `out`.

    Args:
        max_length: tokens that the model reads of a text.

    Raises:
        RagcunError: a module has no older form.
    """
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if unknown := set(kinds) - set(_KINDS):
        raise RagcunError(f"no older form of the modules {', '.join(sorted(unknown))} is known")
    skipped = shutil.ignore_patterns(*_NOT_COPIED, "onnx", "older-clients")
    shutil.copytree(folder, out, ignore=skipped, dirs_exist_ok=True)
    for module, kind in zip(modules, kinds, strict=True):
        module["type"] = f"sentence_transformers.models.{kind}"
        place = out / module["path"]
        # A module without settings has an empty folder, which a repository cannot hold.
        place.mkdir(exist_ok=True)
        if kind == "Pooling":
            _rewrite(place / "config.json", _pooling)
        elif kind == "Dense":
            _rewrite(place / "config.json", _dense)
            # Releases before 3 read no safetensors here.
            torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    write_json(out / "modules.json", modules)
    write_json(out / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _rewrite(out / "config.json", lambda config: config | {"torch_dtype": config.get("dtype", "float32")})
    if (out / "tokenizer_config.json").is_file():
        _rewrite(out / "tokenizer_config.json", _tokenizer)


def _rewrite(path: Path, change: Any) -> None:
    write_json(path, change(json.loads(path.read_text(encoding="utf-8"))))


def _tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 names a tokenizer that is told by tokenizer.json alone in another way."""
    kind = config.get("tokenizer_class")
    return config | {"tokenizer_class": "PreTrainedTokenizerFast" if kind == "TokenizersBackend" else kind}


def _pooling(config: dict[str, Any]) -> dict[str, Any]:
    mode = config["pooling_mode"]
    modes = mode if isinstance(mode, list) else mode.split("+")
    if not set(modes) <= _POOLING_MODES.keys():
        raise RagcunError(f"no older form of the pooling {mode} is known")
    switches = {switch: name in modes for name, switch in _POOLING_MODES.items()}
    return {
        "word_embedding_dimension": config["embedding_dimension"],
        **switches,
        "include_prompt": config["include_prompt"],
    }


def _dense(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("use_residual") or {config["module_input_name"], config["module_output_name"]} != {
        "sentence_embedding"
    }:
        raise RagcunError("no older form is known of a Dense with a residual, or over tokens")
    return {key: config[key] for key in _DENSE_KEYS}
