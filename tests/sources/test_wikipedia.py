"""Wikipedia in its real schema over real HTTP: which articles a seed takes, what is fetched for them, what is dropped."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ragcun.core.errors import RagcunError
from ragcun.param_data import Wikipedia as Settings
from ragcun.sources import wikipedia
from ragcun.sources.records import Passage, read_passage_records, write_passage_records
from ragcun.sources.source_report import SourceReport
from ragcun.sources.wikipedia import REPOSITORY, Wikipedia
from tests.servers.hub import WIKIPEDIA, Repo, article, wikipedia_files
from tests.sources.conftest import StartHub

SETTINGS = Settings(
    revision="main", language="en", dump_date="20231101", num_passages=10_000, min_length=20, max_length=100
)


def repo(articles: Any, **options: Any) -> Repo:
    return Repo("dataset", REPOSITORY, wikipedia_files(articles, **options), ["cc-by-sa-3.0", "gfdl"])


def read(seed: int = 1, report: SourceReport | None = None, **changes: Any) -> list[Passage]:
    return list(Wikipedia(SETTINGS.model_copy(update=changes), seed).passages(report or SourceReport("test")))


def test_an_article_gives_passages_with_its_title_and_numbered_ids(start_hub: StartHub) -> None:
    hub = start_hub([repo([article(7)])])
    report = SourceReport("test")
    assert read(report=report) == [
        Passage("7-0", "Title 7", "Sentence 0 of article 7 says a little. Sentence 1 of article 7 says a little."),
        Passage("7-1", "Title 7", "Sentence 2 of article 7 says a little. Sentence 3 of article 7 says a little."),
        Passage("7-2", "Title 7", "Sentence 4 of article 7 says a little."),
    ]
    assert report.read == 1
    assert report.licence is not None
    assert "CC BY-SA" in report.licence
    assert report.revision == f"wikimedia/wikipedia 20231101.en at {hub.repos['dataset', REPOSITORY].commit}"


def test_a_seed_takes_the_same_articles_again_and_not_the_first_ones(start_hub: StartHub, tmp_path: Path) -> None:
    start_hub([repo([article(i) for i in range(300)], shards=4)])
    files = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        report = SourceReport("test")
        write_passage_records(
            Wikipedia(SETTINGS.model_copy(update={"num_passages": 60}), seed).passages(report), tmp_path / name, report
        )
        files.append((tmp_path / name / "passages.parquet").read_bytes())
    assert files[0] == files[1] != files[2]
    taken = [int(passage.id.split("-")[0]) for passage in read_passage_records(tmp_path / "one")]
    assert len(taken) == 60
    assert max(taken) > 150
    assert taken != sorted(taken)


def test_only_as_many_files_are_fetched_as_are_needed(start_hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia, "_BUFFER", 10)
    hub = start_hub([repo([article(i) for i in range(200)], shards=4)])
    assert len(read(num_passages=60)) == 60
    assert len(hub.asked_for(".parquet")) == 1
    assert len(read()) == 600
    assert len(hub.asked_for(".parquet")) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dump_date": "20240101"},
            r"no dump of 20240101; there are 20220301, 20231101: correct data\.wikipedia\.dump_date",
        ),
        (
            {"language": "xx"},
            r"no language 'xx' in the dump of 20231101; there are de, en: correct data\.wikipedia\.lang",
        ),
        ({"revision": "v9"}, "data.passages wikipedia: the dataset wikimedia/wikipedia at v9, .*no such revision"),
    ],
)
def test_an_unknown_part_is_answered_with_those_there_are(
    start_hub: StartHub, changes: dict[str, str], message: str
) -> None:
    start_hub([repo([article(1)])])
    with pytest.raises(RagcunError, match=message):
        read(**changes)


def test_what_gives_no_passage_is_dropped_with_its_reason(start_hub: StartHub) -> None:
    rows = [article(1), article(2, ""), article(3, "Short."), article(4) | {"id": None}, article(5) | {"text": None}]
    start_hub([repo([*rows, article(6) | {"title": None}], shards=1)])
    report = SourceReport("test")
    found = read(report=report)
    assert sorted({passage.id.split("-")[0] for passage in found}) == ["1", "6"]
    assert {passage.title for passage in found} == {"Title 1", ""}
    assert report.read == 6
    assert report.dropped == {
        "articles without an id or a text": 3,
        "articles without a passage": 1,
        "passages shorter than 20 characters": 1,
    }


def test_odd_articles_give_clean_passages_and_long_ones_are_not_cut_off(start_hub: StartHub, tmp_path: Path) -> None:
    rows = [
        article(1, "A sentence of the long article. " * 312_500),
        article(2, "x" * 1_000_000),
        article(3, "A sentence with a\x00NUL and <p>a tag</p> in it."),
        article(4, "שלום עולם, זה משפט בעברית על העיר. " * 5),
        article(5, "東京は日本の首都であり、世界最大の都市のひとつである。" * 5),
    ]
    start_hub([repo(rows, shards=1)])
    report = SourceReport("test")
    settings = SETTINGS.model_copy(update={"num_passages": 10**6, "max_length": 1000})
    write_passage_records(Wikipedia(settings, 1).passages(report), tmp_path / "passages", report)
    found: dict[str, list[str]] = {}
    for passage in read_passage_records(tmp_path / "passages"):
        found.setdefault(passage.id.split("-")[0], []).append(passage.text)
    assert sum(map(len, found["1"])) > 9_900_000
    assert all(text.endswith("article.") for text in found["1"])
    assert found["2"] == ["x" * 1000] * 1000
    assert found["3"] == ["A sentence with a NUL and a tag in it."]
    assert found["4"][0].endswith(".")
    assert found["5"][0].endswith("。")
    assert report.altered == {"control characters became spaces": 1}


def test_an_empty_split_is_an_error_with_its_reason(start_hub: StartHub, tmp_path: Path) -> None:
    start_hub([repo([], shards=1)])
    report = SourceReport("data.passages: wikipedia")
    with pytest.raises(RagcunError, match="wikipedia gives no passages: 0 rows were read;"):
        write_passage_records(Wikipedia(SETTINGS, 1).passages(report), tmp_path / "passages", report)
    assert not (tmp_path / "passages").exists()


def test_a_missing_column_is_an_error(start_hub: StartHub) -> None:
    start_hub([repo([article(1)], schema=pa.schema([field for field in WIKIPEDIA if field.name != "title"]))])
    with pytest.raises(
        RagcunError, match=r"data\.passages wikipedia: .*20231101\.en/train-0.* lacks the column 'title'"
    ):
        read()
