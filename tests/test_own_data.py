"""A change of what the user's own files hold is noticed by the next `dvc repro`, and only what depends on it runs."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ragcun.data.benchmark import write_benchmark
from ragcun.sources.source_report import SourceReport
from tests import tiny_source
from tests.project import Project, ran
from tests.tiny import tiny_benchmark

pytestmark = pytest.mark.sources
UP_TO = ("prepare_pairs", "prepare_pretraining")


def write_pairs(path: Path, *, note: str = "", more: tuple[dict[str, str], ...] = ()) -> None:
    pairs = tiny_source.Tiny().pairs(SourceReport("test"))
    rows = [{"split": pair.split, "query": pair.query, "positive": pair.positive, "note": note} for pair in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *more]))


def texts_of(project: Project) -> set[str]:
    return set(pd.read_parquet(project.folder / "data/pairs/finetune/texts.parquet")["text"])


def test_the_content_of_a_file_of_pairs(fresh: Project, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    write_pairs(mine)
    fresh.params(data__pairs=str(mine))
    fetched = {"own_files@pairs", "download@pairs"}
    assert ran(fresh.run("dvc", "repro", *UP_TO)) == fetched | {"prepare_pairs"}
    assert not ran(fresh.run("dvc", "repro", *UP_TO))
    # What is not used of the file: its records stay the same.
    write_pairs(mine, note="changed")
    assert ran(fresh.run("dvc", "repro", *UP_TO)) == fetched | {"prepare_pairs"}
    extra = {"split": "train", "query": "a new query", "positive": "a new passage"}
    write_pairs(mine, more=(extra,))
    assert ran(fresh.run("dvc", "repro", *UP_TO)) == fetched | {"prepare_pairs", "prepare_pretraining"}
    assert {"a new query", "a new passage"} <= texts_of(fresh)
    # Back to what it was: the same params with other content must not bring back the wrong result.
    write_pairs(mine)
    fresh.run("dvc", "repro", *UP_TO)
    assert not {"a new query", "a new passage"} & texts_of(fresh)


def test_the_content_of_a_file_of_passages(fresh: Project, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    passages = [f"passage {number} of mine says something" for number in range(40)]
    mine.write_text("\n".join([*passages, "second passage of mine"]))
    fresh.params(data__passages=str(mine))
    fetched = {"own_files@passages", "download@passages"}
    assert fetched < ran(fresh.run("dvc", "repro", *UP_TO))
    mine.write_text("\n".join([*passages, "third passage of mine"]))
    assert fetched < ran(fresh.run("dvc", "repro", *UP_TO))
    assert "third passage of mine" in texts_of(fresh)
    assert "second passage of mine" not in texts_of(fresh)


def test_the_content_of_a_folder_that_is_a_benchmark(fresh: Project, tmp_path: Path) -> None:
    write_benchmark(tiny_benchmark("mine"), tmp_path / "mine")
    fresh.params(data__local={"mine": str(tmp_path / "mine")}, data__benchmarks=["tiny", "mine"])
    own = {"own_benchmark@mine", "download_benchmark@mine"}
    targets = ("download_benchmark@tiny", "download_benchmark@mine")
    assert ran(fresh.run("dvc", "repro", *targets)) == own | {"own_benchmark@tiny"}
    corpus = tmp_path / "mine" / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + json.dumps({"_id": "new", "text": "a new document"}) + "\n")
    assert ran(fresh.run("dvc", "repro", *targets)) == own
    assert "a new document" in (fresh.folder / "data/benchmarks/mine/corpus.jsonl").read_text()
