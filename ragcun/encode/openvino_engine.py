"""OpenVINO as the engine of a model's transformer on a processor: the same vectors, up to rounding, in less time.

sentence-transformers' own backend for it needs optimum-intel, which needs an older transformers than ours. What stands before and
behind the transformer stays in PyTorch.
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from ragcun.core.errors import RagcunError
from ragcun.encode.base import preprocess
from ragcun.params import Precision

_TENSORS = ("input_ids", "attention_mask", "token_type_ids")
# Of two lengths, so that the graph keeps the mask; of another shape than those it is checked with.
_TRACED = ["a text", "another one, which has a few more words"]
_CHECKED = ["a", "two words", "more words than the others have, and so a wider batch, of three texts in place of two"]
_LEAST_COSINE = 0.999


def import_openvino() -> Any:
    """The package `openvino`, without its telemetry, which would send data from the user's machine without asking.

    >>> import_openvino().__name__
    'openvino'
    """
    # OpenVINO takes a package that cannot be imported for one that is not installed.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # only here: loading it takes a second

    return openvino


def runs_on_openvino(model: SentenceTransformer) -> bool:
    """Whether `model` is on a processor and begins with a transformer over tokens.

    >>> runs_on_openvino(tiny_bert), runs_on_openvino(tiny)
    (True, False)
    """
    first: Any = model[0]
    if type(first) is not Transformer or model.device.type != "cpu":
        return False
    read = first.modality_config.get("text", {})
    output = read.get("method_output_name")
    names = [output] if isinstance(output, str) else list(output or [])
    return read.get("method") == "forward" and names == ["last_hidden_state"]


def run_on_openvino(model: SentenceTransformer, dtype: Precision) -> None:
    """From now on OpenVINO computes the forward passes of `model`'s transformer, which so has no gradients.

    Raises:
        RagcunError: its vectors are not those of PyTorch.

    >>> expected = tiny_bert.encode(["river"])
    >>> run_on_openvino(tiny_bert, "float32")
    >>> bool((abs(tiny_bert.encode(["river"]) - expected) < 1e-5).all())
    True
    """
    expected = _probe(model)
    transformer: Any = model[0]
    transformer.model.forward = _Compiled(transformer.model, _inputs(model), dtype)
    cosine = float(nn.functional.cosine_similarity(_probe(model), expected).min())
    if not cosine >= _LEAST_COSINE:
        raise RagcunError(
            f"OpenVINO's vectors of this base have cosine {cosine:.4f} to PyTorch's: set embed.engine: torch in params.yaml"
        )


class _Compiled:
    """A transformer compiled by OpenVINO, called as its `forward` is."""

    def __init__(self, transformer: nn.Module, inputs: dict[str, Tensor], dtype: Precision) -> None:
        openvino = import_openvino()
        self.names = list(inputs)
        with warnings.catch_warnings(), _quiet("transformers"):
            # That the tracer takes a branch for good, which the check would notice; that a config names no loss.
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(
                _LastHiddenState(transformer, self.names), example_input=tuple(inputs.values())
            )
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.compiled = openvino.Core().compile_model(graph, "CPU", settings)

    def __call__(self, **features: Any) -> dict[str, Tensor]:
        (output,) = self.compiled([features[name].numpy() for name in self.names]).values()
        # The next call writes over what this one returned.
        return {"last_hidden_state": torch.from_numpy(output.copy())}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A logger tells of errors alone while the block runs."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


class _LastHiddenState(nn.Module):
    def __init__(self, transformer: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.transformer, self.names = transformer, names

    def forward(self, *tensors: Tensor) -> Tensor:
        output: Tensor = self.transformer(**dict(zip(self.names, tensors, strict=True))).last_hidden_state
        return output


def _inputs(model: SentenceTransformer) -> dict[str, Tensor]:
    features = preprocess(model, _TRACED, "passage")
    return {name: features[name] for name in _TENSORS if name in features}


@torch.inference_mode()
def _probe(model: SentenceTransformer) -> Tensor:
    embedded: Tensor = model(batch_to_device(preprocess(model, _CHECKED, "passage"), model.device))[
        "sentence_embedding"
    ]
    return embedded.clone()
