"""The report in a real headless Chromium: it is drawn, asks for nothing, sorts, explores, and fits a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragcun.report.page import Contents, render
from tests.browser import Browser, browser
from tests.report.report_inputs import BENCHMARKS, MODELS, SCRIPT, report_contents

pytestmark = [pytest.mark.browser, pytest.mark.outputs]


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    return report_contents(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def file(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(contents), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(shared_browser: Browser, file: Path) -> Browser:
    shared_browser.open(file)
    return shared_browser


def cells(page: Browser, column: int) -> list[str]:
    """A column of the comparison, as shown."""
    found: list[str] = page.evaluate(
        f"[...document.querySelector('table.comparison').tBodies[0].rows].map((row) => row.cells[{column}].textContent)"
    )
    return found


def choose(page: Browser, name: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const box = document.getElementById('explorer-{name}'); box.value = {value!r};"
        " box.dispatchEvent(new Event('change')); box.dispatchEvent(new Event('input')); })()"
    )


def test_every_figure_is_drawn_and_nothing_is_asked_for(page: Browser, contents: Contents) -> None:
    drawn = page.evaluate(
        "[...document.querySelectorAll('[data-chart]')].map((each) => [each.dataset.chart,"
        " each.querySelectorAll('.panel > svg').length, each.querySelectorAll('.series path, .series line').length])"
    )
    charts = [chart for chart in contents.charts if chart.panels]
    assert [(name, panels) for name, panels, _ in drawn] == [(chart.name, len(chart.panels)) for chart in charts]
    assert len(charts) == 9, "every kind of figure"
    for (_, _, marks), chart in zip(drawn, charts, strict=True):
        assert marks >= sum(len(panel.series) for panel in chart.panels)
    assert "NaN" not in page.evaluate("document.querySelector('main').innerHTML")
    assert page.complaints() == []
    assert page.requests() == []


def test_a_request_and_an_error_would_be_seen(page: Browser, tmp_path: Path) -> None:
    """The premise of the test above."""
    path = tmp_path / "bad.html"
    path.write_text("<script src='http://127.0.0.1:9/a.js'></script><script>console.error('no'); nothing()</script>")
    page.open(path)
    assert page.requests() == ["http://127.0.0.1:9/a.js"]
    assert len(page.complaints()) >= 2


def test_a_table_sorts_by_number_both_ways_and_by_name(page: Browser) -> None:
    click = "document.querySelectorAll('table.comparison th button')[{}].click()"
    for expected in (True, False):
        page.evaluate(click.format(1))
        values = [float(cell.rstrip("*")) for cell in cells(page, 1)]
        assert values == sorted(values, reverse=expected)
        order = page.evaluate("document.querySelectorAll('table.comparison th')[1].getAttribute('aria-sort')")
        assert order == ("descending" if expected else "ascending")
    page.evaluate(click.format(0))
    assert cells(page, 0) == sorted(MODELS)
    # bm25 has no IsoScore: what has no value is last, whichever way.
    for _ in range(2):
        page.evaluate(click.format(4))
        assert cells(page, 0)[-1] == "bm25"


def test_a_script_in_a_query_is_text(page: Browser) -> None:
    choose(page, "a", "mine")
    choose(page, "b", "base")
    texts = page.evaluate("[...document.querySelectorAll('#explorer-lists .text')].map((each) => each.textContent)")
    assert any(SCRIPT.split(" &")[0] in text for text in texts)
    assert page.evaluate("document.title") == f"Embedders on {', '.join(BENCHMARKS)}"
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


def test_the_explorer_shows_the_chosen_pair_and_benchmark(page: Browser, contents: Contents) -> None:
    assert page.evaluate("['a', 'b'].map((name) => document.getElementById('explorer-' + name).value)") == [
        "base",
        "mine",
    ]
    for benchmark, (a, b) in zip(BENCHMARKS, (("bm25", "mine"), ("mine", "base")), strict=True):
        for name, value in (("benchmark", benchmark), ("a", a), ("b", b)):
            choose(page, name, value)
        (explorer,) = (each for each in contents.explorers if each["name"] == benchmark)
        places = sorted((MODELS.index(a), MODELS.index(b)))
        more, same, fewer = explorer["pairs"][f"{places[0]} {places[1]}"]["counts"][
            :: 1 if MODELS.index(a) < MODELS.index(b) else -1
        ]
        counts = page.evaluate("document.getElementById('explorer-counts').textContent")
        assert counts == f"{b} scores higher than {a} on {more} queries, lower on {fewer}, the same on {same}."
        for place, sign in enumerate("+−"):
            changes = page.evaluate(
                f"[...document.querySelectorAll('#explorer-lists section')[{place}].querySelectorAll('.change')]"
                ".map((each) => each.textContent)"
            )
            assert all(change.startswith(sign) for change in changes)
            sizes = [float(change[1:]) for change in changes]
            assert sizes == sorted(sizes, reverse=True)
            assert len(sizes) == min(10, (more, fewer)[place])
        opened = "document.querySelector('#explorer-lists details[open]')"
        assert (
            page.evaluate(f"new Promise((done) => setTimeout(() => done({opened}.querySelectorAll('ol').length), 50))")
            == 2
        )
        assert page.evaluate(f"{opened}.querySelectorAll('li.relevant .badge, .answers tbody tr').length") >= 2


def test_words_and_the_swap_narrow_and_turn_the_explorer(page: Browser) -> None:
    before = page.evaluate("document.getElementById('explorer-counts').textContent")
    page.evaluate("document.getElementById('explorer-swap').click()")
    after = page.evaluate("document.getElementById('explorer-counts').textContent")
    assert before.startswith("mine scores higher than base")
    assert after.startswith("base scores higher than mine")
    choose(page, "filter", "QUESTION 1")
    texts = page.evaluate("[...document.querySelectorAll('#explorer-lists .text')].map((each) => each.textContent)")
    assert all("question 1" in text for text in texts)


def test_pointing_at_a_mark_shows_its_values(page: Browser, contents: Contents) -> None:
    place = page.evaluate(
        "(() => { const mark = document.querySelector('[data-chart=isotropy] .panel .mark');"
        " mark.scrollIntoView({block: 'center', behavior: 'instant'});"
        " const box = mark.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    text = page.evaluate("document.querySelector('[data-chart=isotropy] .tip:not([hidden])').textContent")
    base = contents.comparison.test.query("model == 'base'").iloc[0]
    assert text == f"baseIsoScore of the documents: 0.25NDCG@10: {base['ndcg@10']:.4g}"


def test_a_name_in_the_legend_hides_and_shows(page: Browser) -> None:
    count = "document.querySelectorAll('[data-chart=spectrum] .panel:first-child .series').length"
    before = page.evaluate(count)
    for expected in (before - 1, before):
        page.evaluate("document.querySelector('[data-chart=spectrum] .legend button').click()")
        assert page.evaluate(count) == expected


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_light_and_dark(page: Browser, file: Path, dark: bool) -> None:
    page.open(file, width=390, height=844, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("window.innerWidth") == 390
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert (
        page.evaluate("new Promise((done) => setTimeout(() => done(document.documentElement.scrollWidth), 100))") <= 390
    )
    red, *_ = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (red < 60) == dark
    assert page.complaints() == []


def test_it_prints(page: Browser) -> None:
    printed = page.call("Page.printToPDF", printBackground=False)["data"]
    assert len(printed) > 50_000
    page.call("Emulation.setEmulatedMedia", media="print")
    hidden = page.evaluate("['nav', '.controls'].map((name) => getComputedStyle(document.querySelector(name)).display)")
    page.call("Emulation.setEmulatedMedia", media="")
    assert hidden == ["none", "none"]
