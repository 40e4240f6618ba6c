"""The store: vectors of texts as memory-mapped arrays, with a manifest of what made them.

`data/embeddings/<name>/` holds a float32 .npy for each list of texts, in the order of the texts, and manifest.json, which
is the encoder's. A text is encoded once: the row cache keeps its vector. The bytes of a folder follow from the texts and
the manifest alone, not from what the cache held, the order of the texts, or the numbers of threads and processes.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ragcun import distributed
from ragcun.core.files import cache_folder, publish_folder, write_json
from ragcun.encode.vector_cache import RowCache
from ragcun.params import Role

if TYPE_CHECKING:
    from ragcun.encode.encoder import TextEncoder

MANIFEST = "manifest.json"
# In a manifest, what computed the vectors; the rest of it says what they are of.
MADE_BY = "made_by"
# Looked up in the cache and tokenized at once, so many that hardly a batch is left half full.
_TEXTS_A_CHUNK = 16_384
# No run needs its scratch folder for so long: an older one was left by a run that was killed.
_LEFTOVER_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Texts:
    """Texts, and the role of each, which decides its prompt."""

    texts: Sequence[str]
    roles: Sequence[Role]

    @classmethod
    def of(cls, texts: Sequence[str], role: Role) -> "Texts":
        """Texts of one role.

        >>> Texts.of(["river", "boat"], "query")
        Texts(texts=['river', 'boat'], roles=['query', 'query'])
        """
        return cls(texts, [role] * len(texts))


def benchmark_texts(documents: Sequence[str], queries: Mapping[str, str], stand_ins: Sequence[str]) -> dict[str, Texts]:
    """The lists of texts of a benchmark, named as their arrays are.

    Args:
        queries: by id.
        stand_ins: what `ragcun.adapt.stand_ins` draws from the documents.

    >>> benchmark_texts(["a long river"], {"q1": "river"}, ["a long"])["queries"]
    Texts(texts=['river'], roles=['query'])
    """
    asked = {"queries": list(queries.values()), "stand_ins": stand_ins}
    return {
        "corpus": Texts.of(documents, "passage"),
        **{name: Texts.of(texts, "query") for name, texts in asked.items()},
    }


@dataclass(frozen=True)
class Embeddings:
    """Vectors from the store: memory-mapped arrays (N, d) by name, and the manifest."""

    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]

    @property
    def description(self) -> dict[str, Any]:
        """What the vectors are of, as `ragcun.encode.encoder.describe` says it."""
        return {name: value for name, value in self.manifest.items() if name != MADE_BY}


def embed(texts: Texts, encoder: "TextEncoder", rows: np.ndarray, cache: RowCache, *, label: str) -> None:
    """Fill this rank's part of `rows` (N, d): every world_size-th text in the order of length, so ranks end together.

    >>> rows = np.zeros((2, 2))
    >>> with closing(RowCache()) as cache:
    ...     embed(Texts.of(["boat", "river"], "query"), tiny_encoder, rows, cache, label="queries")
    >>> rows
    array([[0., 1.],
           [1., 0.]])
    """
    order = sorted(range(len(texts.texts)), key=lambda row: -len(texts.texts[row]))
    mine = order[distributed.rank() :: distributed.world_size()]
    with tqdm(total=len(mine), desc=f"embed {label}", unit="text", disable=not distributed.is_main()) as bar:
        for at in range(0, len(mine), _TEXTS_A_CHUNK):
            part = mine[at : at + _TEXTS_A_CHUNK]
            for role in ("query", "passage"):
                of_role = [row for row in part if texts.roles[row] == role]
                for done, vectors in _encode_or_recall(of_role, texts.texts, role, encoder, cache):
                    rows[done] = vectors
                    bar.update(len(done))


def _encode_or_recall(
    part: list[int], texts: Sequence[str], role: Role, encoder: "TextEncoder", cache: RowCache
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The vectors of the texts `part`, batch by batch, with their places; a batch is in the cache before the next begins."""
    places: dict[bytes, list[int]] = {}
    for row in part:
        places.setdefault(encoder.key(texts[row], role), []).append(row)
    for key, vector in cache.get(list(places)).items():
        if vector.shape == (encoder.dim,):
            yield places.pop(key), vector
    missing = list(places)
    for rows, vectors in encoder.batches([texts[places[key][0]] for key in missing], role):
        cache.put({missing[row]: vector for row, vector in zip(rows, vectors, strict=True)})
        for row, vector in zip(rows, vectors, strict=True):
            yield places[missing[row]], vector


def write_embeddings(
    folder: Path, encoder: "TextEncoder", lists: Mapping[str, Texts], *, transient: bool = False
) -> None:
    """Embed each list of texts into `folder`/<name>.npy, all ranks together; the folder appears when it is whole.

    Args:
        transient: the next training replaces the model, so the row cache drops these vectors first.

    >>> write_embeddings(Path("store"), tiny_encoder, benchmark_texts(["a boat"], {"q1": "river"}, []))
    >>> sorted(path.name for path in Path("store").iterdir())
    ['corpus.npy', 'manifest.json', 'queries.npy', 'stand_ins.npy']
    """
    with closing(RowCache(transient=transient)) as cache, shared_folder(folder) as partial:
        for name, texts in lists.items():
            with shared_array(partial / f"{name}.npy", (len(texts.texts), encoder.dim or 0)) as rows:
                embed(texts, encoder, rows, cache, label=f"{folder.name} {name}")
        if distributed.is_main():
            write_json(partial / MANIFEST, encoder.manifest)


def read_embeddings(folder: Path) -> Embeddings:
    """Open a folder of `write_embeddings`, memory-mapped and read-only.

    >>> write_embeddings(Path("store"), tiny_encoder, {"queries": Texts.of(["river"], "query")})
    >>> read_embeddings(Path("store")).arrays
    {'queries': memmap([[1., 0.]], dtype=float32)}
    """
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    return Embeddings(arrays, manifest)


def take(rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """`rows[ids]`; of consecutive ids a view, so that a memory map is not read.

    >>> take(np.arange(5), np.array([3, 1]))
    array([3, 1])
    """
    if len(ids) and np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return rows[ids[0] : ids[0] + len(ids)]
    return rows[ids]


@contextmanager
def shared_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` that all ranks write to; it becomes `path` when all ranks finish the block without an error.

    >>> with shared_folder(Path("store")) as partial:
    ...     (partial / "rows.npy").touch()
    >>> Path("store/rows.npy").exists()
    True
    """
    partial = path.with_name(f".{path.name}.partial")
    if distributed.is_main():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    distributed.barrier()
    try:
        yield partial
        distributed.barrier()
        if distributed.is_main():
            publish_folder(partial, path)
        distributed.barrier()
    finally:
        if distributed.is_main():
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of all ranks for intermediate arrays, removed after the block; in RAGCUN_CACHE, which nodes share.

    >>> with scratch_folder() as scratch:
    ...     scratch.is_dir()
    True
    >>> scratch.is_dir()
    False
    """
    own = _new_scratch(cache_folder() / "scratch") if distributed.is_main() else None
    try:
        (shared, *_) = distributed.gather_objects(own)
        yield shared
        distributed.barrier()
    finally:
        if own:
            shutil.rmtree(own, ignore_errors=True)


def _new_scratch(parent: Path) -> Path:
    """A new folder in `parent`; the old ones of killed runs are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.iterdir():
        # Another run may remove it, or its own, at the same time.
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=parent))


@contextmanager
def shared_array(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """A float32 .npy of this shape in which each rank writes its own rows; after the block every rank sees all of them.

    >>> with scratch_folder() as scratch, shared_array(scratch / "rows.npy", (1, 2)) as rows:
    ...     rows[0] = 3, 4
    """
    if distributed.is_main():
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()
    distributed.barrier()
    _reserve(path)
    distributed.barrier()
    rows = np.lib.format.open_memmap(path, mode="r+")
    yield rows
    rows.flush()
    distributed.barrier()


def _reserve(path: Path) -> None:
    """Reserve disk space for this rank's share of a file's bytes.

    On a full disk this raises an error; later, a write to a mapped page would kill the process. macOS has no such call. Some
    file systems write every block for it, so the ranks share the work.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        mine = distributed.shard(path.stat().st_size)
        if mine.start < mine.stop:
            os.posix_fallocate(file.fileno(), mine.start, mine.stop - mine.start)
