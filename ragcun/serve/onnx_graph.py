"""The whole model as one ONNX graph: tokens in, the embedding of length 1 out, in fp32 and in int8.

The graph holds pooling, Normalize and projection, so no client needs to know them. Cut-off and padding are in tokenizer.json.
int8 is onnxruntime's dynamic quantisation: weights are stored as int8, and activations are rounded as they come.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from tokenizers import Tokenizer
from torch import Tensor, nn

from ragcun.core.errors import RagcunError
from ragcun.core.files import write_json

OUTPUT = "sentence_embedding"
FP32, INT8 = "model.onnx", "model_int8.onnx"
_OPSET = 17
_BATCH_SIZE = 32
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _Graph(nn.Module):
    def __init__(self, model: SentenceTransformer, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model, self.inputs = model, inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        embedding = self.model(dict(zip(self.inputs, tensors, strict=True)))[OUTPUT]
        return nn.functional.normalize(embedding, dim=-1)


def check_packages() -> None:
    """Raise RagcunError where onnx or onnxruntime is not installed."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise RagcunError(
            f"ragcun export needs {' and '.join(missing)}, which is not installed: "
            "pip install -r requirements-export.txt, or pip install 'ragcun[export]'"
        )


def write_graph(model: SentenceTransformer, folder: Path) -> None:
    """Write model.onnx, model_int8.onnx, the tokenizer's files and config.json to `folder`.

    `model` is changed: its attention is set to the plain one, which the exporter knows.

    Raises:
        RagcunError: the model does not begin with a transformer, its tokenizer has no tokenizer.json, or a prompt is
            left out of its pooling, which a graph cannot know.
    """
    transformer, tokenizer = model.transformers_model, getattr(model.tokenizer, "backend_tokenizer", None)
    if transformer is None or tokenizer is None or isinstance(model[0], Router):
        raise RagcunError("an ONNX graph needs a model that begins with a transformer and has a tokenizer.json")
    if any(getattr(module, "include_prompt", True) is False for module in model) and any(model.prompts.values()):
        raise RagcunError(
            "this model leaves prompts out of its pooling, which an ONNX graph cannot: export another model"
        )
    folder.mkdir()
    transformer.set_attn_implementation("eager")
    example = model.preprocess(["a text", "a text of more tokens"])
    inputs = [name for name in _INPUTS if name in example]
    axes = {name: {0: "batch", 1: "tokens"} for name in inputs} | {OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        # The exporter warns of each shape that the trace makes constant; parity is measured over other shapes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Graph(model, inputs).eval(),
            tuple(example[name].cpu() for name in inputs),
            str(folder / FP32),
            input_names=inputs,
            output_names=[OUTPUT],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    _quantize(folder)
    _write_tokenizer(model, tokenizer, folder)
    write_json(folder / "config.json", transformer.config.to_dict())


class GraphEncoder:
    """An exported graph with its tokenizer, by onnxruntime and tokenizers alone."""

    def __init__(self, folder: Path, file: str = FP32) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._inputs = [each.name for each in self._session.get_inputs()]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (N, D) float32 of length 1, of texts that have their prompt."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        out: list[Any] = [None] * len(texts)
        for at in range(0, len(order), _BATCH_SIZE):
            rows = order[at : at + _BATCH_SIZE]
            found = self._tokenizer.encode_batch([texts[row] for row in rows])
            columns = {
                "input_ids": [each.ids for each in found],
                "attention_mask": [each.attention_mask for each in found],
                "token_type_ids": [each.type_ids for each in found],
            }
            feed = {name: np.array(columns[name], dtype=np.int64) for name in self._inputs}
            for row, vector in zip(rows, self._session.run([OUTPUT], feed)[0], strict=True):
                out[row] = vector
        return np.stack(out)


def _quantize(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It advises a step that changes nothing for dynamic quantisation.
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        quantize_dynamic(folder / FP32, folder / INT8, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        logging.root.setLevel(level)


def _write_tokenizer(model: SentenceTransformer, backend: Tokenizer, folder: Path) -> None:
    tokenizer: Any = model.tokenizer
    tokenizer.save_pretrained(str(folder))
    alone = Tokenizer.from_str(backend.to_str())
    alone.enable_padding(
        pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token, pad_type_id=tokenizer.pad_token_type_id
    )
    if model.max_seq_length is None:
        alone.no_truncation()
    else:
        alone.enable_truncation(max_length=model.max_seq_length)
    alone.save(str(folder / "tokenizer.json"))
    # Older readers, such as FastEmbed, take the names of the special tokens from here.
    names = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
    tokens = {name: getattr(tokenizer, name, None) for name in names}
    write_json(folder / "special_tokens_map.json", {name: token for name, token in tokens.items() if token})
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    # FastEmbed cuts texts at the lesser of these two, and a base may have an old one of them.
    lengths = dict.fromkeys(("model_max_length", "max_length"), model.max_seq_length)
    write_json(folder / "tokenizer_config.json", config | (lengths if model.max_seq_length else {}))
