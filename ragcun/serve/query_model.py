"""A model as search needs it: vectors of queries, of sentences, and of a whole corpus by way of the row cache."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypedDict

import numpy as np

from ragcun.adapt.folder import base_and_head, load_model
from ragcun.encode.base import similarity_of
from ragcun.encode.encoder import TextEncoder, describe, encode
from ragcun.encode.store import Texts, read_embeddings, write_embeddings
from ragcun.params import Dtype, Engine, Role


class _Encoding(TypedDict):
    engine: Engine
    dtype: Dtype
    batch_tokens: int


# How a corpus is encoded. These are the pipeline's defaults, by which the row cache may have its texts already.
CORPUS: _Encoding = {"engine": "auto", "dtype": "auto", "batch_tokens": 4096}
_QUERY_TOKENS = 64


class QueryModel:
    """A model of ours, or any SentenceTransformer, at a path or of a name. Raises RagcunError where there is none."""

    def __init__(self, path: str) -> None:
        model = load_model(path)
        self.similarity = similarity_of(model, path)
        self.description = describe(model, list(model), "float32")
        self._base, self._head = base_and_head(model)
        self.dim = model.get_embedding_dimension() or 0

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Embeddings (N, D) float32 of a few texts."""
        # A large batch would be mostly repeats of one query.
        return self._projected(encode(self._base, texts, role, dtype="float32", batch_tokens=_QUERY_TOKENS))

    def encode_corpus(self, texts: Sequence[str], scratch: Path) -> np.ndarray:
        """Embeddings (N, D) float32 of documents; `scratch` holds their base vectors meanwhile, memory-mapped."""
        # Of a copy: another engine takes the place of the model's passes for good, and queries stay in float32.
        encoder = TextEncoder(deepcopy(self._base), max_length=None, **CORPUS)
        write_embeddings(scratch / "corpus", encoder, {"documents": Texts.of(texts, "passage")})
        return self._projected(read_embeddings(scratch / "corpus").arrays["documents"])

    def _projected(self, vectors: np.ndarray) -> np.ndarray:
        return vectors if self._head is None else self._head.project(vectors)
