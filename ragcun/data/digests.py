"""Compare, count and number millions of texts by 16-byte hashes, without holding the texts.

BLAKE2b of 128 bits: among ten million texts two different ones share a digest with a probability below 10⁻²⁴.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.bytes_]
"""(N,) of dtype S16. NumPy ignores trailing zero bytes in comparisons; for equal lengths that changes nothing."""

_BYTES = 16


def digest(text: str) -> bytes:
    """A text's 16 bytes."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


class DigestList:
    """Digests of texts that come one by one."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self._bytes += digest(text)

    def array(self) -> Digests:
        return np.frombuffer(self._bytes, dtype=f"S{_BYTES}")


@dataclass(frozen=True)
class Numbering:
    """Items numbered in the order in which they first occur.

    number: (N,) the number of each item; equal items share it. first: (N,) whether the item is the first of its number.
    """

    number: npt.NDArray[np.int64]
    first: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, items: np.ndarray) -> "Numbering":
        _, places, inverse = np.unique(items, return_index=True, return_inverse=True)
        rank = np.empty(len(places), dtype=np.int64)
        rank[np.argsort(places)] = np.arange(len(places))
        first = np.zeros(len(items), dtype=bool)
        first[places] = True
        return cls(rank[inverse], first)


def places(items: np.ndarray, among: np.ndarray) -> npt.NDArray[np.int64]:
    """(N,) the index of each item in `among`, whose entries are distinct; -1 where it is not there."""
    if not len(among):
        return np.full(len(items), -1, dtype=np.int64)
    order = np.argsort(among)
    found = order[np.minimum(np.searchsorted(among, items, sorter=order), len(among) - 1)]
    return np.where(among[found] == items, found, -1)


def ranges(start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """start[0] … end[0] - 1, start[1] … end[1] - 1 and so on, in one array."""
    sizes = end - start
    return np.repeat(start - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def joined(left: Digests, right: Digests) -> np.ndarray:
    """(N,) of dtype S32: the digests of two texts as one item."""
    columns = [np.ascontiguousarray(side).view(np.uint8).reshape(-1, _BYTES) for side in (left, right)]
    return np.concatenate(columns, axis=1).reshape(-1).view(f"S{2 * _BYTES}")
