"""Texts, encoders of them, and how many texts went through one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from ragcun.encode import encoder
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import (
    Texts,
    write_embeddings,
)
from ragcun.params import Engine
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
    batch_tokens: int = 64,
    max_length: int | None = None,
    engine: Engine = "torch",
) -> TextEncoder:
    return TextEncoder(model, dtype=dtype, batch_tokens=batch_tokens, max_length=max_length, engine=engine)


@contextmanager
def counted() -> Iterator[list[int]]:
    """The numbers of texts in the forward passes of the block, without the repeats that fill a batch."""
    encode_batches = encoder.encode_batches
    counts: list[int] = []

    def counting(*args: Any, **kwargs: Any) -> Iterator[tuple[list[int], np.ndarray]]:
        for rows, vectors in encode_batches(*args, **kwargs):
            counts.append(len(rows))
            yield rows, vectors

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "encode_batches", counting)
        yield counts


def encoded_rows(folder: Path, text_encoder: TextEncoder, lists: dict[str, Texts]) -> int:
    """Embed `lists` into `folder`; how many texts went through the model for it."""
    with counted() as rows:
        write_embeddings(folder, text_encoder, lists)
    return sum(rows)
