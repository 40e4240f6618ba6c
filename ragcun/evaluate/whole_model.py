"""A benchmark's vectors under a model that must be loaded: an untouched base, one that was trained, or an unknown one."""

from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from ragcun import distributed
from ragcun.adapt.directions import sees_directions
from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.data.benchmark import Benchmark
from ragcun.encode.base import cut_texts_at, ends_in_normalize, load_base, similarity_of
from ragcun.encode.encoder import TextEncoder, describe
from ragcun.encode.layout import LAYOUT_FILE
from ragcun.encode.store import Embeddings, benchmark_texts, read_embeddings, write_embeddings
from ragcun.evaluate.vectors import Vectors, mapped_array
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Embed


def whole_model_vectors(model: Path, benchmark: Benchmark, stored: Embeddings, embed: Embed, scratch: Path) -> Vectors:
    """The stored vectors, where the model in the folder `model` gives these, but for a Normalize; else the texts encoded.

    Args:
        scratch: a folder for what is not stored.
    """
    loaded = _load(model, embed)
    if stored.description == describe(loaded, list(loaded), embed.dtype):
        arrays = stored.arrays
    elif ends_in_normalize(list(loaded)) and stored.description == describe(loaded, list(loaded)[:-1], embed.dtype):
        # A base whose vectors are stored without its Normalize (normalize_base: drop).
        arrays = {name: mapped_array(rows, normalized, scratch / f"{name}.npy") for name, rows in stored.arrays.items()}
    else:
        stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
        lists = benchmark_texts(benchmark.doc_texts, benchmark.all_queries, stand_ins)
        write_embeddings(scratch / "live", TextEncoder.of(loaded, embed), lists, transient=True)
        arrays = read_embeddings(scratch / "live").arrays
    return Vectors(
        arrays["corpus"], arrays["queries"], arrays["stand_ins"], similarity_of(loaded), sees_directions(loaded)
    )


def normalized(rows: np.ndarray) -> np.ndarray:
    """What Normalize makes of vectors (N, d)."""
    return nn.functional.normalize(torch.from_numpy(np.array(rows, dtype=np.float32)), dim=1).numpy()


def _load(folder: Path, embed: Embed) -> SentenceTransformer:
    """A model that cuts texts at the same length as those that were embedded."""
    device = str(distributed.device())
    saved = (folder / LAYOUT_FILE).is_file()
    model = IsotropicGaussianEncoder(str(folder), device=device) if saved else load_base(str(folder), device=device)
    cut_texts_at(model, embed.max_length)
    return model.eval()
