"""Files of vectors of any size, a chunk at a time: .npy, and .parquet with further columns such as ids.

A chunk is read into memory of its own. A memory map would count every page that it touched as memory of the process.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from ragcun.core.errors import RagcunError

ROWS_A_CHUNK = 8192
SUFFIXES = (".npy", ".parquet")

# Vectors (n, d) float32 to vectors (n, D) float32, row by row.
Map = Callable[[np.ndarray], np.ndarray]


def check_vectors(path: Path) -> int:
    """The dimension of the vectors in a file. Raises RagcunError where it is no file of vectors."""
    if path.suffix not in SUFFIXES:
        raise RagcunError(f"VECTORS {path} is none of {', '.join(SUFFIXES)}, and no folder of vectors: save it as one")
    if not path.is_file():
        raise RagcunError(f"VECTORS names {path}, which does not exist: correct the path")
    return _Npy(path).dim if path.suffix == ".npy" else _Parquet(path).dim


def map_vectors(path: Path, out: Path, apply: Map, label: str) -> int:
    """Write `apply` of the vectors in `path` to `out`, a file of the same kind; returns how many there were.

    Raises:
        RagcunError: a vector is not finite, or missing; the message names its row.
    """
    return (_Npy if path.suffix == ".npy" else _Parquet)(path).map(out, apply, label)


class _Npy:
    """A .npy of vectors (N, d), of any float type."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise RagcunError(f"{path} cannot be read as .npy ({error}): write it with numpy.save") from error
        if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.flags.c_contiguous or not rows.shape[1]:
            raise RagcunError(
                f"{path} holds {rows.dtype} of shape {rows.shape}: it needs one vector of floats a row, in C order"
            )
        self.count, self.dim, self.dtype, self._at = len(rows), rows.shape[1], rows.dtype, rows.offset

    def map(self, out: Path, apply: Map, label: str) -> int:
        with self.path.open("rb") as source, out.open("wb") as target:
            source.seek(self._at)
            dim = apply(np.zeros((1, self.dim), dtype=np.float32)).shape[1]
            header = {"descr": "<f4", "fortran_order": False, "shape": (self.count, dim)}
            np.lib.format.write_array_header_1_0(target, header)
            for at in _progress(self.count, label):
                rows = np.fromfile(source, self.dtype, min(ROWS_A_CHUNK, self.count - at) * self.dim)
                apply(_finite(rows.reshape(-1, self.dim), at, self.path)).astype("<f4").tofile(target)
        return self.count


class _Parquet:
    """A .parquet with one column of vectors; the other columns are kept as they are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with closing(pq.ParquetFile(path)) as file:
                self.schema, self.count = file.schema_arrow, file.metadata.num_rows
                first = next(file.iter_batches(1), None)
        except (pa.ArrowException, OSError) as error:
            raise RagcunError(f"{path} is no parquet file, or not a whole one ({error}): write it again") from error
        vectors = [field.name for field in self.schema if _is_vector(field.type)]
        if len(vectors) != 1 or first is None:
            found = ", ".join(f"{field.name} ({field.type})" for field in self.schema)
            raise RagcunError(f"{path} has the columns {found}, and {self.count} rows: it needs one of lists of floats")
        self.column = vectors[0]
        self.dim = self._rows(first, 0).shape[1]

    def map(self, out: Path, apply: Map, label: str) -> int:
        place = self.schema.get_field_index(self.column)
        schema = self.schema.set(place, pa.field(self.column, pa.list_(pa.float32()))).remove_metadata()
        with closing(pq.ParquetFile(self.path, pre_buffer=False)) as file, pq.ParquetWriter(out, schema) as target:
            batches = file.iter_batches(ROWS_A_CHUNK)
            at = 0
            with tqdm(total=self.count, desc=label, unit="vector", unit_scale=True) as bar:
                for batch in batches:
                    done = apply(_finite(self._rows(batch, at), at, self.path))
                    ends = np.arange(len(done) + 1, dtype=np.int32) * done.shape[1]
                    lists = pa.ListArray.from_arrays(ends, done.astype(np.float32).ravel())
                    columns = batch.columns
                    columns[place] = lists
                    target.write_batch(pa.record_batch(columns, schema=schema), row_group_size=ROWS_A_CHUNK)
                    at += len(done)
                    bar.update(len(done))
        return at

    def _rows(self, batch: pa.RecordBatch, at: int) -> np.ndarray:
        lists = batch.column(self.column)
        lengths = np.array([0 if one is None else one for one in pc.list_value_length(lists).to_pylist()])
        wrong = np.flatnonzero((lengths != lengths[0]) | (lengths == 0))
        if getattr(self, "dim", lengths[0]) != lengths[0] or len(wrong):
            row = at + int(wrong[0] if len(wrong) else 0) + 1
            raise RagcunError(
                f"{self.path}, row {row}: `{self.column}` has another length than the rows before, or none: correct it"
            )
        values = lists.flatten()
        if values.null_count:
            raise RagcunError(f"{self.path}: `{self.column}` has missing numbers after row {at}: correct the vectors")
        return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(lists), -1)


def _is_vector(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and pa.types.is_floating(kind.value_type)


def _finite(rows: np.ndarray, at: int, path: Path) -> np.ndarray:
    rows = rows.astype(np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise RagcunError(f"{path}, row {at + int(finite.argmin()) + 1}: the vector is not finite: encode it again")
    return rows


def _progress(count: int, label: str) -> Iterator[int]:
    with tqdm(total=count, desc=label, unit="vector", unit_scale=True) as bar:
        for at in range(0, count, ROWS_A_CHUNK):
            yield at
            bar.update(min(ROWS_A_CHUNK, count - at))
