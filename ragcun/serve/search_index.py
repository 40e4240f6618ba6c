"""An index on disk: the documents' texts, and their vectors as a memory map; each is kept while what made it is unchanged.

    documents/          documents.jsonl (id, title, text), places.npy (the byte where each begins), key.json
    vectors-<which>/    vectors.npy, float32 or int8 (N, D), key.json

key.json holds what made the folder: the hashes of the corpus' files, the model's fingerprint, the form of the vectors.

int8: under cosine each vector is scaled so that its largest number is 127, which changes no direction but by rounding.
Under dot and euclidean all vectors share one scale, as their lengths count.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ragcun.adapt.texts import Texts, corpus_files, read_corpus
from ragcun.core.errors import RagcunError
from ragcun.core.files import JsonValues, atomic_folder, cache_folder, sha256_file, write_json
from ragcun.params import Similarity

_KEY = "key.json"
_ROWS_A_CHUNK = 8192
_LARGEST = 127


class Document(NamedTuple):
    """A document as it was read."""

    id: str
    title: str
    text: str


class Documents:
    """The stored documents, read when asked for, and the hash of the corpus they are."""

    def __init__(self, folder: Path) -> None:
        places = np.load(folder / "places.npy").tolist()
        self._rows = JsonValues((folder / "documents.jsonl").open("rb"), places)
        self.digest: str = _digest(_read_key(folder) or {})

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Document:
        return Document(*self._rows[row])


@dataclass(frozen=True)
class Form:
    """How vectors are kept: compared by `similarity`, the first `dims` of them, perhaps as int8."""

    similarity: Similarity
    dims: int | None = None
    int8: bool = False


@dataclass(frozen=True)
class Vectors:
    """Stored vectors (N, D), memory-mapped; times `scale` they are the model's, but under cosine."""

    rows: np.ndarray
    scale: float


def index_folder(corpus: Path, named: Path | None) -> Path:
    """Where the index of a corpus lies: the folder that is named, or one in the user's cache folder."""
    if named is not None:
        return named
    place = corpus.expanduser().resolve()
    return cache_folder() / "indexes" / f"{place.stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:12]}"


def open_documents(corpus: Path, index: Path) -> Documents:
    """The documents of `corpus`: those stored in `index`, or read again if a file was changed, added or removed.

    Raises:
        RagcunError: the corpus cannot be read.
    """
    folder = index / "documents"
    stored = _read_key(folder)
    if stored is None or not _unchanged(stored, corpus):
        key = _stamp(corpus)
        _write_documents(folder, read_corpus(corpus), key)
    return Documents(folder)


def open_vectors(
    documents: Documents, index: Path, model: dict[str, Any], form: Form, make: Callable[[], np.ndarray]
) -> Vectors:
    """The documents' vectors: those stored in `index`, or those that `make` gives, if documents, model or form differ.

    Args:
        model: its description, which holds its fingerprint.
        make: gives the model's vectors, (N, D) float32, perhaps memory-mapped.

    Raises:
        RagcunError: `form.dims` is more than the vectors have.
    """
    key = {"documents": documents.digest, "model": model, **vars(form)}
    folder = index / f"vectors-{_digest({'model': model, **vars(form)})[:12]}"
    stored = _read_key(folder)
    if stored is None or {**stored, "scale": None} != {**key, "scale": None}:
        _write_vectors(folder, make(), form, key)
    scale = (_read_key(folder) or {})["scale"]
    return Vectors(np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False), scale)


def first_dims(vectors: np.ndarray, dims: int | None) -> np.ndarray:
    """The first `dims` numbers of vectors (N, D). Raises RagcunError where they have fewer."""
    if dims is not None and dims > vectors.shape[1]:
        raise RagcunError(f"--dims {dims}: the model's vectors have {vectors.shape[1]} dimensions; ask for fewer")
    return vectors[:, :dims]


def _write_documents(folder: Path, texts: Texts, key: dict[str, Any]) -> None:
    with atomic_folder(folder) as partial:
        places = [0]
        with (partial / "documents.jsonl").open("wb") as file:
            for row in zip(texts.ids, texts.titles, texts.bodies, strict=True):
                places.append(places[-1] + file.write(json.dumps(row).encode() + b"\n"))
        np.save(partial / "places.npy", np.array(places, dtype=np.int64))
        write_json(partial / _KEY, key)


def _write_vectors(folder: Path, vectors: np.ndarray, form: Form, key: dict[str, Any]) -> None:
    vectors = first_dims(vectors, form.dims)
    shared = form.int8 and form.similarity != "cosine"
    scale = max((float(np.abs(part).max()) for part in _chunks(vectors)), default=0.0) / _LARGEST if shared else 1.0
    with atomic_folder(folder) as partial:
        kind = np.int8 if form.int8 else np.float32
        rows = np.lib.format.open_memmap(partial / "vectors.npy", mode="w+", dtype=kind, shape=vectors.shape)
        at = 0
        for part in _chunks(vectors):
            rows[at : at + len(part)] = _quantized(part, scale if shared else None) if form.int8 else part
            at += len(part)
        rows.flush()
        write_json(partial / _KEY, {**key, "scale": scale or 1.0})


def _chunks(vectors: np.ndarray) -> list[np.ndarray]:
    return [vectors[at : at + _ROWS_A_CHUNK] for at in range(0, len(vectors), _ROWS_A_CHUNK)]


def _quantized(vectors: np.ndarray, scale: float | None) -> np.ndarray:
    """Vectors (n, D) as int8: in units of `scale`, or each in units of its largest number by 127."""
    units = np.abs(vectors).max(axis=1, keepdims=True) / _LARGEST if scale is None else np.full((1, 1), scale)
    return np.rint(vectors / np.where(units > 0, units, 1)).astype(np.int8)


def _stamp(corpus: Path) -> dict[str, Any]:
    """Size, time of change and hash of each file of the corpus."""
    files = {}
    for path in corpus_files(corpus):
        if not path.is_file():
            raise RagcunError(f"CORPUS names {path}, which does not exist: correct the path")
        files[str(path.resolve())] = [*_outside(path), sha256_file(path)]
    return {"files": files}


def _unchanged(stored: dict[str, Any], corpus: Path) -> bool:
    """Whether the corpus has the files it had; a file of another time or size is hashed again."""
    files = {str(path.resolve()): path for path in corpus_files(corpus)}
    if files.keys() != stored["files"].keys():
        return False
    for name, path in files.items():
        *outside, digest = stored["files"][name]
        if not path.is_file() or (outside != _outside(path) and sha256_file(path) != digest):
            return False
    return True


def _outside(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _read_key(folder: Path) -> dict[str, Any] | None:
    try:
        key: dict[str, Any] = json.loads((folder / _KEY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return key


def _digest(key: dict[str, Any]) -> str:
    """The hash of a key; of the files of a corpus only names and hashes count."""
    if "files" in key:
        key = {"files": {name: each[-1] for name, each in key["files"].items()}}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
