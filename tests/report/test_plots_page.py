"""The page of `dvc plots` draws its curves in a real browser without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer

from tests.browser import Browser, browser

pytestmark = [pytest.mark.browser, pytest.mark.outputs]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Two curves of two revisions each, as dvc writes them beside a project's package; the second has numbers with long names."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "ragcun").symlink_to(ROOT / "ragcun")
    plots = []
    for number in range(2):
        points = [
            {
                "step": str(step),
                "dev_ndcg@10": str((0.5 + step / 100 + number / 10) * (1e-5 if number else 1)),
                "rev": rev,
                "filename": f"{number}.tsv",
            }
            for rev in ("HEAD", "workspace")
            for step in range(4)
        ]
        properties = {
            "x": "step",
            "y": "dev_ndcg@10",
            "title": f"metrics/curves/{number}.tsv",
            "revs_with_datapoints": ["HEAD", "workspace"],
        }
        plots.append(VegaRenderer(points, f"{number}.tsv", **properties))
    file = folder / "dvc_plots" / "index.html"
    render_html(plots, file, html_template=ROOT / ".dvc" / "plots.html")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(file)
        yield opened


def test_the_project_names_its_page() -> None:
    assert "html_template = plots.html" in (ROOT / ".dvc/config").read_text()


def test_each_curve_is_drawn_with_a_line_for_each_revision(page: Browser) -> None:
    assert page.evaluate("document.querySelectorAll('.plot .panel > svg').length") == 2
    assert page.evaluate(
        "[...document.querySelectorAll('.plot')].map((each) => each.querySelectorAll('.panel .line').length)"
    ) == [2, 2]
    names = page.evaluate("[...document.querySelector('.plot .legend').children].map((each) => each.textContent)")
    assert names == ["HEAD", "workspace"]
    text = page.evaluate("document.querySelector('.plot .panel').textContent")
    assert "metrics/curves/0.tsv" in text
    assert "dev_ndcg@10" in text


def test_the_name_of_the_axis_lies_beside_its_numbers(page: Browser) -> None:
    found = page.evaluate(
        """[...document.querySelectorAll('.plot .axes')].map((axes) => {
          const boxes = [...axes.querySelectorAll('text')].map((each) => [each, each.getBoundingClientRect()]);
          const [, name] = boxes.find(([each]) => each.getAttribute('transform'));
          const numbers = boxes.filter(([each]) => each.getAttribute('text-anchor') === 'end').map(([, box]) => box);
          return [Math.min(...numbers.map((box) => box.left)) - name.right, Math.max(...numbers.map((box) => box.width))];
        })"""
    )
    gaps, widths = zip(*found, strict=True)
    assert widths[1] > widths[0] + 10, "vacuous: no long numbers"
    assert min(gaps) > 0


def test_nothing_comes_from_a_network(page: Browser) -> None:
    assert page.complaints() == []
    assert {address.split(":")[0] for address in page.requests()} == {"file"}
