"""MS MARCO in its real schema over real HTTP: which pairs a row gives, which rows a seed takes, and what is dropped."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ragcun.core.errors import RagcunError
from ragcun.param_data import MsMarco as Settings
from ragcun.sources.clean import MAX_CHARACTERS
from ragcun.sources.msmarco import REPOSITORY, MsMarco
from ragcun.sources.records import Pair, read_pair_records, write_pair_records
from ragcun.sources.source_report import SourceReport
from tests.servers.hub import MS_MARCO, Repo, hub_environment, ms_marco_files, ms_marco_row
from tests.sources.conftest import StartHub

SETTINGS = Settings(revision="main", max_train_samples=None, split_ratio=0.3, max_negatives=9)
VALIDATION = [ms_marco_row(1000 + i) for i in range(100)]


def repo(train: Any, validation: Any = VALIDATION, **options: Any) -> Repo:
    return Repo("dataset", REPOSITORY, ms_marco_files(train, validation, **options))


def read(seed: int = 1, report: SourceReport | None = None, **changes: Any) -> list[Pair]:
    settings = SETTINGS.model_copy(update=changes)
    return list(MsMarco(settings, seed).pairs(report or SourceReport("test")))


def of(split: str, pairs: list[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.split == split]


def texts(*passages: str | None, selected: tuple[int, ...] = (0,)) -> dict[str, Any]:
    flags = [int(i in selected) for i in range(len(passages))]
    return {"is_selected": flags, "passage_text": list(passages), "url": [""] * len(passages)}


def test_each_selected_passage_is_a_positive_and_the_others_its_negatives_in_order(start_hub: StartHub) -> None:
    hub = start_hub([repo([ms_marco_row(1, selected=(3, 1), count=5), ms_marco_row(2, selected=())])])
    report = SourceReport("test")
    passages = [f"passage {i} of query 1, on the subject 1" for i in range(5)]
    assert of("train", read(report=report)) == [
        Pair("train", "what is number 1", passages[i], (passages[0], passages[2], passages[4])) for i in (1, 3)
    ]
    assert of("train", read(max_negatives=2))[0].negatives == (passages[0], passages[2])
    assert of("train", read(max_negatives=0))[0].negatives == ()
    assert report.dropped == {"queries without a selected passage": 1}
    assert report.read == 102
    assert report.revision == f"microsoft/ms_marco v2.1 at {hub.repos['dataset', REPOSITORY].commit}"
    assert report.licence is not None
    assert "non-commercial" in report.licence


def test_validation_is_divided_into_dev_and_test_by_the_seed_alone(start_hub: StartHub) -> None:
    hub = start_hub([repo([ms_marco_row(1)])])
    pairs = read(seed=1)
    dev = {pair.query for pair in of("dev", pairs)}
    assert 15 <= len(dev) <= 45
    assert len(of("test", pairs)) == 100 - len(dev)
    assert not any(pair.negatives for pair in pairs if pair.split != "train")
    hub.repos["dataset", REPOSITORY] = repo([ms_marco_row(1)], VALIDATION[::-1])
    assert {pair.query for pair in of("dev", read(seed=1))} == dev
    assert {pair.query for pair in of("dev", read(seed=2))} != dev
    assert dev <= {pair.query for pair in of("dev", read(seed=1, split_ratio=0.6))}


def test_a_subset_has_the_exact_number_and_does_not_depend_on_the_files(start_hub: StartHub) -> None:
    # Every third query gives no pair, for one reason or another.
    rows = [
        ms_marco_row(i, **({"passages": texts(f" what is NUMBER {i}", "x")} if i % 3 == 0 else {})) for i in range(300)
    ]
    hub = start_hub([repo(rows, shards=4)])
    taken = [pair.query for pair in of("train", read(max_train_samples=50))]
    assert len(set(taken)) == len(taken) == 50
    assert taken != [f"what is number {i}" for i in range(300) if i % 3][:50]
    random.Random(0).shuffle(rows)
    hub.repos["dataset", REPOSITORY] = repo(rows, shards=7)
    assert {pair.query for pair in of("train", read(max_train_samples=50))} == set(taken)
    assert {pair.query for pair in of("train", read(max_train_samples=50, seed=2))} != set(taken)
    # The smaller lies inside the larger.
    assert set(taken) < {pair.query for pair in of("train", read(max_train_samples=80))}
    assert len(of("train", read(max_train_samples=10_000))) == 200


def test_the_same_seed_gives_the_same_pairs_in_another_process(start_hub: StartHub, tmp_path: Path) -> None:
    hub = start_hub([repo([ms_marco_row(i) for i in range(50)])])
    report = SourceReport("test")
    write_pair_records(read(max_train_samples=20), tmp_path / "here", report)
    code = (
        "import sys; from pathlib import Path; from ragcun.param_data import MsMarco as S;"
        "from ragcun.sources.records import write_pair_records;"
        "from ragcun.sources.source_report import SourceReport as R; from ragcun.sources.msmarco import MsMarco; r = R('there');"
        "s = S(revision='main', max_train_samples=20, split_ratio=0.3, max_negatives=9);"
        "write_pair_records(MsMarco(s, 1).pairs(r), Path(sys.argv[1]), r)"
    )
    # HF_ENDPOINT and HF_HOME are all that leads it to the test's hub.
    environment = os.environ | hub_environment(hub, tmp_path) | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], env=environment, check=True)
    here, there = ((tmp_path / name / "pairs.parquet").read_bytes() for name in ("here", "there"))
    assert here == there
    assert len(list(read_pair_records(tmp_path / "there"))) == 120


@pytest.mark.parametrize(
    ("row", "kept", "reason"),
    [
        ({"query": " \x00 "}, [], "queries without an id or a text"),
        ({"query": None}, [], "queries without an id or a text"),
        ({"query_id": None}, [], "queries without an id or a text"),
        ({"passages": None}, [], "queries without a selected passage"),
        (
            {"passages": {"is_selected": [1], "passage_text": ["a", "b"], "url": []}},
            [],
            "queries whose marks and passages differ in number",
        ),
        ({"passages": texts(" ", "other")}, [], "queries without a selected passage that can be used"),
        ({"passages": texts(None, "other")}, [], "passages without text"),
        ({"passages": texts("What is NUMBER 1 ", "other")}, [], "passages that are their query"),
        (
            {"passages": texts("yes", "no", "yes", "no", "what is number 1", "")},
            [("yes", ("no",))],
            "passages that a query has twice",
        ),
        ({"passages": texts("yes", "yes", selected=(0, 1))}, [("yes", ())], "passages that a query has twice"),
    ],
)
def test_what_cannot_be_used_is_dropped_with_its_reason(
    start_hub: StartHub, row: dict[str, Any], kept: list[tuple[str, tuple[str, ...]]], reason: str
) -> None:
    start_hub([repo([ms_marco_row(1) | row])])
    report = SourceReport("test")
    assert [(pair.positive, pair.negatives) for pair in of("train", read(report=report))] == kept
    assert report.dropped[reason] > 0


def test_odd_texts_are_kept_and_noted(start_hub: StartHub, tmp_path: Path) -> None:
    odd = ["a\x00b", "x" * 10_000_000, "<p>tag</p>", "שלום עולם", "東京は日本の首都である。", "مرحبا", "caf\u00e9"]
    start_hub([repo([ms_marco_row(1, passages=texts(*odd))])])
    report = SourceReport("test")
    write_pair_records(MsMarco(SETTINGS, 1).pairs(report), tmp_path / "pairs", report)
    (pair,) = of("train", list(read_pair_records(tmp_path / "pairs")))
    assert (pair.positive, *pair.negatives) == ("a b", "x" * MAX_CHARACTERS, *odd[2:])
    assert report.altered == {"control characters became spaces": 1, f"cut at {MAX_CHARACTERS} characters": 1}
    assert report.noted == {"holds HTML tags": 1}


def test_duplicate_queries_are_kept_as_the_two_rows_they_are(start_hub: StartHub) -> None:
    start_hub([repo([ms_marco_row(1), ms_marco_row(1), ms_marco_row(2)])])
    assert len(of("train", read())) == 3
    assert len({pair.query for pair in of("train", read(max_train_samples=1))}) == 1


def test_nothing_left_is_an_error_with_the_reasons(start_hub: StartHub, tmp_path: Path) -> None:
    none = [ms_marco_row(i, selected=()) for i in range(5)]
    hub = start_hub([repo(none, none)])
    report = SourceReport("data.pairs: msmarco")
    with pytest.raises(
        RagcunError, match="msmarco gives no pairs: 10 rows were read and dropped: 10 queries without a sel"
    ):
        write_pair_records(MsMarco(SETTINGS, 1).pairs(report), tmp_path / "pairs", report)
    assert not (tmp_path / "pairs").exists()
    hub.repos["dataset", REPOSITORY] = repo([], [], shards=1)
    report = SourceReport("data.pairs: msmarco")
    with pytest.raises(RagcunError, match="msmarco gives no pairs: 0 rows were read;"):
        write_pair_records(MsMarco(SETTINGS, 1).pairs(report), tmp_path / "pairs", report)


def test_a_renamed_column_is_an_error_and_nothing_is_written(start_hub: StartHub, tmp_path: Path) -> None:
    schema = pa.schema([field.with_name("question" if field.name == "query" else field.name) for field in MS_MARCO])
    start_hub([repo([ms_marco_row(1)], schema=schema)])
    report = SourceReport("test")
    with pytest.raises(
        RagcunError, match=r"data\.pairs msmarco: .* v2\.1/train-0.* lacks the column 'query'\. It has ans"
    ):
        write_pair_records(MsMarco(SETTINGS, 1).pairs(report), tmp_path / "pairs", report)
    assert not (tmp_path / "pairs").exists()


def test_an_unknown_revision_is_named(start_hub: StartHub) -> None:
    start_hub([repo([ms_marco_row(1)])])
    with pytest.raises(
        RagcunError, match=r"data\.pairs msmarco: the dataset microsoft/ms_marco at v9, .*no such revision"
    ):
        read(revision="v9")
