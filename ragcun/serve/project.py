"""`ragcun project MODEL VECTORS OUT`: the base's vectors through a model's projection, without encoding a text again.

A frozen base means that a trained model differs from its base by the projection alone. So an index of base vectors becomes
an index of the model by one matrix product a document.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_file, atomic_folder, write_json
from ragcun.encode.layout import LAYOUT_FILE, known_base
from ragcun.encode.store import MANIFEST, read_embeddings
from ragcun.model.saved import saved_projection
from ragcun.params import Embed
from ragcun.serve.base_lengths import as_the_base_gives
from ragcun.serve.vector_files import Map, check_vectors, map_vectors


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    model: Path
    vectors: Path
    out: Path
    query: bool = False
    normalize: bool = False


def project(request: Request) -> dict[str, Any]:
    """Do it, and return how many vectors were projected, and their dimension.

    Raises:
        RagcunError: an input is missing or not as expected, another base made the vectors, or OUT is there already.
    """
    if request.out.exists():
        raise RagcunError(f"OUT {request.out} is there already: name another, or remove it")
    if not (request.model / LAYOUT_FILE).is_file():
        raise RagcunError(
            f"MODEL {request.model} has no projection that ragcun saved (no {LAYOUT_FILE}): name a trained model's folder"
        )
    source = _source(request)
    apply, base_dim, dim = _projection(request.model, normalize=request.normalize)
    found = check_vectors(source)
    if found != base_dim:
        raise RagcunError(f"{source} has vectors of {found} dimensions; the base of {request.model} gives {base_dim}")
    apply = as_the_base_gives(request.model, source, apply)
    if source != request.vectors:
        with atomic_folder(request.out) as partial:
            count = map_vectors(source, partial / source.name, apply, "project")
            write_json(partial / "projected.json", {"model": str(request.model), "vectors": str(request.vectors)})
    else:
        if request.out.suffix != source.suffix:
            raise RagcunError(f"OUT {request.out} must end in {source.suffix}, as VECTORS does")
        with atomic_file(request.out) as file:
            count = map_vectors(source, file, apply, "project")
    return {"vectors": count, "dimensions": dim, "out": str(request.out)}


def _source(request: Request) -> Path:
    """The file of vectors: of a folder of data/embeddings that of its documents, or of its queries."""
    folder = request.vectors
    if not folder.is_dir():
        return folder
    if not (folder / MANIFEST).is_file():
        raise RagcunError(
            f"VECTORS is the folder {folder}, which has no {MANIFEST}: name one of data/embeddings, or a file"
        )
    known, made = known_base(request.model), read_embeddings(folder).description
    other = [name for name, value in (known or {}).items() if name != "dtype" and made.get(name) != value]
    if other:
        raise RagcunError(
            f"{folder} holds vectors of another base than that of {request.model}, or with other settings "
            f"({', '.join(other)}): name vectors that its base made"
        )
    name = "queries" if request.query else "corpus"
    if not (folder / f"{name}.npy").is_file():
        raise RagcunError(f"{folder} holds no {name}.npy: name the file of vectors itself")
    return folder / f"{name}.npy"


def _projection(model: Path, *, normalize: bool) -> tuple[Map, int, int]:
    """The map, and the dimensions it maps from and to."""
    known, device = known_base(model), torch.device("cpu")
    saved = None
    if known is not None:
        embed = Embed(engine="torch", dtype=known["dtype"], batch_tokens=1, max_length=None)
        saved = saved_projection(model, known, embed, device)
    if saved is not None:
        base_dim = next(layer.in_features for layer in saved.layers if isinstance(layer, torch.nn.Linear))
        return _normalized(saved.project, normalize), base_dim, saved.dim
    # Imports sentence-transformers, which takes seconds: only where the folder alone does not tell the projection.
    from ragcun.model.encoder import IsotropicGaussianEncoder

    encoder = IsotropicGaussianEncoder(str(model), device="cpu")
    head = encoder.head()
    first: Any = encoder.projection[0]
    base_dim = first.get_config_dict()["in_features"]
    return _normalized(head.project, normalize), base_dim, head.get_embedding_dimension() or 0


def _normalized(apply: Map, normalize: bool) -> Map:
    if not normalize:
        return apply

    def unit(rows: np.ndarray) -> np.ndarray:
        done = apply(rows)
        lengths = np.linalg.norm(done, axis=1, keepdims=True)
        return done / np.where(lengths > 0, lengths, 1)

    return unit
