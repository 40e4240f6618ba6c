"""The base model: any SentenceTransformer, or the base inside a model that ragcun saved.

It is loaded in fp32, whatever its file has: half-precision weights lose small updates and overflow in training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from ragcun.core.errors import RagcunError, unsupported_similarity, without_pooling
from ragcun.encode.layout import LAYOUT_FILE, saved_base_length
from ragcun.params import NormalizeBase, Role, Similarity

# Their position ids begin after the padding token's id, so they read fewer tokens than they have positions.
_POSITIONS_AFTER_PADDING = {"mpnet", "roberta", "xlm-roberta", "camembert"}
# As in encode_query and encode_document: a role's prompt has the first of these names that the model knows, and a Router
# chooses the route by the task.
_PROMPTS: dict[Role, tuple[str, ...]] = {"query": ("query",), "passage": ("document", "passage", "corpus")}
_TASKS: dict[Role, str] = {"query": "query", "passage": "document"}


def load_base(path: str, *, normalize: NormalizeBase = "keep", **kwargs: Any) -> SentenceTransformer:
    """Load a SentenceTransformer; from a model that ragcun saved, the base without the projection.

    Args:
        normalize: whether to keep or drop a Normalize that is its last module.

    Raises:
        RagcunError: there is none at `path`, or it does not give the embeddings that ragcun needs.

    >>> load_base(str(tiny_base)).encode("river")
    array([1., 0.], dtype=float32)
    >>> [type(module).__name__ for module in load_base(str(tiny_model))]
    ['StaticEmbedding']
    """
    if Path(path).is_dir() and not Path(path, "modules.json").is_file():
        raise RagcunError(
            f"{path} is not a SentenceTransformer folder (it has no modules.json): save the model with "
            "SentenceTransformer(...).save(path) and name that folder"
        )
    try:
        model = SentenceTransformer(path, **in_fp32(kwargs)).float()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        (line, *_) = str(error).splitlines() or [type(error).__name__]
        raise RagcunError(f"{path} does not load as a SentenceTransformer: {line}") from error
    check_base(model, path)
    saved = Path(path, LAYOUT_FILE).is_file()
    modules = list(model)[: saved_base_length(Path(path), len(model)) if saved else len(model)]
    if normalize == "drop" and ends_in_normalize(modules):
        modules.pop()
    if len(modules) == len(model):
        return model
    return SentenceTransformer(modules=modules, **settings_of(model))


def ends_in_normalize(modules: Sequence[nn.Module]) -> bool:
    """Whether the last of several modules is a Normalize.

    >>> ends_in_normalize(list(tiny))
    False
    """
    return len(modules) > 1 and isinstance(modules[-1], Normalize)


def settings_of(model: SentenceTransformer) -> dict[str, Any]:
    """The keyword arguments by which another SentenceTransformer gets the prompts, similarity and device of `model`.

    >>> SentenceTransformer(modules=list(tiny), **settings_of(tiny)).similarity_fn_name
    'cosine'
    """
    return {
        "prompts": {name: prompt for name, prompt in model.prompts.items() if prompt is not None},
        "default_prompt_name": model.default_prompt_name,
        "similarity_fn_name": model.similarity_fn_name,
        "device": str(model.device),
    }


def in_fp32(kwargs: dict[str, Any]) -> dict[str, Any]:
    """SentenceTransformer's keyword arguments, with fp32 for the transformer.

    `.float()` after loading comes too late: the modules after a half-precision transformer are rounded before it.

    >>> in_fp32({"device": "cpu"})
    {'device': 'cpu', 'model_kwargs': {'dtype': torch.float32}}
    """
    return {**kwargs, "model_kwargs": {**(kwargs.get("model_kwargs") or {}), "dtype": torch.float32}}


def check_base(model: SentenceTransformer, path: str) -> None:
    """Raise RagcunError, naming `path`, unless `model` gives each text one vector that ragcun can compare.

    >>> check_base(tiny, "a/folder")
    >>> check_base(SentenceTransformer(modules=[tiny_bert[0]], device="cpu"), "a/folder")
    Traceback (most recent call last):
    ragcun.core.errors.RagcunError: a/folder gives no vector of a whole text: it has no pooling. ...
    """
    similarity_of(model, path)
    dims = set()
    for role in get_args(Role):
        try:
            with torch.no_grad():
                dims.add(embed_probe(model.eval(), role).shape[-1])
        except KeyError as error:
            if "sentence_embedding" not in error.args:
                raise
            raise without_pooling(path) from error
        except ValueError as error:
            raise RagcunError(f"{path} does not encode a {role}: {error}") from error
    if dims != {model.get_embedding_dimension()}:
        raise RagcunError(
            f"{path} says that its vectors have {model.get_embedding_dimension()} dimensions, but those of queries and "
            f"passages have {' and '.join(map(str, sorted(dims)))}: use a base with one dimension for both"
        )


def similarity_of(model: SentenceTransformer, path: str = "the model") -> Similarity:
    """How `model` compares embeddings; a RagcunError, naming `path`, if ragcun cannot compare so.

    >>> similarity_of(tiny)
    'cosine'
    """
    if model.similarity_fn_name not in get_args(Similarity):
        raise unsupported_similarity(path, model.similarity_fn_name)
    return cast(Similarity, model.similarity_fn_name)


def preprocess(model: SentenceTransformer, texts: Sequence[str], role: Role) -> dict[str, Any]:
    """The input of `model` for texts of one role: with the role's prompt, and its task for a Router.

    >>> preprocess(tiny, ["river boat"], "passage")
    {'input_ids': tensor([0, 1]), 'offsets': tensor([0]), 'task': 'document'}
    """
    task = _TASKS[role]
    features = model.preprocess(list(texts), prompt=prompt_of(model, role), task=task)
    # A Router that is not the first module reads it here.
    return {**features, "task": task}


def prompt_of(model: SentenceTransformer, role: Role) -> str | None:
    """The prompt that `encode_query` or `encode_document` puts before a text.

    >>> prompt_of(SentenceTransformer(modules=list(tiny), prompts={"query": "query: "}, device="cpu"), "query")
    'query: '
    """
    for name in (*_PROMPTS[role], model.default_prompt_name):
        if name is not None and name in model.prompts:
            return model.prompts[name]
    return None


def embed_probe(model: SentenceTransformer, role: Role) -> Tensor:
    """A short text's embedding, (1, D), by one forward pass in the current mode of `model`.

    >>> embed_probe(tiny, "query").shape
    torch.Size([1, 2])
    """
    features = batch_to_device(preprocess(model, ["a text"], role), model.device)
    return model(features)["sentence_embedding"]


def cut_texts_at(model: SentenceTransformer, max_length: int | None) -> None:
    """Cut texts after `max_length` tokens; None keeps the model's own limit.

    Raises:
        RagcunError: the model cannot read as many tokens, or has no limit to set.

    >>> cut_texts_at(tiny_bert, 16)
    >>> tiny_bert.max_seq_length
    16
    """
    if max_length is None:
        return
    for reader in _readers(model):
        config = getattr(reader, "config", None)
        limit = getattr(config, "max_position_embeddings", None)
        if limit is not None and getattr(config, "model_type", "") in _POSITIONS_AFTER_PADDING:
            limit -= (getattr(config, "pad_token_id", None) or 0) + 1
        if limit is not None and max_length > limit:
            raise RagcunError(
                f"max_length is {max_length}, but the base model reads at most {limit} tokens: lower it in params.yaml"
            )
        try:
            reader.max_seq_length = max_length
        except AttributeError as error:
            raise RagcunError("max_length does not apply to this base model: set it to null in params.yaml") from error


@contextmanager
def texts_cut_at(model: SentenceTransformer, max_length: int | None) -> Iterator[None]:
    """`cut_texts_at` while the block runs.

    >>> with texts_cut_at(tiny_bert, 16):
    ...     tiny_bert.max_seq_length
    16
    >>> tiny_bert.max_seq_length
    48
    """
    before = [(reader, getattr(reader, "max_seq_length", None)) for reader in _readers(model)]
    cut_texts_at(model, max_length)
    yield
    if max_length is not None:
        for reader, length in before:
            reader.max_seq_length = length


def _readers(model: SentenceTransformer) -> list[Any]:
    """The modules that tokenize: the first one, or the first of each route of a Router."""
    first = model[0]
    routes: Any = first.sub_modules.values() if isinstance(first, Router) else [[first]]
    return [route[0] for route in routes]
