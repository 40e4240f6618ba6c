"""The views of a comparison as CSV and Markdown; ragcun.report.latex has the one for a paper."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ragcun.evaluate.results import COST
from ragcun.report.comparison import BASELINE, METRIC, WITH_ADAPT, Comparison
from ragcun.report.difference_tables import difference_tables
from ragcun.report.leakage import COLUMNS, PASSAGE_IN_TRAINING, POSITIVE_IN_TRAINING
from ragcun.report.marks import markdown_mark, marked

SIGNIFICANT = 0.05
# Columns of the headline that hold no scores; those of IsoScore start with the word.
MODEL, PARAMETERS, BYTES = "model", "trained parameters", "bytes"

# Columns of the leakage by which NDCG@10 is split, and their short names.
_APART = {POSITIVE_IN_TRAINING: "positive", PASSAGE_IN_TRAINING: "passage"}
# The measures of the space that stand here; metrics/panels.md has all of them.
_SPACE = ("isoscore", "mean_cosine", "effective_rank", "hubness")
_BELOW = (
    f"\\* differs from `{BASELINE}`, upwards or downwards; the section of differences says which. Nothing is in bold, for no "
    "control is to be chosen."
)
_NOTE = (
    "Queries are compared without regard to case, white space and Unicode form; documents without regard to the last two, by "
    "title and body together and by body alone. The pairs' own test is kept out of training and of dev by document and by "
    "query; other benchmarks are not."
)


def to_csv(comparison: Comparison) -> str:
    """The whole table, six digits of each figure.

    >>> print(to_csv(tiny_comparison), end="")
    model,benchmark,split,queries,ndcg@10,...
    bm25,tiny,test,1,1,...
    base,tiny,test,1,0.63093,...
    """
    return comparison.table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def to_markdown(comparison: Comparison) -> str:
    """The comparison for a README: NDCG@10, every measure, and the queries by what training has seen.

    >>> print(to_markdown(tiny_comparison))
    ## NDCG@10, test queries
    <BLANKLINE>
    | model   |       tiny |
    |:--------|-----------:|
    | bm25    | **1.0000** |
    | base    |   _0.6309_ |
    ...
    """
    controls = headline(comparison, comparison.controls)
    parts = [
        "## NDCG@10, test queries",
        markdown(_marked(headline(comparison))),
        f"\\* differs from `{BASELINE}` (paired randomisation test over queries, p < {SIGNIFICANT} after Holm's correction"
        f"{_number_of_tests(comparison, 'main')}). Best in bold, second in italics. IsoScore is of the corpus under "
        "the model; 1 is isotropic. Bytes are those of a document's vector.",
        *(
            ["## Controls: projections that were not trained", markdown(_marked(controls, ranked=False)), _BELOW]
            if len(controls)
            else []
        ),
        *_adapting(comparison),
        *_fusion(comparison),
        *_differences(comparison),
        "## Every measure",
        markdown(_measures(comparison), names=3),
        "## NDCG@10 of test queries with and without an answer that is a training positive, or any training passage",
        markdown(_apart(comparison), names=2),
        "## Leakage: test queries of which training, or the choice of a checkpoint, has seen something",
        markdown(leakage_counts(comparison)),
        "Each column counts the test queries of which this holds:",
        "\n".join(f"* *{heading}*: {meaning}." for heading, meaning in COLUMNS.values()),
        _NOTE,
    ]
    return "\n\n".join(parts) + "\n"


def _number_of_tests(comparison: Comparison, family: str) -> str:
    """What p is corrected for, where anything is tested."""
    tested = int((comparison.differences["family"] == family).sum()) if len(comparison.differences) else 0
    return f" for this table's {tested} tests" if tested > 1 else ""


def _differences(comparison: Comparison) -> list[str]:
    tables = difference_tables(comparison.differences)
    if not tables:
        return []
    note = (
        "Each table is a family: Holm's correction is for its number of tests, of all benchmarks together. p is of the paired "
        "randomisation test, t of the paired t test, both after the correction. Intervals are 95 %, by bootstrap over queries. "
        "d_z is the difference in standard deviations of the queries' differences. metrics/significance.csv also has p before "
        "the correction, and the intervals of the means; docs/measures.md explains them. Equal small p are the least that the "
        "resamplings can give, corrected."
    )
    parts = [part for name, table in tables.items() for part in (f"### {name}", markdown(table, names=3))]
    return ["## Differences of NDCG@10, test queries", note, *parts]


def _fusion(comparison: Comparison) -> list[str]:
    table = headline(comparison, comparison.fused)
    if not len(table):
        return []
    note = "\\* differs from the dense model alone. docs/measures.md says how the two are combined."
    return ["## BM25 combined with each model", markdown(_marked(table)), note]


def _adapting(comparison: Comparison) -> list[str]:
    """What `+ adapt` means, where models were adapted, and which were left alone."""
    left, notes = comparison.left_alone, []
    if comparison.test["model"].str.endswith(WITH_ADAPT).any():
        notes.append(
            f"`{WITH_ADAPT.strip()}` is the same model, adapted to the benchmark's corpus without a label (docs/adapt.md). Its "
            "\\* says that it differs from the model itself."
        )
    if len(left):
        alone = "; ".join(
            f"{benchmark}: {', '.join(name.removesuffix(WITH_ADAPT) for name in part['model'])}"
            for benchmark, part in left.groupby("benchmark", sort=False)
        )
        notes.append(f"Not adapted, for the corpus is isotropic enough under the model (evaluate.adapt): {alone}.")
    return notes


def markdown(table: pd.DataFrame, names: int = 1) -> str:
    """A Markdown table. The first `names` columns are aligned left, the figures after them right.

    >>> print(markdown(pd.DataFrame({"model": ["bm25", "base"], "ndcg@10": ["0.6940*", "0.6462"]})))
    | model   |   ndcg@10 |
    |:--------|----------:|
    | bm25    |   0.6940* |
    | base    |    0.6462 |
    """
    align = ["left" if column < names else "right" for column in range(table.shape[1])]
    return str(table.to_markdown(index=False, disable_numparse=True, colalign=align))


def headline(comparison: Comparison, models: Sequence[str] | None = None) -> pd.DataFrame:
    """NDCG@10 of the test queries by model and benchmark, their mean, IsoScore, and what the model costs; as text.

    >>> rows = [("base", "a", "test", 0.4, 1.0, 0.3), ("new", "a", "test", 0.5, 0.01, 0.6)]
    >>> columns = ["model", "benchmark", "split", "ndcg@10", "p_holm", "isotropy.isoscore"]
    >>> headline(Comparison(pd.DataFrame(rows, columns=columns), pd.DataFrame()))
      model        a IsoScore a
    0  base   0.4000     0.3000
    1   new  0.5000*     0.6000

    Args:
        models: the rows; None takes all but the appendix.
    """
    test = comparison.test
    wanted = test["model"].isin(models) if models is not None else ~test["model"].isin(comparison.appendix)
    costs, rows = _costs(comparison.measures), []
    for model, part in test[wanted].groupby("model", sort=False):
        cells = part.to_dict("records")
        stars = ["*" if cell["p_holm"] < SIGNIFICANT else "" for cell in cells]
        row = {MODEL: model}
        row |= {cell["benchmark"]: f"{cell[METRIC]:.4f}{star}" for cell, star in zip(cells, stars, strict=True)}
        # A mean over other benchmarks would look like one to compare.
        if len(cells) == test["benchmark"].nunique() > 1:
            row["mean"] = f"{part[METRIC].mean():.4f}"
        row |= {f"IsoScore {cell['benchmark']}": figure(cell.get("isotropy.isoscore")) for cell in cells}
        rows.append(row | costs.get(str(model), {}))
    table = pd.DataFrame(rows).fillna("")
    # What no row has, as IsoScore of combinations with BM25, has no column.
    return table.loc[:, (table != "").any()]


def scored_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a headline that hold NDCG@10.

    >>> scored_columns(headline(tiny_comparison))
    ['tiny']
    """
    others = (MODEL, PARAMETERS, BYTES)
    return [str(name) for name in table.columns if name not in others and not str(name).startswith("IsoScore ")]


def _costs(measures: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Each model's costs as text, by column."""
    if not len(measures):
        return {}
    columns = {"trained_parameters": PARAMETERS, "bytes": BYTES}
    found: dict[str, dict[str, str]] = {}
    for line in measures[measures["split"] == COST].to_dict("records"):
        found.setdefault(line["model"], {})[columns[line["measure"]]] = f"{line['value']:.0f}"
    return found


def _marked(table: pd.DataFrame, *, ranked: bool = True) -> pd.DataFrame:
    """The table with its stars, the best and the second best where it is `ranked`, and thousands apart."""

    def mark(figure: str, place: str, star: str) -> str:
        return markdown_mark(figure, place if ranked else "", star)

    out = marked(table, scored_columns(table), mark)
    counts = [name for name in (PARAMETERS, BYTES) if name in out]
    out[counts] = out[counts].map(lambda cell: f"{int(cell):,}" if cell else "")
    return out


def leakage_counts(comparison: Comparison) -> pd.DataFrame:
    """How many test queries each benchmark has, and of how many something has been seen.

    >>> leakage_counts(tiny_comparison).T
                                      0
    benchmark                      tiny
    test queries                      1
    asked in training                 1
    answer is a training positive     1
    answer is a training passage      1
    asked in dev                      0
    answer is a dev positive          0
    """
    rows = comparison.test.drop_duplicates("benchmark")
    counts = {heading: rows[f"{column}.queries"].astype(int) for column, (heading, _) in COLUMNS.items()}
    return pd.DataFrame({"benchmark": rows["benchmark"], "test queries": rows["queries"].astype(int), **counts})


def _measures(comparison: Comparison) -> pd.DataFrame:
    whole = comparison.table
    names = list(map(str, whole))
    figures = [name for name in names if "@" in name and "." not in name]
    figures += [f"isotropy.{name}" for name in _SPACE if f"isotropy.{name}" in names]
    table = whole[["benchmark", "split", "model", "queries", *figures]]
    table = table.sort_values(["benchmark", "split"], ascending=[True, False], kind="stable")
    table[figures] = table[figures].map(figure)
    return table.rename(columns=lambda name: str(name).removeprefix("isotropy."))


def _apart(comparison: Comparison) -> pd.DataFrame:
    test = comparison.test
    table = test[["benchmark", "model"]].copy()
    for column, name in _APART.items():
        # The blanks of the dev rows make floats of the counts.
        queries = test[f"{column}.queries"].astype(int)
        for prefix, of, count in (("", column, queries), ("no ", f"no_{column}", test["queries"] - queries)):
            table[f"{prefix}{name}: queries"] = count
            table[f"{prefix}{name}: {METRIC}"] = test[f"{of}.{METRIC}"].map(figure)
    return table.sort_values("benchmark", kind="stable")


def figure(value: float | None) -> str:
    """Four decimals; nothing where there is no figure.

    >>> figure(0.5)
    '0.5000'
    """
    return "" if value is None or np.isnan(value) else f"{value:.4f}"
