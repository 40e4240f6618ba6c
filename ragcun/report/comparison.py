"""The comparison of all models on all benchmarks: one object; CSV, Markdown and LaTeX are its views.

Besides the means it holds, for every model against the base, the p-value of a paired randomisation test over the
queries' NDCG@10 (Smucker et al., CIKM 2007), and NDCG@10 apart for the test queries that have, and that have not, an
answer among the texts of training: a model that only learned which documents are asked for shows there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from ragcun.core.errors import RagcunError
from ragcun.evaluate.results import PART
from ragcun.report.leakage import (
    ANSWER_IN_DEV,
    PASSAGE_IN_TRAINING,
    POSITIVE_IN_TRAINING,
    QUERY_IN_DEV,
    QUERY_IN_TRAINING,
)

METRIC = "ndcg@10"
BASELINE = "base"
SIGNIFICANT = 0.05

# What of a test query has been seen: the comparison's column, its heading, and what it counts.
_SEEN = {
    QUERY_IN_TRAINING: ("asked in training", "a training query asks the same"),
    POSITIVE_IN_TRAINING: (
        "answer is a training positive",
        "a relevant document is a training positive: training taught that it answers a question",
    ),
    PASSAGE_IN_TRAINING: (
        "answer is a training passage",
        "a relevant document is any passage of training: a positive, a hard negative, a store negative, or a passage that "
        "pretraining makes its pairs from",
    ),
    QUERY_IN_DEV: (
        "asked in dev",
        "a dev query asks the same: one of the pairs, or of the benchmark `data.validation`; the checkpoint is chosen on dev "
        "queries, all or a part of them",
    ),
    ANSWER_IN_DEV: ("answer is a dev positive", "a relevant document answers a dev query"),
}
# NDCG@10 is told apart by these.
_APART = {POSITIVE_IN_TRAINING: "positive", PASSAGE_IN_TRAINING: "passage"}


@dataclass(frozen=True)
class Comparison:
    """One row for each model, benchmark and split.

    Columns: model, benchmark, split, queries, the headline measures (fractions of 1), then for the test split
    `isotropy.*` (dense models), `p_value` against the base, and what has been seen of the queries (ragcun.report.leakage):
    for each of its columns `<column>.queries`, how many; for the answers in training also `<column>.ndcg@10` of these
    queries and `no_<column>.ndcg@10` of the others.
    `controls` are the models that only stand for what training is held against.
    """

    table: pd.DataFrame
    controls: Sequence[str] = ()

    def to_csv(self) -> str:
        return self.table.to_csv(index=False, float_format="%.6g", lineterminator="\n")

    def to_markdown(self) -> str:
        """The comparison for a README: NDCG@10, the other measures, and the queries by what training has seen."""
        return (
            "\n\n".join(
                [
                    "## NDCG@10, test queries",
                    _markdown(self.headline()),
                    f"\\* differs from `{BASELINE}` (paired randomisation test over queries, p < {SIGNIFICANT}). "
                    f"{self._tests()} IsoScore is of the corpus under the model; 1 is isotropic.",
                    *(
                        ["## Controls: projections that were not trained", _markdown(self.headline(self.controls))]
                        if self.controls
                        else []
                    ),
                    "## Every measure",
                    _markdown(self._measures()),
                    "## NDCG@10 of test queries with and without an answer that is a training positive, or any training passage",
                    _markdown(self._apart()),
                    "## Leakage: test queries of which training, or the choice of a checkpoint, has seen something",
                    _markdown(self.leakage()),
                    "Each column counts the test queries of which this holds:",
                    "\n".join(f"* *{heading}*: {meaning}." for heading, meaning in _SEEN.values()),
                    "Queries are compared without regard to case, white space and Unicode form; documents without regard to "
                    "the last two, by title and body together and by body alone. The pairs' own test is kept out of training "
                    "and of dev by document and by query; other benchmarks are not.",
                ]
            )
            + "\n"
        )

    def to_latex(self) -> str:
        """The headline table, for a paper."""
        table = self.headline()
        return table.to_latex(index=False, escape=True, column_format="l" + "r" * (table.shape[1] - 1))

    def headline(self, models: Sequence[str] | None = None) -> pd.DataFrame:
        """NDCG@10 of the test queries by model and benchmark, their mean, and IsoScore; as text.

        Args:
            models: the rows; None takes all but the controls.
        """
        test = self._test()
        wanted = test["model"].isin(models) if models is not None else ~test["model"].isin(self.controls)
        rows = []
        for model, part in test[wanted].groupby("model", sort=False):
            row = {"model": model}
            for _, cell in part.iterrows():
                star = "*" if cell["p_value"] < SIGNIFICANT else ""
                row[cell["benchmark"]] = f"{cell[METRIC]:.4f}{star}"
            if len(part) > 1:
                row["mean"] = f"{part[METRIC].mean():.4f}"
            for _, cell in part.iterrows():
                row[f"IsoScore {cell['benchmark']}"] = _figure(cell.get("isotropy.isoscore"))
            rows.append(row)
        return pd.DataFrame(rows)

    def leakage(self) -> pd.DataFrame:
        """By benchmark: how many test queries there are, and of how many something has been seen."""
        rows = self._test().drop_duplicates("benchmark")
        seen = {heading: rows[f"{column}.queries"].astype(int) for column, (heading, _) in _SEEN.items()}
        return pd.DataFrame({"benchmark": rows["benchmark"], "test queries": rows["queries"].astype(int), **seen})

    def _tests(self) -> str:
        """How many tests the stars are of: one for each model but the base, on each benchmark."""
        count = int((self._test()["model"] != BASELINE).sum())
        return (
            f"The comparison makes {count} such tests, and p is not corrected for their number: if no model differed from "
            f"`{BASELINE}`, about {count * SIGNIFICANT:.1f} of them would have a star by chance."
        )

    def _test(self) -> pd.DataFrame:
        return self.table[self.table["split"] == "test"]

    def _measures(self) -> pd.DataFrame:
        columns = [name for name in map(str, self.table) if "@" in name and "." not in name]
        shape = [name for name in map(str, self.table) if name.startswith("isotropy.")]
        table = self.table[["benchmark", "split", "model", "queries", *columns, *shape]].copy()
        table = table.sort_values(["benchmark", "split"], ascending=[True, False], kind="stable")
        for name in [*columns, *shape]:
            table[name] = table[name].map(_figure)
        return table.rename(columns=lambda name: str(name).removeprefix("isotropy."))

    def _apart(self) -> pd.DataFrame:
        test = self._test()
        table = test[["benchmark", "model"]].copy()
        for column, name in _APART.items():
            # The dev rows' gaps make a column of floats of it.
            queries = test[f"{column}.queries"].astype(int)
            for prefix, of, count in (("", column, queries), ("no ", f"no_{column}", test["queries"] - queries)):
                table[f"{prefix}{name}: queries"] = count
                table[f"{prefix}{name}: {METRIC}"] = test[f"{of}.{METRIC}"].map(_figure)
        return table.sort_values("benchmark", kind="stable")


def compare(
    models: Sequence[str],
    benchmarks: Sequence[str],
    *,
    metrics: Path,
    runs: Path,
    leakage: Mapping[str, pd.DataFrame],
    permutations: int,
    seed: int,
    controls: Sequence[str] = (),
) -> Comparison:
    """Put together what the evaluations wrote.

    Args:
        models: in the order of the rows; controls come after them.
        metrics: holds <model>/<benchmark>.json; runs: holds <model>/<benchmark>/<split>.tsv.
        leakage: for each benchmark, what has been seen of its test queries, as ragcun.report.leakage tells it.
        permutations: resamplings of the randomisation test.

    Raises:
        RagcunError: a model was not evaluated on a benchmark.
    """
    rows = []
    for benchmark in benchmarks:
        baseline = _per_query(runs, BASELINE, benchmark, "test")[METRIC]
        for model in [*models, *controls]:
            summary = _read(metrics / model / f"{benchmark}.json")
            for split, values in (("test", summary), ("dev", summary.get("dev"))):
                if values is None:
                    continue
                scores = _per_query(runs, model, benchmark, split)
                row = {"model": model, "benchmark": benchmark, "split": split, "queries": len(scores)}
                row |= {name: value for name, value in values.items() if not isinstance(value, dict)}
                if split == "test":
                    row |= {f"isotropy.{name}": value for name, value in summary.get("isotropy", {}).items()}
                    row["p_value"] = paired_p_value(scores[METRIC], baseline, permutations, seed, part_weights(scores))
                    row |= _by_leakage(scores[METRIC], leakage[benchmark])
                rows.append(row)
    table = pd.DataFrame(rows)
    table["model"] = pd.Categorical(table["model"], categories=[*models, *controls], ordered=True)
    table = table.sort_values(["model"], kind="stable").astype({"model": str})
    return Comparison(table.reset_index(drop=True), tuple(controls))


def paired_p_value(
    scores: pd.Series, baseline: pd.Series, permutations: int, seed: int, weights: pd.Series | None = None
) -> float:
    """Two-sided p-value of the difference of means, by random exchange of the two scores of each query.

    weights: of each query in the mean, (Q,) around 1; None counts each once.
    """
    if set(scores.index) != set(baseline.index):
        raise RagcunError("two models were scored on different queries of a benchmark: run `dvc repro`")
    baseline = baseline[scores.index]
    difference = ((scores - baseline) * (1.0 if weights is None else weights)).to_numpy()
    # Of one query alone the two exchanges differ in sign only, and no sample of it can be drawn.
    if len(difference) < 2 or not difference.any():
        return 1.0
    result = permutation_test(
        (difference, np.zeros_like(difference)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=256,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def part_weights(scores: pd.DataFrame) -> pd.Series | None:
    """Of each query, where a benchmark has parts, which count alike whatever their size."""
    if PART not in scores:
        return None
    sizes = scores.groupby(PART)[METRIC].transform("size")
    return len(scores) / (scores[PART].nunique() * sizes)


def _by_leakage(scores: pd.Series, seen: pd.DataFrame) -> dict[str, float]:
    seen = seen.loc[scores.index]
    row: dict[str, float] = {f"{column}.queries": int(seen[column].sum()) for column in _SEEN}
    for column in _APART:
        mask = seen[column].to_numpy()
        for name, part in ((column, scores[mask]), (f"no_{column}", scores[~mask])):
            row[f"{name}.{METRIC}"] = float(part.mean()) if len(part) else float("nan")
    return row


def _per_query(runs: Path, model: str, benchmark: str, split: str) -> pd.DataFrame:
    path = runs / model / benchmark / f"{split}.tsv"
    if not path.is_file():
        raise RagcunError(f"{path} is missing: evaluate {model} on {benchmark} first, with `dvc repro`")
    # Ids may look like numbers or like missing values.
    return pd.read_csv(path, sep="\t", dtype={"query": str}, keep_default_na=False).set_index("query")


def _read(path: Path) -> dict:
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run `dvc repro`")
    return json.loads(path.read_text(encoding="utf-8"))


def _figure(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.4f}"


def _markdown(table: pd.DataFrame) -> str:
    """A Markdown table: text to the left, figures to the right."""
    lines = [list(table.columns), *table.astype(str).values.tolist()]
    widths = [max(len(str(line[column])) for line in lines) for column in range(table.shape[1])]
    numeric = [all(_is_figure(line[column]) for line in lines[1:]) for column in range(table.shape[1])]
    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
    cells = [
        [
            str(cell).rjust(width) if right else str(cell).ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        for line in [lines[0], rule, *lines[1:]]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _is_figure(text: str) -> bool:
    return text.rstrip("*").replace(".", "", 1).replace("-", "", 1).isdigit() or not text
