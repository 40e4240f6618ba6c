"""Texts, encoders of them, and how many texts went through one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from sentence_transformers import SentenceTransformer

from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import (
    Texts,
    write_embeddings,
)
from tests.tiny import WORDS

PROMPTS = {"query": "query: ", "document": "passage: "}


def some_texts(count: int, seed: int = 0) -> list[str]:
    """Distinct texts of very different lengths, in no order."""
    rng = np.random.default_rng(seed)
    # The number keeps them apart.
    return [f"{i} {' '.join(rng.choice(WORDS, size=rng.integers(1, 12)))}" for i in range(count)]


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def text_encoder(
    model: SentenceTransformer,
    *,
    dtype: Literal["float32", "bfloat16"] = "float32",
    batch_size: int = 4,
    max_length: int | None = None,
) -> TextEncoder:
    return TextEncoder(model, dtype=dtype, batch_size=batch_size, max_length=max_length)


@contextmanager
def counted(model: SentenceTransformer) -> Iterator[list[int]]:
    """The numbers of texts in the forward passes of the block."""
    rows: list[int] = []
    hook = model[0].register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0]["input_ids"])))
    try:
        yield rows
    finally:
        hook.remove()


def encoded_rows(folder: Path, encoder: TextEncoder, lists: dict[str, Texts]) -> int:
    """Embed `lists` into `folder`; how many texts went through the model for it."""
    with counted(encoder.model) as rows:
        write_embeddings(folder, encoder, lists)
    return sum(rows)
