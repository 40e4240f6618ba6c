"""The report: one HTML file with the tables, the figures and the explorer, and with nothing to fetch.

Its template, style and scripts are the files in page_files/. Jinja escapes all text; what the scripts read is JSON in which
no `<` is left, so no text of a query or a document can end it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ragcun.report.charts import Chart
from ragcun.report.comparison import BASELINE, METRIC, Comparison
from ragcun.report.difference_tables import difference_tables
from ragcun.report.leakage import COLUMNS
from ragcun.report.page_tables import View, comparison_view, plain_view
from ragcun.report.panels import space_table, without_left_alone
from ragcun.report.tables import SIGNIFICANT, leakage_counts

# The groups of the comparison's rows, by what is shown at first.
GROUPS = (
    ("models", "models", True),
    ("adapted", "adapted to the corpus", True),
    ("fusion", "with BM25", False),
    ("controls", "controls", True),
)
# Queries of a pair of models that gained most, and that lost most: fewer where there are many benchmarks.
_MOST, _OVER_ALL, _LEAST = 10, 60, 3
_STAR = (
    f"A star says that it differs from {BASELINE} (adapted and fused rows: from the model alone), p < {SIGNIFICANT} after "
    "Holm's correction."
)


@dataclass(frozen=True)
class Contents:
    """What stands in the report.

    Attributes:
        explorers: of each benchmark (ragcun.report.explorer).
        changes: params that differ from the committed; None where there is no commit.
        sources: the data's reports.

    >>> Contents(tiny_comparison, [], [], None, pd.DataFrame(), "a base", 42).seed
    42
    """

    comparison: Comparison
    charts: Sequence[Chart]
    explorers: Sequence[Mapping[str, Any]]
    changes: pd.DataFrame | None
    sources: pd.DataFrame
    base_model: str
    seed: int


def per_pair(benchmarks: int) -> int:
    """How many queries of each pair of models the explorer shows, by the number of benchmarks.

    >>> per_pair(2), per_pair(15)
    (10, 4)
    """
    return max(_LEAST, min(_MOST, _OVER_ALL // max(1, benchmarks)))


def render(contents: Contents) -> str:
    """The page.

    >>> nothing = pd.DataFrame(columns=["data"])
    >>> page = render(Contents(tiny_comparison, [], [], None, nothing, "a base", 42))
    >>> page.splitlines()[0], "Comparison" in page
    ('<!doctype html>', True)
    """
    charts = [chart for chart in contents.charts if chart.panels]
    benchmarks = list(dict.fromkeys(contents.comparison.test["benchmark"]))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    present = {row.group for row in comparison_view(contents.comparison).rows}
    return environment.from_string(_file("page.html")).render(
        title=f"Embedders on {', '.join(benchmarks)}",
        base_model=contents.base_model,
        seed=contents.seed,
        star=_STAR,
        groups=[{"name": name, "title": title, "shown": shown} for name, title, shown in GROUPS if name in present],
        comparison=comparison_view(contents.comparison),
        charts=charts,
        explorers=contents.explorers,
        per_pair=per_pair(len(contents.explorers)),
        tables=_tables(contents.comparison),
        changes=None if contents.changes is None else plain_view("", contents.changes),
        sources=plain_view("", contents.sources),
        leakage=plain_view("", leakage_counts(contents.comparison)),
        seen=[{"heading": heading, "meaning": meaning.replace("`", "")} for heading, meaning in COLUMNS.values()],
        data=_script_data(contents, charts),
        # Files of this package, and no text of data.
        style=Markup(_file("page.css")),
        charts_script=Markup(_file("charts.js")),
        page_script=Markup(_file("page.js")),
    )


def _tables(comparison: Comparison) -> list[View]:
    whole = comparison.table
    names = [name for name in map(str, whole) if "@" in name and "." not in name]
    every = whole[["benchmark", "split", "model", "queries", *names]]
    found = [plain_view("Every ranking measure", every)]
    space = space_table(without_left_alone(comparison))
    found += [plain_view("The space of documents and of queries", space)] if len(space) else []
    tests = difference_tables(comparison.differences)
    return found + [plain_view(f"Differences: {heading}", table) for heading, table in tests.items()]


def _script_data(contents: Contents, charts: Sequence[Chart]) -> Markup:
    """What the scripts read, without any `<`: the element that holds it ends at the page's own tag."""
    models = list(contents.explorers[0]["models"]) if contents.explorers else []
    test = contents.comparison.test
    means = test[test["model"].isin(models)].groupby("model", sort=False)[METRIC].mean().sort_values(ascending=False)
    best = [str(model) for model in means.index if model not in (BASELINE, "bm25")]
    data = {
        "charts": [chart.as_data() for chart in charts],
        "explorers": list(contents.explorers),
        "first": [BASELINE, *best[:1]] if best else models[:2],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _file(name: str) -> str:
    return files("ragcun.report").joinpath("page_files", name).read_text(encoding="utf-8")
