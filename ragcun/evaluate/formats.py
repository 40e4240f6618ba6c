"""Formats in which a vector database keeps documents: what is stored of a vector, and what comes back.

* float32 and float16: 4 and 2 bytes a dimension.
* int8: 1 byte a dimension, the nearest of 256 even steps over the dimension's range in the corpus (as faiss' QT_8bit and
  sentence-transformers' `quantize_embeddings`).
* bits: 1 bit a dimension, whether the number is above 0 (as `quantize_embeddings` to "ubinary"). −1 and 1 come back: the dot
  product of two such vectors is D less twice their Hamming distance.

The first d dimensions of a vector are a format too, as in Matryoshka embeddings (Kusupati et al., NeurIPS 2022).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Decoded = Callable[[np.ndarray], np.ndarray]
"""(n, D) vectors → float32 (n, d), as they come back from storage."""


@dataclass(frozen=True)
class Ranges:
    """The least and the largest number of each dimension, (D,) each."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, chunk: int = 65_536) -> "Ranges":
        """The ranges of `rows` (N, D), N ≥ 1, perhaps memory-mapped."""
        parts = [rows[at : at + chunk] for at in range(0, len(rows), chunk)]
        return cls(
            np.min([part.min(axis=0) for part in parts], axis=0), np.max([part.max(axis=0) for part in parts], axis=0)
        )

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (n, D): the number of the nearest step from `low`.

        >>> Ranges(np.array([0.0]), np.array([255.0])).codes(np.array([[0.4], [254.6]]))
        array([[  0],
               [255]], dtype=uint8)
        """
        return np.rint((rows - self.low) / self._step).clip(0, 255).astype(np.uint8)

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """float32 (n, D): the numbers that the codes stand for."""
        return (self.low + codes * self._step).astype(np.float32)

    @property
    def _step(self) -> np.ndarray:
        # A dimension of one value has no range, and every code of it stands for this value.
        width = self.high - self.low
        return np.where(width > 0, width, 1) / 255


def as_float32(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows, dtype=np.float32)


def as_float16(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float16).astype(np.float32)


def as_bits(rows: np.ndarray) -> np.ndarray:
    """1 where a number is above 0, else −1.

    >>> as_bits(np.array([[0.5, 0.0, -2.0]]))
    array([[ 1., -1., -1.]], dtype=float32)
    """
    return np.where(rows > 0, 1, -1).astype(np.float32)


def as_int8(ranges: Ranges) -> Decoded:
    return lambda rows: ranges.decoded(ranges.codes(rows))
