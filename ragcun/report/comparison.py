"""The comparison of all models on all benchmarks, put together from what the evaluations wrote.

Besides the means it holds the p-value of every model against the base, and NDCG@10 apart for the test queries with and
without an answer among the texts of training: a model that only learned which documents are asked for shows there.
ragcun.report.tables renders it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ragcun.core.errors import RagcunError
from ragcun.evaluate.results import ADAPTED, LEFT_ALONE, MEASURES_FILE, Measures
from ragcun.report.fusion import FusedRow
from ragcun.report.leakage import COLUMNS, PASSAGE_IN_TRAINING, POSITIVE_IN_TRAINING
from ragcun.report.significance import paired_p_value, part_weights

METRIC = "ndcg@10"
BASELINE = "base"
# Behind the name of a model that was adapted to each benchmark's corpus.
WITH_ADAPT = " + adapt"


@dataclass(frozen=True)
class Comparison:
    """The results of all models.

    Attributes:
        table: a row for each model, benchmark and split. Columns: model, benchmark, split, queries, the headline measures
            (fractions of 1), then for the test split `isotropy.*` (dense models), `p_value` against the base (of an adapted
            model: against the same model, unadapted), and for each column of ragcun.report.leakage `<column>.queries`,
            how many queries it holds for; for the answers in training also `<column>.ndcg@10` of these queries and
            `no_<column>.ndcg@10` of the others.
        measures: every measure in full precision, tidy: model, benchmark, split, measure, value
            (see ragcun.evaluate.results.Measures for the splits).
        controls: the models that only stand for what training is held against.
        fused: the rows of BM25 combined with a dense model; their p-value is against this model.
    """

    table: pd.DataFrame
    measures: pd.DataFrame
    controls: Sequence[str] = ()
    fused: Sequence[str] = ()

    @property
    def appendix(self) -> list[str]:
        """The rows that have a table of their own."""
        return [*self.controls, *self.fused]

    @property
    def left_alone(self) -> pd.DataFrame:
        """Models and benchmarks whose corpus is isotropic enough, so that adapting changed nothing."""
        chosen = (self.measures["measure"] == LEFT_ALONE) & (self.measures["value"] == 1)
        return self.measures.loc[chosen, ["model", "benchmark"]]

    @property
    def test(self) -> pd.DataFrame:
        """The rows of the test split.

        >>> tiny_comparison.test[["model", "benchmark", "ndcg@10"]]
          model benchmark  ndcg@10
        0  bm25      tiny  1.00000
        1  base      tiny  0.63093
        """
        return self.table[self.table["split"] == "test"]


def compare(
    models: Sequence[str],
    benchmarks: Sequence[str],
    *,
    runs: Path,
    leakage: Mapping[str, pd.DataFrame],
    permutations: int,
    seed: int,
    controls: Sequence[str] = (),
    fused: Sequence[FusedRow] = (),
) -> Comparison:
    """Read what the evaluations wrote and compare it.

    Args:
        models: in the order of the rows; controls come after them.
        runs: the folder with <model>/<benchmark>/, as `write_evaluation` fills them.
        leakage: for each benchmark, what has been seen of its test queries (ragcun.report.leakage).
        permutations: resamplings of the randomisation test.
        fused: BM25 combined with dense models (ragcun.report.fusion); these rows come last.

    Raises:
        RagcunError: a model was not evaluated on a benchmark.

    >>> seen = pd.DataFrame(False, index=["q1"], columns=list(COLUMNS))
    >>> both = compare(["bm25", "base"], ["tiny"], runs=tiny_runs, leakage={"tiny": seen}, permutations=100, seed=0)
    >>> both.table[["model", "ndcg@10", "p_value"]]
      model  ndcg@10  p_value
    0  bm25  1.00000      1.0
    1  base  0.63093      1.0
    """
    rows: list[dict] = []
    measures: list[dict] = []
    for entry in (*_entries([*models, *controls], benchmarks, runs), *_fused_entries(fused, benchmarks, runs)):
        folder, names = entry.folder, {"model": entry.model, "benchmark": entry.benchmark}
        measured = json.loads(_there(folder / MEASURES_FILE).read_text(encoding="utf-8"))
        scores = {split: _per_query(folder, split) for split in ("test", "dev") if split in measured}
        ndcg, weights = scores["test"][METRIC], part_weights(scores["test"])
        baseline = _per_query(entry.baseline, "test")[METRIC]
        p_value = paired_p_value(ndcg, baseline, permutations, seed, weights)
        of_test = {"p_value": p_value, **_by_leakage(ndcg, leakage[entry.benchmark])}
        rows += [{**names, **row} for row in _rows(measured, scores, of_test)]
        measures += [
            {**names, "split": split, "measure": measure, "value": value}
            for split, values in measured.items()
            for measure, value in values.items()
        ]
    found = _without_unchanged(pd.DataFrame(rows), pd.DataFrame(measures), controls)
    return replace(found, fused=[row.name for row in fused])


@dataclass(frozen=True)
class _Entry:
    """A model on a benchmark: where its results are, and those that it is tested against."""

    model: str
    benchmark: str
    folder: Path
    baseline: Path


def _entries(models: Sequence[str], benchmarks: Sequence[str], runs: Path) -> Iterator[_Entry]:
    """Each model, tested against the base, and after it the adapted model, tested against the model itself."""
    for model in models:
        for benchmark in benchmarks:
            yield _Entry(model, benchmark, runs / model / benchmark, runs / BASELINE / benchmark)
        for benchmark in benchmarks:
            own = runs / model / benchmark
            if (own / ADAPTED).is_dir():
                yield _Entry(model + WITH_ADAPT, benchmark, own / ADAPTED, own)


def _fused_entries(fused: Sequence[FusedRow], benchmarks: Sequence[str], runs: Path) -> Iterator[_Entry]:
    """BM25 combined with a model, tested against the model itself; on a benchmark without dev queries some have no result."""
    for row in fused:
        for benchmark in benchmarks:
            if (row.folder / benchmark).is_dir():
                yield _Entry(row.name, benchmark, row.folder / benchmark, runs / row.model / benchmark)


def _without_unchanged(table: pd.DataFrame, measures: pd.DataFrame, controls: Sequence[str]) -> Comparison:
    """The comparison, without rows of adapted models that were left alone on every benchmark."""
    left = measures[measures["measure"] == LEFT_ALONE]
    everywhere = left.groupby("model")["value"].min() == 1
    table = table[~table["model"].isin(everywhere[everywhere].index)].reset_index(drop=True)
    names = [name for control in controls for name in (control, control + WITH_ADAPT)]
    return Comparison(table, measures, tuple(name for name in names if (table["model"] == name).any()))


def _rows(measured: Measures, scores: Mapping[str, pd.DataFrame], of_test: Mapping[str, float]) -> Iterator[dict]:
    isotropy = {f"isotropy.{name}": value for name, value in measured.get("corpus", {}).items()}
    for split, per_query in scores.items():
        row = {"split": split, "queries": len(per_query), **measured[split]}
        yield {**row, **isotropy, **of_test} if split == "test" else row


def _by_leakage(scores: pd.Series, leakage: pd.DataFrame) -> dict[str, float]:
    """How many queries each column of the leakage holds for, and NDCG@10 with and without an answer in training."""
    leakage = leakage.loc[scores.index]
    row: dict[str, float] = {f"{column}.queries": int(leakage[column].sum()) for column in COLUMNS}
    for column in (POSITIVE_IN_TRAINING, PASSAGE_IN_TRAINING):
        holds = leakage[column].to_numpy()
        for name, part in ((column, scores[holds]), (f"no_{column}", scores[~holds])):
            row[f"{name}.{METRIC}"] = float(part.mean()) if len(part) else float("nan")
    return row


def _per_query(folder: Path, split: str) -> pd.DataFrame:
    # Ids may look like numbers or like missing values.
    table = pd.read_csv(_there(folder / f"{split}.tsv"), sep="\t", dtype={"query": str}, keep_default_na=False)
    return table.set_index("query")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run the evaluation first, with `dvc repro`")
    return path
