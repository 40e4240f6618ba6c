"""Batches of fixed shapes, so that a text's vector does not depend on the texts beside it.

A matrix product adds its terms in an order that depends on the matrices' shapes, and so do the last bits of a vector. Here a
text's number of tokens alone decides the shape of its batch: the width is the next multiple of 16, and each width has one
number of rows. Where the texts do not fill a batch, repeats of its last text do.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from ragcun.encode.base import preprocess
from ragcun.params import Role

_WIDTH_STEP = 16
_TEXTS_A_TOKENIZATION = 1024


class Batch(NamedTuple):
    """One forward pass.

    rows: the places of its first texts among all texts; what follows them in the batch are repeats.
    features: the model's input.

    >>> Batch([0], {"input_ids": torch.tensor([[5, 7]])}).rows
    [0]
    """

    rows: list[int]
    features: dict[str, Any]


def fixed_shape_batches(
    model: SentenceTransformer, texts: Sequence[str], role: Role, batch_tokens: int
) -> Iterator[Batch]:
    """Batches of texts of one role, the longest first, each of about `batch_tokens` tokens.

    A model whose input is not one row of tokens a text, such as a StaticEmbedding, gets the texts as they come.

    >>> [(batch.rows, tuple(batch.features["input_ids"].shape))
    ...  for batch in fixed_shape_batches(tiny_bert, ["river", "boat"], "query", batch_tokens=64)]
    [([0, 1], (4, 16))]
    """
    waiting: dict[int, Batch] = {}
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    for at in range(0, len(order), _TEXTS_A_TOKENIZATION):
        rows = order[at : at + _TEXTS_A_TOKENIZATION]
        tokenized = Batch(rows, preprocess(model, [texts[row] for row in rows], role))
        if not _has_a_row_for_each(tokenized):
            yield tokenized
            continue
        for width, part in _by_width(tokenized, model):
            size = max(1, batch_tokens // width)
            joined = _join(waiting.pop(width), part) if width in waiting else part
            whole = len(joined.rows) // size * size
            yield from (_take(joined, range(start, start + size)) for start in range(0, whole, size))
            if whole < len(joined.rows):
                waiting[width] = _take(joined, range(whole, len(joined.rows)))
    for width in sorted(waiting, reverse=True):
        yield _filled(waiting[width], max(1, batch_tokens // width))


def _has_a_row_for_each(batch: Batch) -> bool:
    mask = batch.features.get("attention_mask")
    tensors = [value for value in batch.features.values() if isinstance(value, Tensor)]
    return mask is not None and all(value.shape == mask.shape for value in tensors) and len(mask) == len(batch.rows)


def _by_width(batch: Batch, model: SentenceTransformer) -> Iterator[tuple[int, Batch]]:
    """The batch's parts by width, each padded to it."""
    tokens = batch.features["attention_mask"].sum(1)
    # No wider than the model reads, for it may have no positions beyond.
    limit = torch.full_like(tokens, model.max_seq_length or 2**31)
    widths = torch.maximum(tokens, torch.minimum((tokens + _WIDTH_STEP - 1) // _WIDTH_STEP * _WIDTH_STEP, limit))
    for width in widths.unique().flip(0).tolist():
        part = _take(batch, (widths == width).nonzero().flatten().tolist())
        yield width, part._replace(features=_pad(part.features, width, model))


def _pad(features: dict[str, Any], width: int, model: SentenceTransformer) -> dict[str, Any]:
    tokenizer = model.tokenizer
    fills = {
        "input_ids": getattr(tokenizer, "pad_token_id", None),
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", None),
    }
    # A negative number of columns takes columns away.
    columns = width - features["attention_mask"].shape[1]
    sides = (columns, 0) if getattr(tokenizer, "padding_side", "right") == "left" else (0, columns)
    return {
        name: nn.functional.pad(value, sides, value=fills.get(name) or 0) if isinstance(value, Tensor) else value
        for name, value in features.items()
    }


def _take(batch: Batch, places: Sequence[int]) -> Batch:
    picked = torch.as_tensor(list(places))
    features = {name: value[picked] if isinstance(value, Tensor) else value for name, value in batch.features.items()}
    return Batch([batch.rows[place] for place in places], features)


def _join(first: Batch, second: Batch) -> Batch:
    joined = {
        name: torch.cat([value, second.features[name]]) if isinstance(value, Tensor) else value
        for name, value in first.features.items()
    }
    return Batch(first.rows + second.rows, joined)


def _filled(batch: Batch, size: int) -> Batch:
    last = len(batch.rows) - 1
    repeated = _take(batch, [*range(last + 1), *[last] * (size - last - 1)])
    return repeated._replace(rows=batch.rows)
