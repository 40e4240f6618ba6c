"""The comparison of all models on all benchmarks, put together from what the evaluations wrote.

Besides the means it holds the tests of their differences (ragcun.report.differences), and NDCG@10 apart for the test queries
with and without an answer among the texts of training: a model that only learned which documents are asked for shows there.
ragcun.report.tables renders it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import SPLITS
from ragcun.evaluate.results import ADAPTATION, ADAPTED, LEFT_ALONE, MEASURES_FILE, Measures, read_scores
from ragcun.report.differences import METRIC, Pair, differences
from ragcun.report.fusion import FusedRow
from ragcun.report.leakage import COLUMNS, PASSAGE_IN_TRAINING, POSITIVE_IN_TRAINING

BASELINE = "base"
# Behind the name of a model that was adapted to each benchmark's corpus.
WITH_ADAPT = " + adapt"


@dataclass(frozen=True)
class Comparison:
    """The results of all models.

    Attributes:
        table: a row for each model, benchmark and split. Columns: model, benchmark, split, queries, the headline measures
            (fractions of 1), then for the test split `isotropy.*` (dense models), `p_value` against the base (of an adapted
            model: against the same model, unadapted), `p_holm`, which is corrected for the family's number of tests, both 1
            where nothing is tested, and for each column of ragcun.report.leakage `<column>.queries`,
            how many queries it holds for; for the answers in training also `<column>.ndcg@10` of these queries and
            `no_<column>.ndcg@10` of the others.
        measures: every measure in full precision, tidy: model, benchmark, split, measure, value
            (see ragcun.evaluate.results.Measures for the splits).
        controls: the models that only stand for what training is held against.
        fused: the rows of BM25 combined with a dense model; their p-value is against this model.
        differences: every test, and every mean with its interval (ragcun.report.differences).
    """

    table: pd.DataFrame
    measures: pd.DataFrame
    controls: Sequence[str] = ()
    fused: Sequence[str] = ()
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)

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
    strategies: Sequence[str] = (),
) -> Comparison:
    """Read what the evaluations wrote and compare it.

    Args:
        models: in the order of the rows, the base among them; controls come after them.
        runs: the folder with <model>/<benchmark>/, as `write_evaluation` fills them.
        leakage: for each benchmark, what has been seen of its test queries (ragcun.report.leakage).
        permutations: resamplings of the randomisation test.
        fused: BM25 combined with dense models (ragcun.report.fusion); these rows come last.
        strategies: those of the models that are tested against each other too.

    Raises:
        RagcunError: a model was not evaluated on a benchmark.

    >>> seen = pd.DataFrame(False, index=["q1"], columns=list(COLUMNS))
    >>> both = compare(["bm25", "base"], ["tiny"], runs=tiny_runs, leakage={"tiny": seen}, permutations=100, seed=0)
    >>> both.table[["model", "ndcg@10", "p_value"]]
      model  ndcg@10  p_value
    0  bm25  1.00000      1.0
    1  base  0.63093      1.0
    """
    entries = [*_entries(models, controls, benchmarks, runs), *_fused_entries(fused, benchmarks, runs)]
    results = [_Result.of(entry) for entry in entries]
    tests = differences(
        [
            *(result.pair for result in results),
            *_strategy_pairs([model for model in models if model in strategies], benchmarks),
        ],
        {(result.entry.model, result.entry.benchmark): result.scores["test"] for result in results},
        permutations=permutations,
        seed=seed,
    )
    p_values = [
        {"p_value": p, "p_holm": corrected} for p, corrected in tests[["p_value", "p_holm"]].fillna(1.0).to_numpy()
    ]
    rows = [
        row
        for result, p_value in zip(results, p_values[: len(results)], strict=True)
        for row in result.rows(p_value, leakage[result.entry.benchmark])
    ]
    measures = [measure for result in results for measure in result.measures()]
    comparison = _without_unchanged(pd.DataFrame(rows), pd.DataFrame(measures), controls)
    shown = tests["model"].isin(comparison.table["model"])
    return replace(comparison, fused=[row.name for row in fused], differences=tests[shown].reset_index(drop=True))


@dataclass(frozen=True)
class _Entry:
    """A model on a benchmark: where its results are, what it is tested against, and in which family of tests."""

    model: str
    benchmark: str
    folder: Path
    family: str
    against: str


@dataclass(frozen=True)
class _Result:
    """What an evaluation wrote: its measures, and the scores of each query by split."""

    entry: _Entry
    measured: Measures
    scores: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, entry: _Entry) -> "_Result":
        measured = json.loads(_there(entry.folder / MEASURES_FILE).read_text(encoding="utf-8"))
        return cls(entry, measured, {split: read_scores(entry.folder, split) for split in SPLITS if split in measured})

    @property
    def names(self) -> dict[str, str]:
        return {"model": self.entry.model, "benchmark": self.entry.benchmark}

    @property
    def pair(self) -> Pair:
        """The test of the row; none for the base, and none where adapting left a model alone."""
        left_alone = self.measured.get(ADAPTATION, {}).get(LEFT_ALONE) == 1
        if self.entry.model == self.entry.against or left_alone:
            return Pair("", self.entry.model, None, self.entry.benchmark)
        return Pair(self.entry.family, self.entry.model, self.entry.against, self.entry.benchmark)

    def rows(self, p_value: Mapping[str, float], leakage: pd.DataFrame) -> Iterator[dict]:
        """The table's rows, one a split."""
        isotropy = {f"isotropy.{name}": value for name, value in self.measured.get("corpus", {}).items()}
        of_test = {**isotropy, **p_value, **_by_leakage(self.scores["test"][METRIC], leakage)}
        for split, per_query in self.scores.items():
            row = {**self.names, "split": split, "queries": len(per_query), **self.measured[split]}
            yield {**row, **of_test} if split == "test" else row

    def measures(self) -> Iterator[dict]:
        """The tidy table's rows."""
        for split, values in self.measured.items():
            for measure, value in values.items():
                yield {**self.names, "split": split, "measure": measure, "value": value}


def _entries(models: Sequence[str], controls: Sequence[str], benchmarks: Sequence[str], runs: Path) -> Iterator[_Entry]:
    """Each model, tested against the base, and after it the adapted model, tested against the model itself."""
    for model in [*models, *controls]:
        family = "controls" if model in controls else "main"
        for benchmark in benchmarks:
            yield _Entry(model, benchmark, runs / model / benchmark, family, BASELINE)
        for benchmark in benchmarks:
            folder = runs / model / benchmark / ADAPTED
            if folder.is_dir():
                yield _Entry(model + WITH_ADAPT, benchmark, folder, "adapted", model)


def _fused_entries(fused: Sequence[FusedRow], benchmarks: Sequence[str], runs: Path) -> Iterator[_Entry]:
    """BM25 combined with a model, tested against the model itself; on a benchmark without dev queries some have no result."""
    for row in fused:
        for benchmark in benchmarks:
            if (row.folder / benchmark).is_dir():
                yield _Entry(row.name, benchmark, row.folder / benchmark, "fusion", row.model)


def _strategy_pairs(strategies: Sequence[str], benchmarks: Sequence[str]) -> list[Pair]:
    pairs = [(second, first) for first, second in combinations(strategies, 2)]
    return [Pair("strategies", model, other, benchmark) for model, other in pairs for benchmark in benchmarks]


def _without_unchanged(table: pd.DataFrame, measures: pd.DataFrame, controls: Sequence[str]) -> Comparison:
    """The comparison, without rows of adapted models that were left alone on every benchmark."""
    left = measures[measures["measure"] == LEFT_ALONE]
    everywhere = left.groupby("model")["value"].min() == 1
    table = table[~table["model"].isin(everywhere[everywhere].index)].reset_index(drop=True)
    names = [name for control in controls for name in (control, control + WITH_ADAPT)]
    return Comparison(table, measures, tuple(name for name in names if (table["model"] == name).any()))


def _by_leakage(scores: pd.Series, leakage: pd.DataFrame) -> dict[str, float]:
    """How many queries each column of the leakage holds for, and NDCG@10 with and without an answer in training."""
    leakage = leakage.loc[scores.index]
    row: dict[str, float] = {f"{column}.queries": int(leakage[column].sum()) for column in COLUMNS}
    for column in (POSITIVE_IN_TRAINING, PASSAGE_IN_TRAINING):
        holds = leakage[column].to_numpy()
        for name, part in ((column, scores[holds]), (f"no_{column}", scores[~holds])):
            row[f"{name}.{METRIC}"] = float(part.mean()) if len(part) else float("nan")
    return row


def _there(path: Path) -> Path:
    if not path.is_file():
        raise RagcunError(f"{path} is missing: run the evaluation first, with `dvc repro`")
    return path
