"""Rows of .jsonl, .csv, .tsv and .parquet files of any size, one at a time; unreadable rows are left out and counted."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from ragcun.core.errors import RagcunError
from ragcun.sources.clean import decoded
from ragcun.sources.user_files.file import Reading, shown
from ragcun.sources.user_files.lines import MAX_LINE, raw_lines, read_lines, why_unreadable

_BATCH_BYTES, _BATCH_ROWS = 2**23, 1000

# Takes the columns of a file, returns those to read, or raises RagcunError where they are not as expected.
Columns = Callable[[tuple[str, ...]], Collection[str]]


class Row(NamedTuple):
    """A row: its number, from 1 (of the line where it begins, in a text file), and its values by column."""

    number: int
    values: dict[str, Any]


def read_rows(reading: Reading, columns: Columns) -> Iterator[Row]:
    """The readable rows of a .jsonl, .csv, .tsv or .parquet file.

    Values are as the file has them: text in a .csv and .tsv, anything in a .jsonl, whose rows may lack a column.
    `columns` is called once; for a .jsonl with the columns of its first row.
    """
    if reading.suffix == ".jsonl":
        return _json_rows(reading, columns)
    if reading.suffix == ".parquet":
        return _parquet_rows(reading, columns)
    return _csv_rows(reading, columns, delimiter="\t" if reading.suffix == ".tsv" else ",")


def _json_rows(reading: Reading, columns: Columns) -> Iterator[Row]:
    first = True
    for number, line in read_lines(reading):
        try:
            # Joined files have byte order marks inside.
            value = json.loads(line.lstrip("\ufeff"))
        except (ValueError, RecursionError) as error:
            hint = "a JSON array begins here: write its objects one a line" if line[0] == "[" else str(error)[:200]
            reading.unreadable(number, "malformed JSON", hint)
            continue
        if not isinstance(value, dict):
            reading.unreadable(number, "JSON that is no object", type(value).__name__)
            continue
        if first:
            columns(tuple(value))
            first = False
        yield Row(number, value)


def _csv_rows(reading: Reading, columns: Columns, *, delimiter: str) -> Iterator[Row]:
    # The limit holds for the process; it is raised while this reads.
    limit = csv.field_size_limit(MAX_LINE)
    try:
        # strict: an unclosed quote is an error, and does not take the rest of the file for one cell.
        reader = csv.reader(raw_lines(reading.path, newline=""), delimiter=delimiter, strict=True)
        header = _header(reader, reading, columns, delimiter)
        while True:
            before = reader.line_num
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # The lines that a quote swallowed are lost.
                lines = reader.line_num - before
                reading.report.read += lines
                detail = f"to line {reader.line_num}: {error}"
                reading.unreadable(before + 1, "cells not separated and quoted as they should be", detail, rows=lines)
                continue
            if not cells:
                continue
            reading.report.read += 1
            if reason := next(filter(None, map(why_unreadable, cells)), None):
                reading.unreadable(before + 1, reason)
            elif len(cells) != len(header):
                detail = f"{len(cells)} cells instead of {len(header)}"
                reading.unreadable(before + 1, "more or fewer cells than the header", detail)
            else:
                yield Row(before + 1, dict(zip(header, cells, strict=True)))
    finally:
        csv.field_size_limit(limit)


def _header(reader: Iterator[list[str]], reading: Reading, columns: Columns, delimiter: str) -> tuple[str, ...]:
    try:
        names = tuple(name.strip() for name in next(filter(None, reader), []))
    except csv.Error as error:
        raise RagcunError(
            f"{reading.path}: the header cannot be read ({error}); write the columns' names there"
        ) from error
    others = {"\t": "tabs: name it .tsv", ",": "commas: name it .csv", ";": "semicolons: save it with commas, as .csv"}
    if len(names) == 1:
        for other, remedy in others.items():
            if other != delimiter and other in names[0]:
                raise RagcunError(f"{reading.path} is separated by {remedy}")
    _refuse_repeated(names, reading.path)
    columns(names)
    return names


def _parquet_rows(reading: Reading, columns: Columns) -> Iterator[Row]:
    number = 0
    try:
        # pre_buffer would read whole column chunks at once.
        with pq.ParquetFile(reading.path, pre_buffer=False, buffer_size=2**20, page_checksum_verification=True) as file:
            names = tuple(file.schema_arrow.names)
            _refuse_repeated(names, reading.path)
            wanted = columns(names)
            used = [name for name in names if name in wanted]
            with tqdm(total=file.metadata.num_rows, desc=reading.path.name, unit="row", disable=None) as bar:
                for batch in file.iter_batches(_batch_rows(file.metadata), columns=used):
                    for values in zip(*(_values(batch.column(name)) for name in used), strict=True):
                        number += 1
                        reading.report.read += 1
                        if _UNDECODABLE in values:
                            reading.unreadable(number, "bytes that are not UTF-8")
                        else:
                            yield Row(number, dict(zip(used, values, strict=True)))
                    bar.update(len(batch))
    # Decoding and converting raise errors of several kinds.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        where = f"cannot be read after row {number}" if number else "is no parquet file, or not a whole one"
        said = " ".join(str(error).split())[:200]
        raise RagcunError(f"{reading.path} {where} ({said}); write it again") from error


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows that are read together: fewer where they are large."""
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * metadata.num_rows // max(1, size)))


# Stands for a value that is not UTF-8.
_UNDECODABLE = object()


def _values(column: pa.Array) -> list[Any]:
    """A column's values: text, also where the file has bytes, or whatever else is there."""
    try:
        return decoded(column.to_pylist())
    except UnicodeDecodeError:
        return list(map(_value, column))


def _value(scalar: pa.Scalar) -> Any:
    try:
        return decoded(scalar.as_py())
    except UnicodeDecodeError:
        return _UNDECODABLE


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    # Spreadsheets leave several nameless columns behind the last one.
    name, count = next(iter(Counter(filter(None, names)).most_common(1)), ("", 0))
    if count > 1:
        raise RagcunError(f"{path} has {count} columns {shown(name)}; give each another name")
