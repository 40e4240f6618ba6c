"""Raw records come back as they went in, stream in row groups, and carry no empty text."""

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcun.core.errors import RagcunError
from ragcun.sources import records
from ragcun.sources.records import Pair, Passage
from ragcun.sources.source_report import SourceReport

PASSAGES = [Passage("a", "A", "first"), Passage("b", "", "second"), Passage("c", "C", "")]
PAIRS = [Pair("train", "q", "p", ("n", "m")), Pair("dev", "r", "s"), Pair("test", "t", "u")]


def test_records_come_back_equal_and_in_order(tmp_path: Path) -> None:
    records.write_passage_records(PASSAGES, tmp_path / "passages", SourceReport("test"))
    records.write_pair_records(PAIRS, tmp_path / "pairs", SourceReport("test"))
    assert list(records.read_passage_records(tmp_path / "passages")) == PASSAGES
    assert list(records.read_pair_records(tmp_path / "pairs")) == PAIRS


def test_a_stream_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_ROW_GROUP", 2)
    held = []

    def stream() -> Iterator[Passage]:
        for number in range(7):
            held.append(number)
            yield Passage(str(number), "", "text")

    written = []
    write_table = pq.ParquetWriter.write_table

    def watch(self: pq.ParquetWriter, table: object) -> None:
        written.append(len(held))
        write_table(self, table)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", watch)
    records.write_passage_records(stream(), tmp_path / "passages", SourceReport("test"))
    assert written == [2, 4, 6, 7]
    assert pq.ParquetFile(tmp_path / "passages" / "passages.parquet").num_row_groups == 4
    assert [passage.id for passage in records.read_passage_records(tmp_path / "passages")] == list("0123456")


@pytest.mark.parametrize("bad", [Passage("x", " ", "\n"), Passage("x", "", "")])
def test_a_passage_without_text_is_named_and_nothing_is_written(tmp_path: Path, bad: Passage) -> None:
    with pytest.raises(RagcunError, match="passage 'x' has neither title nor text; correct"):
        records.write_passage_records([*PASSAGES, bad], tmp_path / "passages", SourceReport("test"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Pair("train", " ", "p"), "empty text; correct"),
        (Pair("train", "q", ""), "empty text; correct"),
        (Pair("train", "q", "p", ("",)), "empty text; correct"),
        (Pair("validation", "q", "p"), "split 'validation'; use one of"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_pair_is_named_and_nothing_is_written(tmp_path: Path, bad: Pair, message: str) -> None:
    with pytest.raises(RagcunError, match=message):
        records.write_pair_records([*PAIRS, bad], tmp_path / "pairs", SourceReport("test"))
    assert list(tmp_path.iterdir()) == []


def test_a_source_with_nothing_in_it_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    report = SourceReport("data.passages: mine")
    report.read = 3
    report.dropped["without text"] = 3
    with pytest.raises(
        RagcunError, match=r"mine gives no passages: 3 rows were read and dropped: 3 without text; choose"
    ):
        records.write_passage_records([], tmp_path / "passages", report)
    assert list(tmp_path.iterdir()) == []


def test_missing_raw_data_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RagcunError, match="run `dvc repro download@pairs`"):
        list(records.read_pair_records(tmp_path))


def test_reading_holds_a_part_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_ROW_GROUP", 50)
    monkeypatch.setattr(records, "_BATCH", 50)
    # Texts that do not compress, 20 MB of them.
    texts = (random.Random(number).randbytes(10_000).hex() for number in range(1000))
    records.write_pair_records((Pair("train", "q", text) for text in texts), tmp_path, SourceReport("test"))
    size = (tmp_path / "pairs.parquet").stat().st_size
    before, held = pa.total_allocated_bytes(), 0
    for _ in records.read_pair_records(tmp_path):
        held = max(held, pa.total_allocated_bytes() - before)
    assert size > 10**7
    assert 0 < held < size / 3
