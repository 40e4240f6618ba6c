"""Rates of a base model on this machine: encoding, full training, and training a projection on it."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from estimate.timing import in_own_process, peak_memory, rate, seconds_of, size_of, texts_of
from ragcun import distributed
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.vector_cache import RowCache
from ragcun.measure.covariance import mean_and_covariance
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import Head, build_projection, set_random_map
from ragcun.params import Dtype, Precision
from ragcun.sources.registry import model_source
from ragcun.train.batches import BatchCollator, GlobalBatches
from ragcun.train.loss import RetrievalLoss
from ragcun.train.trainee import FrozenTrainee, LiveTrainee, Trainee

logger = logging.getLogger(__name__)

LENGTHS = (8, 32, 64, 128, 256)
# A full training step: queries, tokens of each text, texts in a forward pass.
STEP = {"batch_size": 16, "tokens": 64, "forward_size": 32}
# Steps of the projection alone, as batch size and store negatives: the default's, and those of experiments/paper.sh.
HEAD_STEPS = ((256, 4096), (1024, 16384))
OUTPUT_DIM = 512


def base_rates(name: str, words: Sequence[str]) -> dict[str, Any]:
    """The sizes of a base; rates of encoding, of full training steps, and of training a projection on it."""
    logger.info("measuring %s", name)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        base.mkdir()
        model_source(name).fetch(target=base)
        model = load_base(str(base), device=str(distributed.device()))
        tokens_a_word = sum(len(model.tokenizer(word)["input_ids"]) - 2 for word in words[:2000]) / 2000
        dim = model.get_embedding_dimension() or 0
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "dimension": dim,
            "max_length": model.max_seq_length,
            "tokens_a_word": round(tokens_a_word, 3),
            **encode_rates(model, words, tokens_a_word),
            "row_cache_bytes_a_text": row_cache_bytes(dim),
            **step_rates(base, texts_of(words, STEP["tokens"] / tokens_a_word, 2 * STEP["batch_size"])),
            "head": head_rates(dim),
        }


def encode_rates(model: SentenceTransformer, words: Sequence[str], tokens_a_word: float) -> dict[str, Any]:
    """Texts per second of a batch, by dtype and length in tokens."""
    size = 256 if torch.cuda.is_available() else 32
    dtypes: tuple[Precision, ...] = get_args(Precision)
    rates: dict[str, list[list[float]]] = {dtype: [] for dtype in dtypes}
    for dtype in dtypes:
        for length in LENGTHS:
            encoder = TextEncoder(model, dtype=dtype, batch_tokens=size * length, max_length=None)
            texts = texts_of(words, length / tokens_a_word, size)
            rates[dtype].append([length, rate(size, encoder.encode, texts, "passage")])
    return {"encode_texts_a_second": rates, "encode_batch_size": size}


def step_rates(base: Path, texts: list[str]) -> dict[str, Any]:
    """Full training steps by dtype, with cached gradients and with activations that are kept."""
    steps = {
        f"{dtype} {'cached' if cached else 'kept'}": in_own_process(full_step, str(base), texts, dtype, cached)
        for dtype in get_args(Precision)
        for cached in (False, True)
    }
    return {"full_step": steps, "full_step_measured_on": STEP}


def full_step(folder: str, texts: list[str], dtype: Dtype, cached: bool) -> dict[str, float]:
    """Tokens per second of training base and projection, and the memory that the process, or the device, needed."""
    device = distributed.device()
    encoder = IsotropicGaussianEncoder(
        output_dim=OUTPUT_DIM, base_model=folder, freeze_base=False, device=str(device)
    ).train()
    encoder.max_seq_length = min(STEP["tokens"], encoder.max_seq_length or STEP["tokens"])
    before = peak_memory()
    trainee = LiveTrainee(encoder, texts, chunk=STEP["forward_size"], dtype=dtype, cache_gradients=cached)
    seconds = _step_seconds(trainee, len(texts) // 2, 0, dtype)
    tokens = int(encoder.preprocess(texts)["attention_mask"].sum())
    return {"tokens_a_second": tokens / seconds, "peak_bytes": peak_memory(), "bytes_before": before}


def head_rates(dim: int) -> dict[str, Any]:
    """Seconds of a step of the projection alone, by batch size and store negatives, and rows projected per second."""
    rows = np.random.default_rng(0).standard_normal((40_000, dim), dtype=np.float32)
    encoder = _Projection(dim)
    steps = [
        [batch, store, _step_seconds(FrozenTrainee(encoder, rows), batch, store, "float32")]  # type: ignore[arg-type]
        for batch, store in HEAD_STEPS
    ]
    project = rate(len(rows), encoder.head().project, rows)
    covariance = rate(len(rows), mean_and_covariance, rows)
    return {
        "output_dim": OUTPUT_DIM,
        "step_seconds": steps,
        "project_rows_a_second": project,
        "covariance_rows_a_second": covariance,
    }


class _Projection:
    """The part of an encoder that its head needs, without a base."""

    def __init__(self, dim: int) -> None:
        self.projection = build_projection(dim, OUTPUT_DIM, 0.0)
        set_random_map(self.projection)

    def head(self) -> Head:
        return Head(modules=self.projection, similarity_fn_name="cosine", device=str(distributed.device()))


def _step_seconds(trainee: Trainee, batch: int, store: int, dtype: str) -> float:
    """Seconds of one global batch, from loading to the optimizer; texts 0 … batch-1 are queries, the next their answers."""
    loss = RetrievalLoss(
        trainee.model, similarity="cosine", temperature=0.05, isotropy_weight=1.0, isotropy_directions=64
    )
    optimizer = torch.optim.AdamW([p for p in trainee.model.parameters() if p.requires_grad], lr=1e-6)
    collate = BatchCollator(trainee.load, {})
    rows = np.arange(batch)
    drawn = np.arange(2 * batch, 2 * batch + store)
    batches = GlobalBatches(
        rows, rows + batch, [rows[:0]] * batch, batch_size=batch, epochs=1, seed=0, store=drawn, store_negatives=store
    )
    device = distributed.device()

    def step() -> None:
        inputs = collate([batches[0]])
        label = {key: _to(value, device) for key, value in inputs.pop("label").items()}
        places = dict.fromkeys(key.split("_")[0] for key in inputs)
        chunks = [
            {key.partition("_")[2]: _to(value, device) for key, value in inputs.items() if key.split("_")[0] == place}
            for place in places
        ]
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            total = sum(loss(chunks, label).values())
        total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return seconds_of(step)


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def row_cache_bytes(dim: int, rows: int = 4000) -> float:
    """Bytes that the row cache's file takes for a text."""
    with tempfile.TemporaryDirectory() as folder:
        cache = RowCache(Path(folder), max_bytes=10**12)
        empty = size_of(Path(folder))
        cache.put({os.urandom(32): np.zeros(dim, dtype=np.float32) for _ in range(rows)})
        cache.close()
        return (size_of(Path(folder)) - empty) / rows
