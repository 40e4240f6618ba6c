"""A benchmark's vectors under a model that must be loaded: an untouched base, one that was trained, or an unknown one."""

from pathlib import Path

from sentence_transformers import SentenceTransformer

from ragcun import distributed
from ragcun.adapt.directions import sees_directions
from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.data.benchmark import Benchmark
from ragcun.encode.base import cut_texts_at, load_base, similarity_of
from ragcun.encode.encoder import TextEncoder, describe
from ragcun.encode.layout import LAYOUT_FILE
from ragcun.encode.store import Embeddings, benchmark_texts, read_embeddings, write_embeddings
from ragcun.evaluate.vectors import Vectors
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Embed


def whole_model_vectors(model: Path, benchmark: Benchmark, stored: Embeddings, embed: Embed, scratch: Path) -> Vectors:
    """The stored vectors, where the model in the folder `model` gives just these; else the texts encoded into `scratch`."""
    loaded = _load(model, embed)
    if stored.description == describe(loaded, list(loaded), embed.dtype):
        arrays = stored.arrays
    else:
        stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
        lists = benchmark_texts(benchmark.doc_texts, benchmark.all_queries, stand_ins)
        write_embeddings(scratch / "live", TextEncoder.of(loaded, embed), lists, transient=True)
        arrays = read_embeddings(scratch / "live").arrays
    return Vectors(
        arrays["corpus"], arrays["queries"], arrays["stand_ins"], similarity_of(loaded), sees_directions(loaded)
    )


def _load(folder: Path, embed: Embed) -> SentenceTransformer:
    """A model that cuts texts at the same length as those that were embedded."""
    device = str(distributed.device())
    saved = (folder / LAYOUT_FILE).is_file()
    model = IsotropicGaussianEncoder(str(folder), device=device) if saved else load_base(str(folder), device=device)
    cut_texts_at(model, embed.max_length)
    return model.eval()
