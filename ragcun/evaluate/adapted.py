"""A benchmark's vectors, adapted to its corpus by its documents and the stand-ins alone: no query or judgement is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ragcun import distributed
from ragcun.adapt.rule import Adaptation, Statistics, choose, unit
from ragcun.evaluate.vectors import Vectors, mapped_array


def adapted_vectors(vectors: Vectors, rows: np.ndarray, target: float, scratch: Path) -> tuple[Vectors, Adaptation]:
    """The vectors after the map that brings the corpus towards the IsoScore `target`, and the map; all ranks share the work.

    Args:
        rows: (S,), the document that each stand-in comes from.
        scratch: a folder for the mapped arrays.
    """
    if vectors.directions:
        vectors = _mapped(vectors, unit, scratch / "directions")
    adaptation = choose(Statistics.of(vectors.corpus, vectors.stand_ins, rows), target)
    if adaptation.left_alone:
        return vectors, adaptation
    return _mapped(vectors, adaptation.apply, scratch / "adapted"), adaptation


def _mapped(vectors: Vectors, function: Callable[[np.ndarray], np.ndarray], folder: Path) -> Vectors:
    """Every array through `function`, memory-mapped in `folder`; each rank maps its shard."""
    if distributed.is_main():
        folder.mkdir()
    distributed.barrier()
    corpus, queries, stand_ins = (
        mapped_array(getattr(vectors, name), function, folder / f"{name}.npy")
        for name in ("corpus", "queries", "stand_ins")
    )
    return replace(vectors, corpus=corpus, queries=queries, stand_ins=stand_ins)
