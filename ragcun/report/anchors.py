"""Scores that others published, beside those measured here: a pipeline that misses them measures something else."""

import logging
from pathlib import Path

import pandas as pd
import yaml

from ragcun.report.comparison import BASELINE, METRIC, Comparison

logger = logging.getLogger(__name__)

PUBLISHED = Path("benchmarks/published.yaml")
TOLERANCE = 0.005


def anchors(comparison: Comparison, base_model: str, published: Path = PUBLISHED) -> pd.DataFrame:
    """Published and measured NDCG@10 of the test queries: model, benchmark, of, published, measured, difference, source.

    There is a row where the comparison has one of a model that `published` names: `bm25`, and `base` by the base model. A
    difference above .005 is a warning.

    >>> Path("published.yaml").write_text("bm25: {names: [bm25], source: a paper, ndcg@10: {tiny: 0.9, other: 0.5}}")
    72
    >>> anchors(tiny_comparison, "a base", Path("published.yaml"))[["model", "benchmark", "published", "measured"]]
      model benchmark  published  measured
    0  bm25      tiny        0.9       1.0
    """
    known = yaml.safe_load(published.read_text(encoding="utf-8"))
    rows = []
    for row in comparison.test.to_dict("records"):
        name = {"bm25": "bm25", BASELINE: base_model}.get(row["model"])
        for of, entry in known.items():
            if name in entry["names"] and row["benchmark"] in entry[METRIC]:
                rows.append(_anchor(row, of, entry))
    for row in rows:
        if abs(row["difference"]) > TOLERANCE:
            logger.warning(
                "%s on %s: NDCG@10 is %.4f, and %.4f was published (%s). A base with other embed settings, or another version "
                "of the data, explains such a difference; else something is measured otherwise.",
                *(row[key] for key in ("model", "benchmark", "measured", "published", "source")),
            )
    return pd.DataFrame(rows)


def _anchor(row: dict, of: str, entry: dict) -> dict:
    published = float(entry[METRIC][row["benchmark"]])
    measured = float(row[METRIC])
    return {
        "model": row["model"],
        "benchmark": row["benchmark"],
        "of": of,
        "published": published,
        "measured": measured,
        "difference": measured - published,
        "source": entry["source"],
    }
