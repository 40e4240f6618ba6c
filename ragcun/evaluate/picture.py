"""What the figures of a space need of a model's vectors, as a small table: ragcun.report draws it without the vectors.

The texts are a sample, the same for every model of a benchmark. Nothing is centred, so a mean that is not zero shows.
"""

import numpy as np
import pandas as pd

from ragcun.evaluate.vectors import Vectors
from ragcun.measure.covariance import mean_and_covariance
from ragcun.measure.rows import sampled, unit

SPECTRUM, COSINES, PROJECTIONS, MAP = "spectrum", "cosines", "projections", "map"
COLUMNS = ["figure", "texts", "x", "y"]
# Of the pairs of so many texts, and of the projections of so many along so many directions.
_PAIRED, _PROJECTED, _DIRECTIONS = 1000, 2000, 64
_COSINE_EDGES = np.linspace(-1, 1, 201)
_PROJECTION_EDGES = np.linspace(-5, 5, 101)
_MAPPED = {"documents": 400, "queries": 200}
_SEED = 0


def picture(vectors: Vectors) -> pd.DataFrame:
    """The rows of four figures, with the columns COLUMNS; `texts` is `documents` or `queries`.

    * `spectrum`: x is 1, 2, ..., y the variance along this principal axis, in means of all axes.
    * `cosines`: the density y of the cosine x of two texts.
    * `projections`: the density y of aᵀz, for texts z at a mean square of 1 in each dimension and random unit directions a.
    * `map`: the texts along the first two principal axes of documents and queries together, at a mean square length of 1.

    Texts whose vectors are all the same have no rows.
    """
    kinds = {"documents": sampled(vectors.corpus), "queries": sampled(vectors.queries)}
    there = {name: rows for name, rows in kinds.items() if (rows != rows[:1]).any() and rows.shape[1] > 1}
    tables = [pd.DataFrame(columns=COLUMNS)]
    for name, rows in there.items():
        tables += [table.assign(texts=name) for table in (_spectrum(rows), _cosines(rows), _projections(rows))]
    if len(there) == len(kinds):
        tables.append(_map(kinds))
    found = pd.concat(tables[1:] or tables, ignore_index=True).reindex(columns=COLUMNS)
    # More digits than a figure shows would only be another machine's rounding.
    return found.round(dict.fromkeys(COLUMNS[2:], 5))


def _spectrum(rows: np.ndarray) -> pd.DataFrame:
    variances = np.linalg.eigvalsh(mean_and_covariance(rows)[1])[::-1].clip(min=0)
    # Beyond the number of texts there is no variance to estimate.
    shown = variances[: len(rows) - 1] / variances.mean()
    return pd.DataFrame({"figure": SPECTRUM, "x": np.arange(1.0, len(shown) + 1), "y": shown})


def _cosines(rows: np.ndarray) -> pd.DataFrame:
    directions = unit(sampled(rows, _PAIRED))
    pairs = (directions @ directions.T)[np.triu_indices(len(directions), 1)]
    density, _ = np.histogram(pairs.clip(-1, 1), _COSINE_EDGES, density=True)
    return pd.DataFrame({"figure": COSINES, "x": _centres(_COSINE_EDGES), "y": density})


def _projections(rows: np.ndarray) -> pd.DataFrame:
    rows = sampled(rows, _PROJECTED)
    scale = np.sqrt(np.square(rows).mean())
    directions = unit(np.random.default_rng(_SEED).standard_normal((_DIRECTIONS, rows.shape[1])))
    along = (rows @ directions.T / scale).clip(_PROJECTION_EDGES[0], _PROJECTION_EDGES[-1])
    density, _ = np.histogram(along, _PROJECTION_EDGES, density=True)
    return pd.DataFrame({"figure": PROJECTIONS, "x": _centres(_PROJECTION_EDGES), "y": density})


def _map(kinds: dict[str, np.ndarray]) -> pd.DataFrame:
    """The two sets of texts, documents first, in the plane in which they spread most."""
    chosen = {name: sampled(rows, _MAPPED[name]) for name, rows in kinds.items()}
    rows = np.concatenate(list(chosen.values()))
    rows = rows / np.sqrt(np.square(rows).sum(axis=1).mean())
    mean, covariance = mean_and_covariance(rows)
    axes = np.linalg.eigh(covariance)[1][:, :-3:-1]
    # An axis has no sign of its own: its largest part is positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    x, y = ((rows - mean) @ axes).T
    texts = [name for name, part in chosen.items() for _ in range(len(part))]
    return pd.DataFrame({"figure": MAP, "texts": texts, "x": x, "y": y})


def _centres(edges: np.ndarray) -> np.ndarray:
    centres: np.ndarray = (edges[1:] + edges[:-1]) / 2
    return centres
