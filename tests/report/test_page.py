"""The report is one file that asks for nothing, and shows what the comparison and the runs say."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ragcun.evaluate.results import read_scores
from ragcun.report.page import Contents, render
from ragcun.report.provenance import data_sources, differences
from tests.report.report_inputs import BENCHMARKS, MODELS, SCRIPT, report_contents

pytestmark = pytest.mark.outputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def contents(folder: Path) -> Contents:
    return report_contents(folder)


@pytest.fixture(scope="module")
def page(contents: Contents) -> str:
    return render(contents)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the data in its JSON."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data


def test_nothing_is_fetched_and_the_browser_is_told_to_fetch_nothing(page: str) -> None:
    for tag, attributes in Elements(page).elements:
        for name in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value}>"
        assert tag not in ("iframe", "object", "embed", "base")
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_text_of_data_is_escaped_everywhere(page: str) -> None:
    """Three scripts are the page's own; none comes from a query, a document, a benchmark's name or a param."""
    assert SCRIPT not in page
    scripts = [attributes for tag, attributes in Elements(page).elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}, {}]
    assert not [tag for tag, _ in Elements(page).elements if tag in ("img", "b")]
    data = json.loads(Elements(page).data)
    assert SCRIPT in {query["text"] for query in data["explorers"][0]["queries"]}, "vacuous"


def test_the_table_has_every_model_and_marks_the_best(page: str, contents: Contents) -> None:
    body = re.search(r'<table class="sortable comparison">.*?</table>', page, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr data-group=.*?</tr>", body[0], re.DOTALL)
    assert [re.findall(r"<td>(.*?)</td>", row)[0] for row in rows] == list(MODELS)
    test = contents.comparison.test
    for benchmark in BENCHMARKS:
        best = test[test["benchmark"] == benchmark].sort_values("ndcg@10").iloc[-1]
        (row,) = (row for row in rows if f"<td>{best['model']}</td>" in row)
        assert re.search(rf'class="figure best"[^>]*>{best["ndcg@10"]:.4f}', row)


def explorers(page: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = json.loads(Elements(page).data)["explorers"]
    return found


def test_the_explorer_tells_what_the_scores_per_query_say(page: str, folder: Path) -> None:
    for explorer in explorers(page):
        scores = {model: read_scores(folder / "runs" / model / explorer["name"], "test")["ndcg@10"] for model in MODELS}
        for pair, shown in explorer["pairs"].items():
            a, b = (explorer["models"][int(place)] for place in pair.split())
            change = scores[b] - scores[a]
            assert shown["counts"] == [(change > 0).sum(), (change == 0).sum(), (change < 0).sum()]
            found = [explorer["queries"][row]["scores"] for row in shown["queries"]]
            changes = sorted(each[MODELS.index(b)] - each[MODELS.index(a)] for each in found)
            least, most = change[change < 0].nsmallest(10), change[change > 0].nlargest(10)
            assert changes == pytest.approx([*least, *most.iloc[::-1]], abs=1e-4)


def test_the_explorer_shows_the_first_documents_and_where_the_relevant_ones_are(page: str, folder: Path) -> None:
    (explorer, _) = explorers(page)
    queries = {query["text"]: query for query in explorer["queries"]}
    query = queries[SCRIPT]
    for place, model in enumerate(MODELS):
        lines = (folder / "runs" / model / explorer["name"] / "test.trec").read_text().splitlines()
        ranked = [line.split()[2] for line in lines if line.startswith("q0 ")]
        titles = [explorer["documents"][row][0] for row in query["found"][place]]
        assert [title for title in titles[2:] if title] == [
            f"Title {document[1:]}" for document in ranked[2:5] if document != "d1"
        ]
        ranks = [ranks[place] for _, ranks in query["relevant"]]
        assert ranks == [ranked.index(document) + 1 for document in ("d0", "d1")]
    assert sorted(query["grades"].values()) == [1, 2]
    assert all(len(text) <= 182 for _, text in explorer["documents"])


def test_params_that_differ_are_listed_and_no_commit_is_said(contents: Contents) -> None:
    assert "differ from the commit" in render(contents)
    nothing = pd.DataFrame(columns=["key", "committed", "now"])
    assert "is as committed" in render(replace(contents, changes=nothing))
    assert "no commit to compare" in render(replace(contents, changes=None))
    before = {"seed": 1, "a": {"b": None, "c": [1]}, "gone": 2}
    found = differences(before, {"seed": 1, "a": {"b": "x", "c": [1]}, "new": {}})
    assert found.values.tolist() == [["a.b", "null", "x"], ["gone", "2", ""], ["new", "", "{}"]]


def test_the_reports_of_the_data_are_read_with_their_licences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = {"source": "a file", "licence": None, "revision": "r1", "read": 5000, "kept": 4000}
    splits = {"documents": 12, "splits": {"test": {"queries": 3}}}
    for path, content in (
        ("data/raw/pairs/report.json", report),
        ("data/benchmarks/whole/report.json", report | splits),
        ("data/benchmarks/parted/one/report.json", report | splits),
    ):
        Path(path).parent.mkdir(parents=True)
        Path(path).write_text(json.dumps(content))
    table = data_sources(["whole", "parted"])
    assert table["data"].tolist() == ["pairs", "whole", "parted/one"]
    assert table["size"].tolist() == ["4,000 of 5,000 rows", *["12 documents, 3 test queries"] * 2]
    assert set(table["licence"]) == {"not stated"}


def test_the_same_comparison_gives_the_same_page(contents: Contents, page: str) -> None:
    assert render(contents) == page


def test_its_files_come_with_the_package() -> None:
    """An installed package has no other files than Python's unless pyproject.toml names them."""
    root = Path(__file__).parents[2]
    named = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert named == {"ragcun.report": ["page_files/*"]}
    there = {path.name for path in files("ragcun.report").joinpath("page_files").iterdir()}
    assert there == {"page.html", "page.css", "page.js", "charts.js"}
