"""A model with all that decides a text's vector, and the fingerprint by which it is known.

The fingerprint is taken from the loaded modules. So the base inside a trained model has the fingerprint of the base it
came from.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.base.modules.module import Module
from sentence_transformers.util import batch_to_device
from tokenizers import Tokenizer
from torch import nn

from ragcun.core.errors import RagcunError
from ragcun.encode.base import cut_texts_at
from ragcun.encode.fixed_shapes import fixed_shape_batches
from ragcun.encode.openvino_engine import run_on_openvino, runs_on_openvino
from ragcun.encode.precision import precision
from ragcun.encode.store import MADE_BY
from ragcun.params import Dtype, Embed, Engine, Role


class TextEncoder:
    """A model with the settings that decide a text's vector.

    Args:
        model: its prompts for queries and documents apply.
        dtype: float32, bfloat16, or auto: bfloat16 where the device computes in it.
        batch_tokens: tokens in one forward pass, about.
        max_length: tokens after which a text is cut; None keeps the model's own limit.
        engine: torch; openvino, which then stays in the model; or auto: openvino on a processor, where the model begins
            with a transformer, else torch.

    >>> TextEncoder(tiny, dtype="float32", batch_tokens=64, max_length=None).encode(["river", "boat"], "query")
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        dtype: Dtype,
        batch_tokens: int,
        max_length: int | None,
        engine: Engine = "torch",
    ) -> None:
        self.model = model.eval()
        self.engine = _chosen(engine, model)
        self._compiled = False
        self.precision, self.batch_tokens = precision(dtype, model.device), batch_tokens
        cut_texts_at(model, max_length)
        self.dim = model.get_embedding_dimension()
        made_by = {
            "engine": _versioned(self.engine),
            "device": _device_class(model),
            "precision": self.precision,
            "batch_tokens": batch_tokens,
        }
        self.description = describe(model, list(model), dtype)
        self.manifest = self.description | {MADE_BY: made_by}
        self._salt = json.dumps(self.manifest, sort_keys=True).encode()

    @classmethod
    def of(cls, model: SentenceTransformer, embed: Embed) -> "TextEncoder":
        """`model` with the settings in the params."""
        return cls(
            model, dtype=embed.dtype, batch_tokens=embed.batch_tokens, max_length=embed.max_length, engine=embed.engine
        )

    def key(self, text: str, role: Role) -> bytes:
        """A text's key in the row cache."""
        return hashlib.sha256(b"\0".join([self._salt, role.encode(), text.encode("utf-8", "surrogatepass")])).digest()

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Encode N texts of one role to (N, d) float32.

        Raises:
            RagcunError: the model gives a vector that is not finite.
        """
        return _in_order(self.batches(texts, role), len(texts), self.dim or 0)

    def batches(self, texts: Sequence[str], role: Role) -> Iterator[tuple[list[int], np.ndarray]]:
        """As `encode`, but batch by batch: the places of n texts, and their vectors, (n, d) float32."""
        if texts and self.engine == "openvino" and not self._compiled:
            run_on_openvino(self.model, self.precision)
            self._compiled = True
        batches = encode_batches(self.model, texts, role, dtype=self.precision, batch_tokens=self.batch_tokens)
        for rows, vectors in batches:
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise RagcunError(
                    "the base model gives a vector that is not finite for the text "
                    f"{texts[rows[finite.argmin()]][:80]!r}: try embed.dtype float32, or another base model"
                )
            yield rows, vectors


def encode(
    model: SentenceTransformer, texts: Sequence[str], role: Role, *, dtype: Dtype, batch_tokens: int
) -> np.ndarray:
    """Encode N texts of one role, with the role's prompt, to (N, D) float32.

    >>> encode(tiny, ["river boat"], "query", dtype="float32", batch_tokens=64)
    array([[0.5, 0.5]], dtype=float32)
    """
    batches = encode_batches(model, texts, role, dtype=dtype, batch_tokens=batch_tokens)
    return _in_order(batches, len(texts), model.get_embedding_dimension() or 0)


def encode_batches(
    model: SentenceTransformer, texts: Sequence[str], role: Role, *, dtype: Dtype, batch_tokens: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Encode texts of one role, with the role's prompt, in batches of fixed shapes.

    Yields:
        The places of n texts, and their vectors, (n, D) float32.

    >>> list(encode_batches(tiny, ["river boat"], "query", dtype="float32", batch_tokens=64))
    [([0], array([[0.5, 0.5]], dtype=float32))]
    """
    reduced = precision(dtype, model.device) == "bfloat16"
    for rows, features in fixed_shape_batches(model, texts, role, batch_tokens):
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=reduced):
            vectors = model(batch_to_device(features, model.device))["sentence_embedding"]
        yield rows, vectors[: len(rows), : model.truncate_dim].float().cpu().numpy()


def _in_order(batches: Iterator[tuple[list[int], np.ndarray]], count: int, dim: int) -> np.ndarray:
    vectors = np.empty((count, dim), dtype=np.float32)
    for rows, encoded in batches:
        vectors[rows] = encoded
    return vectors


def describe(model: SentenceTransformer, modules: Sequence[nn.Module], dtype: Dtype) -> dict[str, Any]:
    """What the vectors are of that `modules` of `model` give: two with one description are equal, up to rounding.

    >>> sorted(describe(tiny, list(tiny), "float32"))
    ['base', 'default_prompt', 'dtype', 'max_length', 'prompts']
    """
    return {
        "base": fingerprint(model, modules),
        "dtype": dtype,
        "max_length": model.max_seq_length,
        "prompts": dict(model.prompts),
        "default_prompt": model.default_prompt_name,
    }


def _chosen(engine: Engine, model: SentenceTransformer) -> Literal["torch", "openvino"]:
    if engine == "torch":
        return "torch"
    if runs_on_openvino(model):
        return "openvino"
    if engine == "openvino":
        raise RagcunError(
            "embed.engine is openvino, which runs on a processor and needs a model that begins with a transformer: set "
            "embed.engine: auto in params.yaml"
        )
    return "torch"


def _versioned(engine: str) -> str:
    # A build's own mark, as in 2.13.0+cpu, says nothing of the arithmetic.
    return f"{engine} {version(engine).partition('+')[0]}"


def _device_class(model: SentenceTransformer) -> str:
    """The kind of device, which decides how its sums are rounded."""
    if model.device.type == "cuda":
        return torch.cuda.get_device_name(model.device)
    return f"{model.device.type} {torch.backends.cpu.get_cpu_capability()}"


def fingerprint(model: SentenceTransformer, modules: Sequence[nn.Module]) -> str:
    """A hash of what decides the output of `modules` of `model`: weights, configurations, tokenizers.

    >>> trained = SentenceTransformer(str(tiny_model), device="cpu")
    >>> fingerprint(trained, [trained[0]]) == fingerprint(tiny, list(tiny))
    True
    """
    digest = hashlib.sha256()
    for module in modules:
        digest.update(_as_json([type(module).__name__, _settings(module)]))
        for name, nested in module.named_modules(remove_duplicate=False):
            if name and isinstance(nested, Module):
                length = getattr(nested, "max_seq_length", None)
                digest.update(_as_json([name, type(nested).__name__, _settings(nested), length]))
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    parts = [part for module in modules for part in module.modules() if isinstance(part, Module)]
    for config in _distinct([model.config, *(getattr(part, "config", None) for part in parts)]):
        digest.update(_as_json(_encoding_config(config.to_dict())))
    for tokenizer in _distinct([model.tokenizer, *(getattr(part, "tokenizer", None) for part in parts)]):
        # Some modules hold the fast tokenizer without the transformers class around it.
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if isinstance(backend, Tokenizer):
            # Each call leaves its cut-off and padding in the tokenizer.
            digest.update(_as_json({**json.loads(backend.to_str()), "truncation": None, "padding": None}))
    return digest.hexdigest()


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({id(value): value for value in values if value is not None}.values())


def _settings(module: nn.Module) -> dict[str, Any]:
    settings = module.get_config_dict() if isinstance(module, Module) else {}
    # A Router's mappings have pairs as keys, which JSON does not allow.
    return settings | ({"route_mappings": str(module.route_mappings)} if isinstance(module, Router) else {})


# Keys of a transformer's config that saving changes and that encoding ignores.
_NOT_ENCODING = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"}


def _encoding_config(config: Any) -> Any:
    """A transformer's config, nested ones included, without what encoding ignores."""
    if not isinstance(config, Mapping):
        return config
    return {key: _encoding_config(value) for key, value in config.items() if key not in _NOT_ENCODING}


def _as_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
