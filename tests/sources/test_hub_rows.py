"""A dataset on the hub: shards come when the stream does, in an order of the seed, and only with the columns that are read."""

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.hub.client import HubRepo
from ragcun.sources.hub_rows import HubDataset, configurations
from ragcun.sources.source_report import SourceReport
from tests.servers.http import Fault
from tests.servers.hub import Repo, article, ms_marco_files, ms_marco_row, parquet, wikipedia_files
from tests.sources.conftest import StartHub

NAME = "maker/data"
TEXTS = pa.schema([("id", pa.string()), ("text", pa.string())])
PASSAGES = pa.schema([("passages", pa.struct([("passage_text", pa.list_(pa.string()))]))])


def dataset(configuration: str = "20231101.en", split: str = "train", schema: pa.Schema = TEXTS) -> HubDataset:
    repo = HubRepo("dataset", NAME, None, setting="data.passages wikipedia", instead="name another")
    return HubDataset(repo, configuration=configuration, split=split, schema=schema)


def ids(rows: HubDataset, **options: int) -> list[int]:
    return [int(row["id"]) for row in rows.rows(SourceReport("test"), **options)]


def test_rows_come_in_file_order_with_the_wanted_columns_alone(start_hub: StartHub) -> None:
    hub = start_hub([Repo("dataset", NAME, wikipedia_files([article(i) for i in range(20)], shards=3))])
    data = dataset()
    rows = list(data.rows(SourceReport("test")))
    assert [int(row["id"]) for row in rows] == list(range(20))
    assert {tuple(row) for row in rows} == {("id", "text")}
    assert configurations(data.repo) == ["20220301.simple", "20231101.de", "20231101.en"]
    assert not hub.asked_for("20231101.de/train-00000-of-00001.parquet")


def test_a_shard_is_fetched_when_the_stream_comes_to_it(start_hub: StartHub) -> None:
    hub = start_hub([Repo("dataset", NAME, wikipedia_files([article(i) for i in range(40)], shards=4))])
    rows = dataset().rows(SourceReport("test"), seed=3, buffer=4)
    assert not hub.asked_for(".parquet")
    next(rows)
    assert hub.asked_for(".parquet") == ["HEAD"]
    assert len(list(rows)) == 39
    assert hub.asked_for(".parquet") == ["HEAD"] * 4


def test_a_seed_gives_one_order_over_shards_row_groups_and_rows(start_hub: StartHub) -> None:
    start_hub([Repo("dataset", NAME, wikipedia_files([article(i) for i in range(200)], shards=4))])
    first, second, other = (
        ids(dataset(), seed=1, buffer=10),
        ids(dataset(), seed=1, buffer=10),
        ids(dataset(), seed=2, buffer=10),
    )
    assert first == second != other
    assert sorted(first) == sorted(other) == list(range(200))
    # Of the order without a buffer: whole row groups of 4, of one shard of 50 after the other.
    plain = ids(dataset(), seed=2, buffer=1)
    assert [i // 4 for i in range(50)] != [i % 50 // 4 for i in plain[:50]]
    assert len({i // 50 for i in plain[:50]}) == 1
    assert [i // 50 for i in plain[::50]] != sorted(i // 50 for i in plain[::50])


def test_the_rows_are_those_of_the_commit_that_was_found_first(start_hub: StartHub) -> None:
    hub = start_hub(
        [Repo("dataset", NAME, wikipedia_files([article(i) for i in range(4)], shards=2), revisions=["main"])]
    )
    data = dataset()
    old = hub.repos["dataset", NAME]
    new = Repo("dataset", NAME, wikipedia_files([article(9)], shards=1), revisions=["main"])
    hub.repos["dataset", NAME] = new
    with pytest.raises(RagcunError, match="no such revision"):
        list(data.rows(SourceReport("test")))
    new.revisions = ["main", old.commit]
    assert ids(dataset()) == [9]


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name)
def test_each_fault_of_a_shards_download_is_overcome(start_hub: StartHub, fault: Fault) -> None:
    repo = Repo("dataset", NAME, wikipedia_files([article(i) for i in range(40)], shards=2))
    hub = start_hub([repo], faults=[None, fault], faulty=lambda request: request.path.startswith("/storage"), stall=1.0)
    assert ids(dataset()) == list(range(40))
    assert hub.met[fault] == 1


@pytest.mark.parametrize(
    ("schema", "wanted", "message"),
    [
        (
            pa.schema([("id", pa.string()), ("body", pa.string())]),
            TEXTS,
            r"train-00000-of-00001\.parquet lacks the column 'text'\. It has id \(string\), body \(string\)\. .*pin `revision`",
        ),
        (
            pa.schema([("id", pa.int64()), ("text", pa.string())]),
            TEXTS,
            "has the column 'id' as int64 instead of string",
        ),
        (
            pa.schema([("passages", pa.struct([("text", pa.list_(pa.string()))]))]),
            PASSAGES,
            r"lacks the column 'passages\.passage_text'",
        ),
        (
            pa.schema([("passages", pa.list_(pa.struct([("passage_text", pa.string())])))]),
            PASSAGES,
            r"has the column 'passages' as list<.*> instead of struct<",
        ),
    ],
)
def test_another_schema_is_an_error_that_names_all_there_is_to_know(
    start_hub: StartHub, schema: pa.Schema, wanted: pa.Schema, message: str
) -> None:
    repo = Repo("dataset", NAME, {"c/train-00000-of-00001.parquet": parquet([{}], schema)})
    start_hub([repo])
    with pytest.raises(RagcunError, match=f"the dataset {NAME} at {repo.commit}: c/.*{message}"):
        list(dataset("c", schema=wanted).rows(SourceReport("test")))


def test_wider_types_of_the_same_kind_are_read(start_hub: StartHub) -> None:
    schema = pa.schema(
        [("passages", pa.struct([("passage_text", pa.large_list(pa.large_string())), ("more", pa.int8())]))]
    )
    row = {"passages": {"passage_text": ["a"], "more": 1}}
    start_hub([Repo("dataset", NAME, {"c/train-0.parquet": parquet([row], schema)})])
    (read,) = dataset("c", schema=PASSAGES).rows(SourceReport("test"))
    assert read["passages"]["passage_text"] == ["a"]


def test_a_configuration_or_split_that_is_not_there_is_answered_with_those_that_are(start_hub: StartHub) -> None:
    files = ms_marco_files([ms_marco_row(1)], [ms_marco_row(2)], shards=1)
    start_hub([Repo("dataset", NAME, files), Repo("dataset", "maker/script", {"script.py": b"raise SystemExit"})])
    with pytest.raises(RagcunError, match=r"no configuration 'v3'; there are v1\.1, v2\.1; name another"):
        dataset("v3")
    with pytest.raises(RagcunError, match=r"v2\.1 has no split 'eval'; there are train, validation"):
        dataset("v2.1", "eval")
    repo = HubRepo("dataset", "maker/script", None, setting="s", instead="i")
    with pytest.raises(RagcunError, match="it has no parquet files; name another, or pin `revision`"):
        HubDataset(repo, configuration="v1", split="train", schema=TEXTS)


def test_a_shard_that_is_not_listed_is_missed(start_hub: StartHub) -> None:
    files = wikipedia_files([article(i) for i in range(6)], shards=3)
    del files["20231101.en/train-00001-of-00003.parquet"]
    start_hub([Repo("dataset", NAME, files)])
    with pytest.raises(RagcunError, match=r"20231101\.en/train lacks the shards \[1\] of 3; pin `revision`"):
        dataset()


def test_what_is_no_parquet_is_an_error(start_hub: StartHub) -> None:
    start_hub([Repo("dataset", NAME, {"c/train-0.parquet": b"PAR1 no parquet PAR1"})])
    with pytest.raises(RagcunError, match=r"c/train-0\.parquet is not readable as parquet .*; pin `revision`"):
        list(dataset("c").rows(SourceReport("test")))


def test_a_cache_that_cannot_be_written_is_named(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_hub([Repo("dataset", NAME, wikipedia_files([article(1)]))])
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "datasets")
    with pytest.raises(RagcunError, match=r"file/datasets cannot be written \(.*; make room, or set HF_HOME"):
        ids(dataset())


def test_an_empty_split_gives_no_row(start_hub: StartHub) -> None:
    start_hub([Repo("dataset", NAME, {"c/train-0.parquet": parquet([], TEXTS)})])
    assert ids(dataset("c")) == []


def test_bytes_that_are_no_utf8_are_repaired_and_counted(start_hub: StartHub) -> None:
    raw = pa.table({"passages": [{"passage_text": [b"caf\xe9", "é".encode(), b"\xed\xa0\x80", None]}, None]})
    kind = pa.struct([("passage_text", pa.list_(pa.string()))])
    (column,) = raw["passages"].chunks
    # Arrow takes the bytes for strings unseen, as it does those of a file.
    texts = column.field(0)
    strings = pa.Array.from_buffers(pa.string(), len(texts.values), texts.values.buffers())
    lists = pa.ListArray.from_arrays(texts.offsets, strings)
    table = pa.table({"passages": pa.StructArray.from_arrays([lists], fields=list(kind), mask=column.is_null())})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    start_hub([Repo("dataset", NAME, {"c/train-0.parquet": sink.getvalue().to_pybytes()})])
    report = SourceReport("test")
    first, second = dataset("c", schema=PASSAGES).rows(report)
    assert first["passages"]["passage_text"] == ["caf\ufffd", "é", "\ufffd\ufffd\ufffd", None]
    assert second == {"passages": None}
    assert report.altered == {"bytes that are no UTF-8 were replaced": 2}
