"""What stands beside the comparison, as Markdown: published scores, the space of each model, compression, fusion."""

import pandas as pd

from ragcun.report.comparison import Comparison
from ragcun.report.compression import compression_tables
from ragcun.report.tables import markdown

# The texts of which a space is measured, and their splits in the tidy table.
SPACES = {"corpus": "documents", "queries": "queries"}


def panels(comparison: Comparison, compression: pd.DataFrame, anchors: pd.DataFrame) -> str:
    """The panels that have something to show. docs/measures.md explains them.

    >>> print(panels(tiny_comparison, pd.DataFrame(), pd.DataFrame()), end="")
    Explained in docs/measures.md.
    """
    parts = ["Explained in docs/measures.md."]
    if len(anchors):
        parts += ["## Published and measured NDCG@10, test queries", markdown(anchors_table(anchors), names=3)]
    space = space_table(without_left_alone(comparison))
    if len(space):
        parts += ["## The space of documents and of queries", markdown(space, names=3)]
    if len(compression):
        for name, table in compression_tables(compression).items():
            parts += [f"## NDCG@10 in less space: {name}", markdown(table, names=2)]
    weights = weights_table(comparison.measures)
    if len(weights):
        parts += ["## Weight of the dense model in convex fusion, chosen on dev", markdown(weights)]
    return "\n\n".join(parts) + "\n"


def without_left_alone(comparison: Comparison) -> pd.DataFrame:
    """The tidy table without models whose adaptation changed nothing: their space is the model's own.

    >>> len(without_left_alone(tiny_comparison)) == len(tiny_comparison.measures)
    True
    """
    measures = comparison.measures
    if not len(measures):
        return measures
    left = pd.MultiIndex.from_frame(comparison.left_alone)
    return measures[~pd.MultiIndex.from_frame(measures[["model", "benchmark"]]).isin(left)]


def anchors_table(anchors: pd.DataFrame) -> pd.DataFrame:
    """The anchors as text, without their sources.

    >>> row = {"model": "bm25", "benchmark": "a", "of": "bm25", "published": 0.5, "measured": 0.51, "difference": 0.01}
    >>> anchors_table(pd.DataFrame([row]))["difference"].item()
    '+0.0100'
    """
    table = anchors[["model", "benchmark", "of"]].copy()
    for name in ("published", "measured"):
        table[name] = anchors[name].map("{:.4f}".format)
    table["difference"] = anchors["difference"].map("{:+.4f}".format)
    return table


def space_table(measures: pd.DataFrame) -> pd.DataFrame:
    """A row for each benchmark, model and kind of text, a column for each measure; as text.

    >>> rows = [("base", "a", "corpus", "isoscore", 0.5), ("base", "a", "queries", "isoscore", 0.25)]
    >>> space_table(pd.DataFrame(rows, columns=["model", "benchmark", "split", "measure", "value"]))
      benchmark      texts model isoscore
    0         a  documents  base   0.5000
    1         a    queries  base   0.2500
    """
    found = measures[measures["split"].isin(SPACES)] if len(measures) else measures
    if not len(found):
        return pd.DataFrame()
    keys = ["benchmark", "split", "model"]
    wide = found.pivot_table(index=keys, columns="measure", values="value", sort=False).reset_index()
    # By benchmark, then documents before queries, the models as they came.
    wide = wide.sort_values(keys[:2], key=lambda names: names.map(list(dict.fromkeys(names)).index), kind="stable")
    figures = [name for name in wide.columns if name not in keys]
    wide[figures] = wide[figures].map(lambda value: "" if pd.isna(value) else f"{value:.4f}")
    wide["split"] = wide["split"].map(SPACES)
    return wide.rename(columns={"split": "texts"}).rename_axis(columns=None).reset_index(drop=True)


def weights_table(measures: pd.DataFrame) -> pd.DataFrame:
    """The weights that convex fusion chose, a row for each model.

    >>> rows = [("bm25 + base (convex)", "a", "fusion", "weight", 0.25)]
    >>> weights_table(pd.DataFrame(rows, columns=["model", "benchmark", "split", "measure", "value"]))
                      model    a
    0  bm25 + base (convex)  0.2
    """
    found = measures[measures["split"] == "fusion"] if len(measures) else measures
    if not len(found):
        return pd.DataFrame()
    wide = found.pivot_table(index="model", columns="benchmark", values="value", sort=False)
    text = wide.map(lambda value: "" if pd.isna(value) else f"{value:.1f}")
    return text.reset_index().rename_axis(columns=None)
