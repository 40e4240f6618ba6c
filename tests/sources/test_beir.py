"""A set of BEIR arrives as its mirror has it, with the split that BEIR reports as `test`, or not at all."""

import csv
import hashlib
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from beir.datasets.data_loader import GenericDataLoader

from ragcun.core.errors import RagcunError
from ragcun.core.files import cache_folder
from ragcun.data.benchmark import read_benchmark, read_parts
from ragcun.fetch import http
from ragcun.fetch.retry import Patience
from ragcun.sources import beir_sets
from ragcun.sources.beir import BeirBenchmark
from ragcun.sources.beir_sets import BeirSet
from tests.servers.beir import EMPTY, TOPICS, UNKNOWN, beir_entries, beir_routes, zip_of
from tests.servers.http import Fault, HttpServer, Response

REAL = beir_sets.REGISTRY
WHOLE = [name for name, entry in REAL.items() if "" in entry.folders]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, BeirSet]:
    """The registry of the mirror in the place of the real one; and no long waits."""
    entries = beir_entries()
    monkeypatch.setattr(beir_sets, "REGISTRY", entries)
    monkeypatch.setattr(http, "Patience", lambda: Patience(attempts=3, first_wait=0.001, silence=0.3))
    return entries


@pytest.fixture
def mirror() -> Iterator[HttpServer]:
    with HttpServer(beir_routes()) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmarks" / "target"
    folder.mkdir(parents=True)
    return folder


def get(server: HttpServer, target: Path, name: str) -> None:
    BeirBenchmark(name, f"{server.url}/beir").fetch(target=target)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.parametrize("name", WHOLE)
def test_every_set_is_read_as_its_zip_has_it(mirror: HttpServer, target: Path, name: str) -> None:
    get(mirror, target, name)
    benchmark = read_benchmark(target)
    reported = "dev" if name == "msmarco" else "test"
    rows = {"dev": [2, 3], "test": [4, 5, 6, 7]}
    expected = {"test": rows[reported]} | (
        {"dev": rows["dev"]} if "dev" in REAL[name].folders[""].splits and reported == "test" else {}
    )
    assert benchmark.queries == {
        split: {f"q{row}": TOPICS[row][2] for row in of_split} for split, of_split in expected.items()
    }
    for split, of_split in expected.items():
        judged = {f"q{row}": {f"d{row}": 2, EMPTY: 0} for row in of_split}
        judged[f"q{of_split[0]}"][UNKNOWN] = 1
        assert benchmark.qrels[split] == judged
    assert list(benchmark.bodies) == [*(text for _, text, _ in TOPICS), ""]
    assert list(benchmark.titles) == ["" if row == 2 else title for row, (title, _, _) in enumerate(TOPICS)] + [""]
    assert {path.name for path in target.iterdir()} == {"corpus.jsonl", "queries.jsonl", "qrels", "report.json"}
    assert [path.name for path in target.parent.iterdir()] == ["target"], "what was unpacked is gone"


def test_beir_itself_reads_what_is_written(mirror: HttpServer, target: Path) -> None:
    get(mirror, target, "nfcorpus")
    benchmark = read_benchmark(target)
    for split in ("test", "dev"):
        corpus, queries, qrels = GenericDataLoader(str(target)).load(split=split)
        assert [corpus[i]["text"] for i in corpus] == list(benchmark.bodies)
        assert queries == benchmark.queries[split]
        assert qrels == benchmark.qrels[split]


def test_cqadupstack_is_a_folder_for_each_forum(mirror: HttpServer, target: Path) -> None:
    get(mirror, target, "cqadupstack")
    parts = read_parts(target)
    assert list(parts) == sorted(REAL["cqadupstack"].folders)
    assert len(parts) == 12
    for forum, benchmark in parts.items():
        assert benchmark.doc_ids[0] == f"{forum}d0"
        assert list(benchmark.queries) == ["test"]
        assert report_of(target / forum)["source"] == f"BEIR cqadupstack/{forum}"
    assert {path.name for path in target.iterdir()} == set(parts)
    assert len(mirror.log) == 1


def test_the_report_says_what_it_is_and_what_was_checked(target: Path, registry: dict[str, BeirSet]) -> None:
    with HttpServer(beir_routes()) as server:
        BeirBenchmark("nfcorpus", server.url.replace("//", "//me:secret@") + "/beir/").fetch(target=target)
    report = report_of(target)
    assert report == {
        "source": "BEIR nfcorpus",
        "url": f"{server.url}/beir/nfcorpus.zip",
        "licence": REAL["nfcorpus"].licence,
        "revision": f"md5:{registry['nfcorpus'].md5}",
        "reported_split": "test",
        "queries_are_documents": False,
        "checked": ["documents", "judgements in dev", "judgements in test", "md5", "queries in dev", "queries in test"],
        "unchecked": [],
        "documents": 9,
        "documents_without_text": 1,
        "splits": {
            "test": {"queries": 4, "judgements": 9, "relevant": 5, "judgements_of_unknown_documents": 1},
            "dev": {"queries": 2, "judgements": 5, "relevant": 3, "judgements_of_unknown_documents": 1},
        },
    }


def test_a_set_is_downloaded_once_and_the_archive_lies_outside_the_outputs(mirror: HttpServer, target: Path) -> None:
    get(mirror, target, "scifact")
    first = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    other = target.with_name("other")
    other.mkdir()
    get(mirror, other, "scifact")
    assert {path.name: path.read_bytes() for path in other.rglob("*") if path.is_file()} == first
    assert len(mirror.log) == 1
    assert (cache_folder() / "downloads" / "beir" / "scifact.zip").read_bytes() == zip_of("scifact")


def test_a_bad_line_is_overcome(target: Path) -> None:
    with HttpServer(beir_routes(), faults=[Fault.E503, Fault.SHORT_BODY, Fault.RESET, Fault.STALL], stall=1) as server:
        get(server, target, "scifact")
        assert [seen.status for seen in server.log] == [503, 200, None, None, 206]
    assert len(read_benchmark(target).doc_ids) == 9


@pytest.mark.parametrize("name", ["scifact", "cqadupstack"])
@pytest.mark.parametrize("what", ["documents", "queries", "judgements"])
@pytest.mark.parametrize("published", [77, 1])
def test_other_counts_than_the_registrys_are_an_error(
    mirror: HttpServer, target: Path, registry: dict[str, BeirSet], name: str, what: str, published: int
) -> None:
    """A set that is smaller than the published one, and one that is larger."""
    part = "gis" if name == "cqadupstack" else ""
    folder = registry[name].folders[part]
    if what == "documents":
        found, other = folder.documents, replace(folder, documents=published)
    else:
        counts = folder.splits["test"]
        found = getattr(counts, what)
        other = replace(folder, splits={**folder.splits, "test": counts._replace(**{what: published})})
    registry[name] = replace(registry[name], folders={**registry[name].folders, part: other})
    assert 1 < found < 77, "else only one side is tried"
    where = {"scifact": "scifact", "cqadupstack": "cqadupstack/gis"}[name]
    with pytest.raises(
        RagcunError,
        match=rf"BEIR's {where} has {found} {what}( in test)? instead of {published}; name a mirror .*data\.beir_url",
    ):
        get(mirror, target, name)


def test_an_altered_archive_is_an_error_and_nothing_is_written(target: Path) -> None:
    with (
        HttpServer({"/beir/scifact.zip": Response(zip_of("nq"))}) as server,
        pytest.raises(
            RagcunError, match=r"scifact\.zip is not the one that was published: its MD5 is .*check the name and"
        ),
    ):
        get(server, target, "scifact")
    assert list(target.iterdir()) == []
    assert not list((cache_folder() / "downloads" / "beir").glob("*.zip"))


def test_a_set_the_mirror_lacks_and_one_that_nobody_knows_are_named(mirror: HttpServer, target: Path) -> None:
    with pytest.raises(
        RagcunError, match=r"BEIR has no public set 'news'; data\.benchmarks can name msmarco, trec-covid"
    ):
        get(mirror, target, "news")
    with pytest.raises(RagcunError, match=r"there is no such file \(404\); check the name and data\.beir_url"):
        BeirBenchmark("nq", mirror.url).fetch(target=target)


def repacked(name: str, change: Callable[[str, bytes], bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zip_of(name))) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = change(info.filename, old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda name, content: None if name.endswith("test.tsv") else content,
            r"scifact\.zip lacks qrels/test\.tsv; name",
        ),
        (lambda name, content: None if name.startswith("scifact/") else content, "the archive has no folder scifact"),
        (lambda name, content: content.replace(b"comet", b"com\xff"), r"corpus\.jsonl, line 2 is not UTF-8"),
    ],
)
def test_an_archive_that_is_not_in_the_layout_is_an_error(
    target: Path,
    registry: dict[str, BeirSet],
    change: Callable[[str, bytes], bytes | None],
    message: str,
) -> None:
    content = repacked("scifact", change)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    registry["scifact"] = replace(registry["scifact"], md5=md5)
    with HttpServer({"/beir/scifact.zip": Response(content)}) as server, pytest.raises(RagcunError, match=message):
        get(server, target, "scifact")
    assert list(target.iterdir()) == []
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_the_registry_has_every_public_set_and_agrees_with_beirs_rounded_figures() -> None:
    # From the table in beir's README: queries of the reported split, and documents to the precision given there.
    table = """msmarco 6980 8.84M|trec-covid 50 171K|nfcorpus 323 3.6K|nq 3452 2.68M|hotpotqa 7405 5.23M|fiqa 648 57K
    |arguana 1406 8.67K|webis-touche2020 49 382K|cqadupstack 13145 457K|quora 10000 523K|dbpedia-entity 400 4.63M
    |scidocs 1000 25K|fever 6666 5.42M|climate-fever 1535 5.42M|scifact 300 5K"""
    assert len({entry.md5 for entry in REAL.values()}) == len(REAL) == 15
    rows = [row.split() for row in table.split("|")]
    assert [name for name, _, _ in rows] == list(REAL)
    for name, queries, documents in rows:
        entry = REAL[name]
        folders = entry.folders.values()
        assert sum(folder.splits[entry.reported].queries for folder in folders) == int(queries)
        unit = {"K": 1_000, "M": 1_000_000}[documents[-1]]
        digits = len(documents.partition(".")[2].rstrip("KM"))
        count = sum(folder.documents for folder in folders) / unit
        # Some are cut, some are rounded.
        assert abs(count - float(documents[:-1])) < 10**-digits
        assert len(entry.md5) == 32
        assert entry.reported == ("dev" if name == "msmarco" else "test")


def test_a_mirror_that_packed_anew_is_taken_where_that_is_allowed(
    mirror: HttpServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beir_sets, "REGISTRY", REAL)
    with pytest.raises(RagcunError, match="not the one that was published: its MD5"):
        get(mirror, target, "scifact")
    for _ in range(2):
        before = len(mirror.log)
        BeirBenchmark("scifact", f"{mirror.url}/beir", published=False).fetch(target=target)
        assert len(mirror.log) > before, "with nothing to be known by, it is not kept"
        report = report_of(target)
        assert (report["checked"], report["revision"], report["documents"]) == ([], None, len(TOPICS) + 1)
    forums = target.with_name("forums")
    forums.mkdir()
    BeirBenchmark("cqadupstack", f"{mirror.url}/beir", published=False).fetch(target=forums)
    assert len(read_parts(forums)) == 12


@pytest.mark.parametrize("published", [True, False])
def test_the_sets_whose_queries_are_documents_say_so(mirror: HttpServer, target: Path, published: bool) -> None:
    assert {name for name in REAL if REAL[name].queries_are_documents} == {"arguana", "quora"}
    for name, expected in (("arguana", True), ("scifact", False)):
        folder = target / name
        folder.mkdir()
        BeirBenchmark(name, f"{mirror.url}/beir", published=published).fetch(target=folder)
        assert read_benchmark(folder).queries_are_documents is expected


def test_the_mirror_holds_what_it_is_meant_to(target: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(zip_of("cqadupstack"))) as archive:
        names = archive.namelist()
        rows = list(csv.reader(io.StringIO(archive.read("cqadupstack/gis/qrels/train.tsv").decode()), delimiter="\t"))
    assert "cqadupstack/android/corpus.jsonl" in names
    assert rows[0] == ["query-id", "corpus-id", "score"]
    assert zip_of.__wrapped__("nq") == zip_of("nq"), "the same bytes each time"


@pytest.mark.parametrize(("script", "number"), [("quick", 2), ("standard", 5), ("full", 15)])
def test_the_scripts_run_the_sets_that_they_name(tmp_path: Path, script: str, number: int) -> None:
    (tmp_path / "dvc").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "dvc").chmod(0o755)
    path = Path(__file__).parents[2] / "experiments" / f"beir_{script}.sh"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", path, "--set-param", "seed=1"], env=environment, check=True, capture_output=True, text=True
    )
    *command, setting, more, seed = ran.stdout.split("\n")[:-1]
    assert (command, more, seed) == (["exp", "run", "--set-param"], "--set-param", "seed=1")
    key, _, sets = setting.partition("=")
    assert key == "data.benchmarks"
    assert len(set(yaml.safe_load(sets)) & set(REAL)) == len(yaml.safe_load(sets)) == number
