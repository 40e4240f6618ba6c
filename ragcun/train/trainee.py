"""A model in training: its projection alone on rows of the store, or all of it live on texts.

With a frozen base the projection alone trains, on the base's stored vectors. It shares its modules with the whole encoder,
which so is trained too. With a base that trains, texts are tokenized and go through the whole model, in chunks of similar
length, which need little padding.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, get_args

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from ragcun.encode.base import embed_probe, preprocess
from ragcun.encode.encoder import encode
from ragcun.encode.store import take
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Dtype, Role
from ragcun.train.batches import Features

# In a pass of a model that reads texts of any length.
_TOKENS_A_TEXT = 128
# Where plain attention is faster on a processor, up to so many tokens a text.
_SHORT = 128


class Trainee(Protocol):
    """What a training run asks of a model."""

    # What the Trainer trains; its first `base_length` modules are the base, which may be none.
    model: SentenceTransformer
    base_length: int

    def load(self, ids: np.ndarray, role: Role) -> Features:
        """Texts by id as input of the model."""

    def vectors(self, ids: np.ndarray, role: Role) -> np.ndarray:
        """Texts by id as embeddings, (n, D) float32, with the current weights."""


class FrozenTrainee:
    """The projection of an encoder, over the base's vectors.

    Args:
        store: (texts, d), by text id; may be memory-mapped.
        beyond: (n, d) of texts whose ids follow those of the store.
    """

    base_length = 0

    def __init__(self, encoder: IsotropicGaussianEncoder, store: np.ndarray, beyond: np.ndarray | None = None) -> None:
        self.head = encoder.head()
        self.model: SentenceTransformer = self.head
        self.store, self.beyond = store, beyond

    def load(self, ids: np.ndarray, role: Role) -> Features:
        rows = torch.from_numpy(np.array(self.store[ids]))
        return Features([{"sentence_embedding": rows}], torch.arange(len(ids)))

    def vectors(self, ids: np.ndarray, role: Role) -> np.ndarray:
        if self.beyond is not None and len(ids) and ids[0] >= len(self.store):
            return self.head.project(take(self.beyond, ids - len(self.store)))
        return self.head.project(take(self.store, ids))


class LiveTrainee:
    """A whole encoder, over texts.

    Args:
        encoder: its base trains, or some layers of it; it cuts texts at its `max_seq_length`.
        texts: by text id.
        chunk: texts in one forward pass.
        dtype: of the forward passes that score the dev queries: float32, or bfloat16 for autocast.
        cache_gradients: compute each chunk's activations again in its backward pass instead of keeping them: a step then
            needs the memory of one chunk, however large the batch, and its gradients are the same.
    """

    def __init__(
        self,
        encoder: IsotropicGaussianEncoder,
        texts: Sequence[str],
        *,
        chunk: int,
        dtype: Dtype,
        cache_gradients: bool = False,
    ) -> None:
        self.model: SentenceTransformer = encoder
        self.base_length = encoder.base_length
        self.encoder, self.texts, self.chunk, self.dtype = encoder, texts, chunk, dtype
        encoder.recompute = cache_gradients
        freeze_unused(encoder)

    def load(self, ids: np.ndarray, role: Role) -> Features:
        # A pass without rows would leave this rank without gradients, and the others waiting for them.
        rows: list[int] = ids.tolist() or [0]
        by_length = sorted(range(len(rows)), key=lambda place: len(self.texts[rows[place]]))
        order = torch.empty(len(rows), dtype=torch.long)
        order[torch.tensor(by_length)] = torch.arange(len(rows))
        chunks: list[Mapping[str, Any]] = [
            preprocess(self.encoder, [self.texts[rows[place]] for place in by_length[at : at + self.chunk]], role)
            for at in range(0, len(rows), self.chunk)
        ]
        return Features(chunks, order[: len(ids)])

    def vectors(self, ids: np.ndarray, role: Role) -> np.ndarray:
        training = self.encoder.training
        texts = [self.texts[row] for row in ids]
        batch_tokens = self.chunk * (self.encoder.max_seq_length or _TOKENS_A_TEXT)
        encoded = encode(self.encoder.eval(), texts, role, dtype=self.dtype, batch_tokens=batch_tokens)
        self.encoder.train(training)
        return encoded


def freeze_unused(encoder: IsotropicGaussianEncoder) -> None:
    """Freeze parameters that no embedding depends on, such as BERT's pooler under mean pooling.

    They get no gradient: DDP would wait for one, and weight decay would shrink them.
    """
    training = encoder.training
    encoder.eval()
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    embedded = sum(
        (embed_probe(encoder, role).sum() for role in get_args(Role)), torch.zeros((), device=encoder.device)
    )
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(embedded, parameters, allow_unused=True), strict=True
    ):
        parameter.requires_grad_(gradient is not None)
    encoder.train(training)


@contextmanager
def fast_attention(encoder: SentenceTransformer) -> Iterator[None]:
    """Attention as plain matrix products while the block runs, where the texts are short and on a processor.

    torch's fused attention is slow in its backward pass there: over 32 texts of 64 tokens in bfloat16, with 12 heads of 32
    dimensions, it takes six times as long as the plain one, and twice as long in float32. Over 256 tokens and more it wins.

    >>> with fast_attention(tiny_bert):
    ...     tiny_bert[0].model.config._attn_implementation
    'eager'
    """
    length = encoder.max_seq_length
    short = encoder.device.type == "cpu" and length is not None and length <= _SHORT
    towers = [module.model for module in encoder.modules() if short and isinstance(module, Transformer)]
    before = [tower.config._attn_implementation for tower in towers]
    for tower in towers:
        tower.set_attn_implementation("eager")
    yield
    for tower, implementation in zip(towers, before, strict=True):
        tower.set_attn_implementation(implementation)
