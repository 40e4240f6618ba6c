"""Scores that others published, beside those measured here: a pipeline that misses them measures something else."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    rows = [
        found
        for row in comparison.test.to_dict("records")
        for found in anchors_of(row["model"], {row["benchmark"]: float(row[METRIC])}, base_model, published)
    ]
    for row in rows:
        if abs(row["difference"]) > TOLERANCE:
            logger.warning(
                "%s on %s: NDCG@10 is %.4f, and %.4f was published (%s). A base with other embed settings, or another version "
                "of the data, explains such a difference; else something is measured otherwise.",
                *(row[key] for key in ("model", "benchmark", "measured", "published", "source")),
            )
    return pd.DataFrame(rows)


def anchors_of(
    model: str, measured: Mapping[str, float], base_model: str, published: Path = PUBLISHED
) -> list[dict[str, Any]]:
    """The anchors of one row of the comparison, from its NDCG@10 by benchmark.

    >>> Path("published.yaml").write_text("bm25: {names: [bm25], source: a paper, ndcg@10: {tiny: 0.5, other: 0.5}}")
    72
    >>> [(row["benchmark"], row["difference"]) for row in anchors_of("bm25", {"tiny": 1.0}, "", Path("published.yaml"))]
    [('tiny', 0.5)]
    """
    name = {"bm25": "bm25", BASELINE: base_model}.get(model)
    known = yaml.safe_load(published.read_text(encoding="utf-8"))
    return [
        {
            "model": model,
            "benchmark": benchmark,
            "of": of,
            "published": float(entry[METRIC][benchmark]),
            "measured": score,
            "difference": score - float(entry[METRIC][benchmark]),
            "source": entry["source"],
        }
        for benchmark, score in measured.items()
        for of, entry in known.items()
        if name in entry["names"] and benchmark in entry[METRIC]
    ]
