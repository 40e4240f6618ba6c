"""A text's vector follows from the text alone: not from its batch, its place, the cache, the threads."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from ragcun.encode import fixed_shapes
from ragcun.encode.encoder import encode
from ragcun.encode.fixed_shapes import fixed_shape_batches
from ragcun.encode.store import Texts, write_embeddings
from ragcun.params import Dtype, Role
from tests.encoding import load, some_texts, text_encoder


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def encoded(
    model: SentenceTransformer, texts: Sequence[str], dtype: Dtype = "float32", role: Role = "passage"
) -> np.ndarray:
    return encode(model, texts, role, dtype=dtype, batch_tokens=96)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_vector_is_the_same_to_the_bit_among_any_others(dtype: Dtype, tiny_base: Path) -> None:
    model, texts = load(tiny_base), some_texts(60)
    together = encoded(model, texts, dtype)
    shuffled = random.Random(0).sample(range(60), 60)
    assert np.array_equal(encoded(model, [texts[row] for row in shuffled], dtype), together[shuffled])
    assert np.array_equal(encoded(model, texts[::7], dtype), together[::7])
    assert np.array_equal(encoded(model, [texts[5]], dtype), together[5:6])
    with threads(1):
        one = encoded(model, texts, dtype)
    with threads(2):
        assert np.array_equal(encoded(model, texts, dtype), one)


@pytest.mark.parametrize("role", ["query", "passage"])
def test_vectors_are_those_of_sentence_transformers(role: Role, tiny_base: Path) -> None:
    model, texts = load(tiny_base), some_texts(40)
    model.prompts.update({"query": "what is ", "document": "a text: "})
    plain = model.encode_query(texts) if role == "query" else model.encode_document(texts)
    np.testing.assert_allclose(encoded(model, texts, role=role), plain, atol=1e-6)


def test_a_model_that_truncates_its_vectors_gives_truncated_ones(tiny_base: Path) -> None:
    model = load(tiny_base)
    whole = encoded(model, ["river"])
    model.truncate_dim = 3
    assert np.array_equal(encoded(model, ["river"]), whole[:, :3])


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_are_padded_on_the_tokenizers_side(side: str, tiny_base: Path) -> None:
    model = load(tiny_base)
    model.tokenizer.padding_side = side
    (batch,) = fixed_shape_batches(model, ["river boat", "river"], "passage", batch_tokens=32)
    mask, ids = batch.features["attention_mask"], batch.features["input_ids"]
    assert mask.sum(1).tolist() == [4, 3]
    edge = 0 if side == "left" else -1
    assert mask[:, edge].tolist() == [0, 0]
    assert set(ids[mask == 0].tolist()) == {model.tokenizer.pad_token_id}


def test_shapes_follow_from_the_number_of_tokens(tiny_base: Path) -> None:
    """And no text is lost or encoded twice, however many wait for a full batch."""
    model = load(tiny_base)
    texts = [" ".join(["river"] * (1 + count % 40)) for count in range(400)]
    shapes: dict[int, set[int]] = {}
    rows = []
    for batch in fixed_shape_batches(model, texts, "passage", batch_tokens=96):
        count, width = batch.features["input_ids"].shape
        shapes.setdefault(width, set()).add(count)
        rows += batch.rows
        assert len(batch.rows) <= count
        tokens = batch.features["attention_mask"].sum(1)
        assert tokens.max() <= width < tokens.min() + 16
    assert shapes == {16: {6}, 32: {3}, 48: {2}}
    assert sorted(rows) == list(range(400))


def test_batches_are_the_same_whatever_is_tokenized_at_once(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = load(tiny_base), some_texts(50)
    at_once = encoded(model, texts)
    monkeypatch.setattr(fixed_shapes, "_TEXTS_A_TOKENIZATION", 7)
    assert np.array_equal(encoded(model, texts), at_once)


def test_no_batch_is_wider_than_the_model_reads(tiny_base: Path) -> None:
    model = load(tiny_base)
    model.max_seq_length = 21
    widths = {
        batch.features["input_ids"].shape[1]
        for batch in fixed_shape_batches(model, ["river " * 30, "river"], "passage", batch_tokens=96)
    }
    assert widths == {16, 21}


def test_embeddings_are_the_same_files_from_an_empty_and_a_half_full_cache(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = some_texts(90)
    lists = {"corpus": Texts.of(texts, "passage")}
    encoder = text_encoder(load(tiny_base))
    write_embeddings(tmp_path / "empty", encoder, lists)
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "half"))
    write_embeddings(tmp_path / "other", encoder, {"corpus": Texts.of(texts[1::2], "passage")})
    write_embeddings(tmp_path / "half_full", encoder, lists)
    for file in (tmp_path / "empty").iterdir():
        assert file.read_bytes() == (tmp_path / "half_full" / file.name).read_bytes()
