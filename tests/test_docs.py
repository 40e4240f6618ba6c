"""The pages: their links lead somewhere, and what they and the project's metadata repeat is the same."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.clients.table import PARITY, parity_table, put, table

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data/README.md", *DOCS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_links_and_headings_are_read_outside_code_alone(tmp_path: Path) -> None:
    """The premise of the test above, and that the pages have such links."""
    page = tmp_path / "page.md"
    page.write_text("# One, `two`\n[a](b.md#c) [d](https://e)\n```\n# no heading\n[no](link.md)\n```\n![f](g.png)\n")
    assert links(page) == ["b.md#c", "g.png"]
    assert anchors(page) == {"one-two"}
    assert any("#" in link for link in links(ROOT / "README.md"))


def links(page: Path) -> list[str]:
    """The relative links and images of a page."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    return [link for link in found if not link.startswith("http")]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_readme_is_short_and_leads_to_every_page() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(readme)}
    assert DOCS
    assert {page.resolve() for page in PAGES} - {readme.resolve()} <= linked


def test_contributing_names_every_script_that_lists_strategies() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    strategies = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["finetune"]["foreach"]
    section = text[text.index("## Add a strategy") : text.index("## Add a measure")]
    scripts = {
        path.name
        for path in (ROOT / "experiments").iterdir()
        if path.suffix in (".py", ".sh") and all(name in path.read_text(encoding="utf-8") for name in strategies)
    }
    assert scripts
    assert not {name for name in scripts if f"`{name}`" not in section}


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = re.findall(r"^  ([a-z-]+) +\S", shown, flags=re.MULTILINE)
    assert sorted(listed) == sorted(targets.split())
    assert listed[0] == re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE)[0] == "repro", "the default target"


def test_the_hooks_before_a_commit_are_those_of_make_lint() -> None:
    (lint,) = re.findall(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in repo["hooks"]]
    assert entries == [line.strip() for line in lint.splitlines()]


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    for key, name in (("name", "title"), ("version", "version"), ("license", "license"), ("description", "abstract")):
        assert f'\n{key} = "{citation[name]}"\n' in project


def test_the_table_of_clients_is_made_from_its_figures() -> None:
    page, figures = ROOT / "docs/serving.md", ROOT / "experiments/clients.json"
    text = page.read_text(encoding="utf-8")
    made = table(json.loads(figures.read_text()))
    assert put(text, made) == text, "bash experiments/clients.sh makes it"
    assert put(text, "| another |") != text


def test_the_table_of_exports_is_made_from_their_figures() -> None:
    text, figures = (ROOT / "docs/serving.md").read_text(encoding="utf-8"), ROOT / "experiments/parity.json"
    made = parity_table(json.loads(figures.read_text()))
    assert put(text, made, PARITY) == text, "bash experiments/parity.sh makes it"
    assert "| `smart_hybrid` | `onnx/model.onnx` |" in made
