"""A split of a dataset on the Hugging Face hub: parquet shards, fetched when the stream comes to them.

Only the parquet files of a configuration's folder are read, never a script. A shard's columns are checked before its first
row is read. A seed orders the shards and the row groups in each; `datasets` mixes the rows through a buffer. Only the
buffer and one batch are held.
"""

import random
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ragcun.core.errors import RagcunError
from ragcun.fetch.hub.client import HubFile, HubRepo
from ragcun.sources.clean import decoded
from ragcun.sources.source_report import SourceReport

_BATCH = 500
_NUMBERED = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")


def configurations(repo: HubRepo) -> list[str]:
    """The folders of the repository that hold parquet files, sorted."""
    return sorted({file.path.split("/")[0] for file in repo.files if re.fullmatch(r"[^/]+/[^/]+\.parquet", file.path)})


class HubDataset:
    """One split of one configuration at the repository's commit.

    Args:
        schema: the columns to read, with their types; integers and strings of any width fit, and a struct may have
            further fields.

    Raises RagcunError where there is no such configuration or split, or shards of it are missing.
    """

    def __init__(self, repo: HubRepo, *, configuration: str, split: str, schema: pa.Schema) -> None:
        self.repo, self.schema = repo, schema
        self._where = f"{repo.setting}: the dataset {repo.name} at {repo.commit}"
        known = configurations(repo)
        if configuration not in known:
            there = f"there are {', '.join(known)}" if known else "it has no parquet files"
            raise RagcunError(
                f"{self._where} has no configuration {configuration!r}; {there}; name another, or pin `revision`"
            )
        self.shards = [
            file for file in repo.files if re.fullmatch(rf"{re.escape(configuration)}/{split}-.+\.parquet", file.path)
        ]
        self._check_shards(configuration, split)

    def rows(self, report: SourceReport, *, seed: int | None = None, buffer: int = 1) -> Iterator[dict[str, Any]]:
        """The rows as dicts of the wanted columns, in file order or, with a seed, shuffled through a buffer of that many.

        Bytes that are not UTF-8 are repaired and counted in `report`.

        Raises RagcunError where a shard cannot be had, is no parquet file, or lacks a column.
        """
        from datasets import IterableDataset, config  # only here: it takes a second to load

        def read(shards: list[HubFile]) -> Iterator[dict[str, Any]]:
            for shard in shards:
                yield from self._read(shard, report, seed)

        try:
            stream = IterableDataset.from_generator(read, gen_kwargs={"shards": self.shards})
        except OSError as error:
            # It puts a lock there.
            folder = config.HF_DATASETS_CACHE
            raise RagcunError(
                f"{folder} cannot be written ({error}); make room, or set HF_HOME to another folder"
            ) from error
        if seed is not None:
            # One shard at a time, or ten would be fetched for the first row.
            stream = stream.shuffle(seed=seed, buffer_size=buffer, max_buffer_input_shards=1)
        yield from stream

    def _read(self, shard: HubFile, report: SourceReport, seed: int | None) -> Iterator[dict[str, Any]]:
        path = self.repo.fetch(shard)
        try:
            with pq.ParquetFile(path, pre_buffer=False) as parquet:
                self._check_schema(parquet.schema_arrow, shard)
                groups = list(range(parquet.num_row_groups))
                if seed is not None:
                    random.Random(f"{seed} {shard.path}").shuffle(groups)
                for group in groups:
                    for batch in parquet.iter_batches(_BATCH, row_groups=[group], columns=self.schema.names):
                        yield from _to_rows(batch, report)
        except (pa.ArrowException, OSError) as error:
            raise RagcunError(
                f"{self._where}: {shard.path} is not readable as parquet ({error}); pin `revision` to another commit"
            ) from error

    def _check_shards(self, configuration: str, split: str) -> None:
        if not self.shards:
            splits = sorted(
                {f.path.split("/")[1].split("-")[0] for f in self.repo.files if f.path.startswith(configuration + "/")}
            )
            raise RagcunError(
                f"{self._where}: the configuration {configuration} has no split {split!r}; there are {', '.join(splits)}; "
                "pin `revision` to a commit that has it"
            )
        numbered = [match.groups() for shard in self.shards if (match := _NUMBERED.search(shard.path))]
        for count in {count for _, count in numbered}:
            missing = sorted(set(range(int(count))) - {int(number) for number, of in numbered if of == count})
            if missing:
                raise RagcunError(
                    f"{self._where}: {configuration}/{split} lacks the shards {missing} of {int(count)}; pin `revision` to "
                    "a commit that has them all"
                )

    def _check_schema(self, found: pa.Schema, shard: HubFile) -> None:
        for problem in _problems(pa.struct(list(found)), pa.struct(list(self.schema)), ""):
            columns = ", ".join(f"{field.name} ({field.type})" for field in found)
            raise RagcunError(
                f"{self._where}: {shard.path} {problem}. It has {columns}. The data has changed: pin `revision` "
                "in params.yaml to a commit that has the columns ragcun reads"
            )


def _problems(found: pa.DataType, wanted: pa.DataType, name: str) -> Iterator[str]:
    """What keeps the column `name`, or the columns where it is "", from being read as `wanted`, in words."""
    types = pa.types
    if types.is_struct(wanted) and types.is_struct(found):
        for field in wanted:
            inner = f"{name}.{field.name}" if name else field.name
            if found.get_field_index(field.name) < 0:
                yield f"lacks the column {inner!r}"
            else:
                yield from _problems(found.field(field.name).type, field.type, inner)
    elif types.is_list(wanted) and (types.is_list(found) or types.is_large_list(found)):
        yield from _problems(found.value_type, wanted.value_type, name)
    elif not (_is_text(found) if types.is_string(wanted) else types.is_integer(wanted) and types.is_integer(found)):
        yield f"has the column {name!r} as {found} instead of {wanted}"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _to_rows(batch: pa.RecordBatch, report: SourceReport) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        # Arrow does not check a file's strings. Read as bytes, they are repaired one by one.
        columns = [column.cast(_as_bytes(column.type)) for column in batch.columns]
        rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
        return [decoded(row, report) for row in rows]


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    if _is_text(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _as_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    return kind
