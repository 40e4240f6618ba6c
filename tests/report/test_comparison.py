"""The comparison repeats what the evaluations measured, tells chance from difference, and its three views agree."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from ragcun.core.errors import RagcunError
from ragcun.evaluate.results import HEADLINE, Evaluation, write_evaluation
from ragcun.measure.ranking import CUTOFFS
from ragcun.report.comparison import Comparison, compare
from ragcun.report.figures import draw
from ragcun.report.latex import to_latex
from ragcun.report.significance import paired_p_value
from ragcun.report.tables import headline, leakage_counts, to_csv, to_markdown

MODELS = ["bm25", "base", "smart_hybrid"]
BENCHMARKS = ["vital-descriptions", "fanoutqa"]
# What a reader of tables may take for numbers or for missing values.
ODD_IDS = ["001", "01", "1", "NA", "null", "nan", "1e5", "TRUE", "None", 'a "b" c', "#d", " e"]
# All of them numbers, but for the zeros in front.
NUMERIC_IDS = [f"{i:03}" for i in range(25)]
# The queries of `vital-descriptions` of which something has been seen; of `fanoutqa` nothing has.
SEEN = {
    "query_in_training": ["01"],
    "query_in_dev": ["1", "01"],
    "answer_is_training_positive": ["001", "NA", "nan"],
    "answer_is_training_passage": ["001", "NA", "nan", "1e5"],
    "answer_is_dev_positive": ["#d", " e", "TRUE", "None", "null"],
}
# Of a Markdown cell: best, second, star.
MARKS = "*_\\"
SHAPE = {"isoscore": 0.25, "mean_cosine": -0.0125, "effective_rank": 12.5, "hubness": 0.75}


@dataclass(frozen=True)
class Results:
    """What evaluations of three models on two benchmarks left: `vital-descriptions` has a dev split, `fanoutqa` none."""

    folder: Path
    evaluations: dict[tuple[str, str], Evaluation]
    leakage: dict[str, pd.DataFrame]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def compare(
        self,
        models: list[str] = MODELS,
        *,
        permutations: int = 2000,
        seed: int = 0,
        controls: tuple[str, ...] = (),
        strategies: tuple[str, ...] = (),
    ) -> Comparison:
        return compare(
            models,
            BENCHMARKS,
            runs=self.runs,
            leakage=self.leakage,
            permutations=permutations,
            seed=seed,
            controls=controls,
            strategies=strategies,
        )

    def measures(self, model: str, benchmark: str) -> dict:
        return json.loads((self.runs / model / benchmark / "measures.json").read_text(encoding="utf-8"))


def some_scores(queries: list[str], seed: int, gain: float) -> pd.DataFrame:
    names = [f"{measure}@{k}" for measure in ("ndcg", "map", "recall", "p", "mrr") for k in CUTOFFS]
    # One table for all models, so that they differ by their gains.
    values = np.random.default_rng(seed).uniform(0.05, 0.6, size=(len(queries), len(names)))
    return pd.DataFrame(values + gain, index=pd.Index(sorted(queries), name="query"), columns=names)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    queries = {
        ("vital-descriptions", "test"): ODD_IDS,
        ("vital-descriptions", "dev"): ["v1", "v2", "007"],
        ("fanoutqa", "test"): NUMERIC_IDS,
    }
    gains = {"bm25": -0.04, "base": 0.0, "smart_hybrid": 0.3}
    evaluations = {}
    for i, benchmark in enumerate(BENCHMARKS):
        for model, gain in gains.items():
            scores = {split: some_scores(ids, i, gain) for (name, split), ids in queries.items() if name == benchmark}
            runs = {split: {query: {"d": 1.0} for query in part.index} for split, part in scores.items()}
            shape = None if model == "bm25" else {name: value + gain for name, value in SHAPE.items()}
            evaluation = Evaluation(runs, scores, shape)
            write_evaluation(
                evaluation,
                tmp_path / "metrics" / model / f"{benchmark}.json",
                tmp_path / "runs" / model / benchmark,
                10,
                model,
            )
            evaluations[model, benchmark] = evaluation
    leaks = {"vital-descriptions": leaked(ODD_IDS, SEEN), "fanoutqa": leaked(NUMERIC_IDS, {name: [] for name in SEEN})}
    return Results(tmp_path, evaluations, leaks)


def leaked(queries: list[str], seen: dict[str, list[str]]) -> pd.DataFrame:
    """As ragcun.report.leakage tells it: in the order of the benchmark, which is not that of the scores."""
    ids = queries[::-1]
    assert ids != sorted(ids), "else the order says nothing"
    return pd.DataFrame({name: [query in found for query in ids] for name, found in seen.items()}, index=ids)


def row(comparison: Comparison, model: str, benchmark: str, split: str = "test") -> pd.Series:
    table = comparison.table
    (found,) = [r for _, r in table.iterrows() if (r["model"], r["benchmark"], r["split"]) == (model, benchmark, split)]
    return found


# The object


def test_the_numbers_are_those_of_the_evaluations(results: Results) -> None:
    comparison = results.compare()
    for model in MODELS:
        for benchmark in BENCHMARKS:
            measures = results.measures(model, benchmark)
            for split in ("test", "dev") if benchmark == BENCHMARKS[0] else ("test",):
                found = row(comparison, model, benchmark, split)
                assert {name: found[name] for name in HEADLINE} == measures[split]
            found = {name: row(comparison, model, benchmark)[f"isotropy.{name}"] for name in SHAPE}
            if model == "bm25":
                assert np.isnan(list(found.values())).all()
            else:
                assert found == measures["corpus"]


def test_the_tidy_table_has_every_measure_of_every_evaluation_once(results: Results) -> None:
    text = results.compare().measures.to_csv(index=False)
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    assert list(table) == ["model", "benchmark", "split", "measure", "value"]
    found = table.set_index(list(table)[:4])["value"]
    expected = {
        (model, benchmark, split, name): value
        for model in MODELS
        for benchmark in BENCHMARKS
        for split, values in results.measures(model, benchmark).items()
        for name, value in values.items()
    }
    assert found.index.is_unique
    assert found.to_dict() == expected
    assert len(expected) == 3 * 3 * len(HEADLINE) + 2 * 2 * len(SHAPE)


def test_there_is_one_row_for_each_model_benchmark_and_split_in_the_models_order(results: Results) -> None:
    for models in (MODELS, MODELS[::-1]):
        table = results.compare(models).table
        splits = [("vital-descriptions", "test"), ("vital-descriptions", "dev"), ("fanoutqa", "test")]
        assert list(zip(table["model"], table["benchmark"], table["split"], strict=True)) == [
            (model, *place) for model in models for place in splits
        ]
        assert table["queries"].tolist() == [12, 3, 25] * 3


def test_what_is_of_the_test_split_is_not_said_of_dev(results: Results) -> None:
    found = row(results.compare(), "base", "vital-descriptions", "dev")
    starts = ("isotropy.", "query_in_", "answer_is_", "no_answer_is_", "p_")
    names = [name for name in found.index if name.startswith(starts)]
    assert len(names) == 4 + len(SEEN) + 2 * 2 + 2
    assert found[names].isna().all()


@pytest.mark.parametrize("column", ["answer_is_training_positive", "answer_is_training_passage"])
def test_queries_with_and_without_a_seen_answer_are_averaged_apart(column: str, results: Results) -> None:
    comparison = results.compare()
    scores = results.evaluations["smart_hybrid", "vital-descriptions"].per_query["test"]["ndcg@10"]
    found = row(comparison, "smart_hybrid", "vital-descriptions")
    assert found[f"{column}.queries"] == len(SEEN[column])
    assert found[f"{column}.ndcg@10"] == pytest.approx(scores[SEEN[column]].mean(), abs=1e-5)
    assert found[f"no_{column}.ndcg@10"] == pytest.approx(scores.drop(SEEN[column]).mean(), abs=1e-5)
    assert found[f"{column}.ndcg@10"] != pytest.approx(found[f"no_{column}.ndcg@10"], abs=1e-3)
    found = row(comparison, "smart_hybrid", "fanoutqa")
    assert found[f"{column}.queries"] == 0
    assert np.isnan(found[f"{column}.ndcg@10"])
    assert found[f"no_{column}.ndcg@10"] == pytest.approx(found["ndcg@10"], abs=1e-5)


def test_leakage_is_told_for_each_benchmark(results: Results) -> None:
    comparison = results.compare()
    found = row(comparison, "base", "vital-descriptions")
    assert {name: found[f"{name}.queries"] for name in SEEN} == {name: len(ids) for name, ids in SEEN.items()}
    table = leakage_counts(comparison).set_index("benchmark")
    assert table.loc["vital-descriptions"].to_dict() == {
        "test queries": 12,
        "asked in training": 1,
        "answer is a training positive": 3,
        "answer is a training passage": 4,
        "asked in dev": 2,
        "answer is a dev positive": 5,
    }
    assert table.loc["fanoutqa"].tolist() == [25, 0, 0, 0, 0, 0]


def test_markdown_says_what_each_column_of_leakage_counts(results: Results) -> None:
    comparison = results.compare()
    *_, leakage = tables_of(to_markdown(comparison))
    assert leakage == leakage_counts(comparison).astype(str).to_dict("records")
    explained = re.findall(r"^\* \*(.+)\*: .+\.$", to_markdown(comparison), re.M)
    assert explained == list(leakage[0])[2:]


def test_markdown_says_how_many_tests_the_stars_are_corrected_for(results: Results) -> None:
    """One for each model but the base, on each benchmark's test queries; controls are a family of their own."""
    for comparison, count in (
        (results.compare(), 4),
        (results.compare(["bm25", "base"], controls=("smart_hybrid",)), 2),
    ):
        assert f"p < 0.05 after Holm's correction for this table's {count} tests)" in to_markdown(comparison)


def test_a_star_is_of_p_after_the_correction(results: Results) -> None:
    """A test that is significant by itself, and not among the four of its table: bm25 is made to differ by chance alone."""
    base = results.evaluations["base", "fanoutqa"].per_query["test"]
    for model, gain in (("bm25", 0.0), ("smart_hybrid", 0.0225)):
        scores = base + np.random.default_rng(1).normal(gain, 0.06, size=(len(base), 1))
        evaluation = Evaluation({"test": {query: {"d": 1.0} for query in base.index}}, {"test": scores}, SHAPE)
        write_evaluation(evaluation, results.folder / "metrics.json", results.runs / model / "fanoutqa", 10, model)
    comparison = results.compare()
    found = row(comparison, "smart_hybrid", "fanoutqa")
    assert found["p_value"] < 0.05 <= found["p_holm"]
    cells = headline(comparison).set_index("model")
    assert not cells.loc["smart_hybrid", "fanoutqa"].endswith("*")
    assert cells.loc["smart_hybrid", "vital-descriptions"].endswith("*")


def test_strategies_are_tested_against_each_other_and_not_in_the_family_of_the_main_table(results: Results) -> None:
    comparison = results.compare(strategies=("bm25", "smart_hybrid"))
    found = comparison.differences
    pairs = found[found["family"] == "strategies"]
    assert list(zip(pairs["model"], pairs["against"], pairs["benchmark"], strict=True)) == [
        ("smart_hybrid", "bm25", benchmark) for benchmark in BENCHMARKS
    ]
    without = results.compare().differences
    pd.testing.assert_frame_equal(found[found["family"] != "strategies"].reset_index(drop=True), without)
    assert "### Strategies and each other" in to_markdown(comparison)
    assert "### Strategies and each other" not in to_markdown(results.compare())


def test_markdowns_differences_parse_back_to_the_numbers(results: Results) -> None:
    comparison = results.compare(strategies=("bm25", "smart_hybrid"))
    found = comparison.differences.query("against != ''").to_dict("records")
    lines = [line for table in tables_of(to_markdown(comparison)) for line in table if "95 % interval" in line]
    assert len(lines) == len(found) == 6
    for line, expected in zip(lines, found, strict=True):
        assert [line[name] for name in ("model", "against", "benchmark")] == [
            expected[name] for name in ("model", "against", "benchmark")
        ]
        assert float(line["difference"]) == pytest.approx(expected["difference"], abs=6e-5)
        low, high = map(float, line["95 % interval"].split(" to "))
        assert (low, high) == pytest.approx((expected["difference.low"], expected["difference.high"]), abs=6e-5)
        assert float(line["p (Holm)"].removeprefix("< ")) == pytest.approx(expected["p_holm"], abs=1.1e-4)
        assert [int(line[name]) for name in ("wins", "ties", "losses")] == [
            expected[name] for name in ("wins", "ties", "losses")
        ]


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("runs/smart_hybrid/fanoutqa/measures.json", "smart_hybrid/fanoutqa/measures.json"),
        ("runs/smart_hybrid/fanoutqa/test.parquet", "smart_hybrid/fanoutqa/test.parquet"),
        ("runs/bm25/vital-descriptions/dev.parquet", "bm25/vital-descriptions/dev.parquet"),
        ("runs/base/fanoutqa/test.parquet", "base/fanoutqa/test.parquet"),
    ],
)
def test_a_missing_evaluation_is_an_error_that_names_the_file(lost: str, named: str, results: Results) -> None:
    (results.folder / lost).unlink()
    with pytest.raises(RagcunError, match=re.escape(named)):
        results.compare()


def test_each_model_is_tested_against_the_base_on_its_own_benchmark(results: Results) -> None:
    comparison = results.compare()
    for benchmark in BENCHMARKS:
        assert row(comparison, "base", benchmark)["p_value"] == 1
        assert row(comparison, "smart_hybrid", benchmark)["p_value"] < 0.05
        scores = {model: results.evaluations[model, benchmark].per_query["test"]["ndcg@10"] for model in MODELS}
        for model in MODELS:
            expected = paired_p_value(scores[model], scores["base"], 2000, 0)
            assert row(comparison, model, benchmark)["p_value"] == pytest.approx(expected, abs=1e-3)


# The views


def tables_of(markdown: str) -> list[list[dict[str, str]]]:
    """Every table of a Markdown text: its rows by header."""
    tables = []
    for block in re.findall(r"(?:^\|.*\|$\n?)+", markdown, re.M):
        header, rule, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        assert all(re.fullmatch(r":-+|-+:", cell) for cell in rule)
        tables.append([dict(zip(header, line, strict=True)) for line in lines])
    return tables


@pytest.fixture
def with_chance(results: Results) -> Results:
    """The same, but on fanoutqa the differences between smart_hybrid and base are chance."""
    scores = some_scores(NUMERIC_IDS, 9, 0)
    runs = {"test": {query: {"d": 1.0} for query in scores.index}}
    evaluation = Evaluation(runs, {"test": scores}, SHAPE)
    folder = results.runs / "smart_hybrid" / "fanoutqa"
    write_evaluation(evaluation, results.folder / "metrics.json", folder, 10, "smart_hybrid")
    return results


def test_markdowns_headline_parses_back_to_the_numbers(with_chance: Results) -> None:
    comparison = with_chance.compare()
    headline, *_ = tables_of(to_markdown(comparison))
    assert [line["model"] for line in headline] == MODELS
    stars = set()
    for line in headline:
        cells = [row(comparison, line["model"], benchmark) for benchmark in BENCHMARKS]
        for benchmark, cell in zip(BENCHMARKS, cells, strict=True):
            assert line[benchmark].strip(MARKS) == f"{cell['ndcg@10']:.4f}"
            assert line[benchmark].endswith(r"\*") == (cell["p_holm"] < 0.05)
            stars.add((line["model"], line[benchmark].endswith(r"\*")))
            shape = cell["isotropy.isoscore"]
            assert line[f"IsoScore {benchmark}"] == ("" if np.isnan(shape) else f"{shape:.4f}")
        assert line["mean"].strip(MARKS) == f"{np.mean([cell['ndcg@10'] for cell in cells]):.4f}"
    assert {("smart_hybrid", True), ("smart_hybrid", False), ("base", False)} <= stars


def test_markdowns_measures_parse_back_to_the_numbers(results: Results) -> None:
    comparison = results.compare()
    (measures,) = [table for table in tables_of(to_markdown(comparison)) if "split" in table[0]]
    assert len(measures) == len(comparison.table)
    for line in measures:
        expected = row(comparison, line["model"], line["benchmark"], line["split"])
        assert line["queries"] == str(expected["queries"])
        for name in HEADLINE:
            assert line[name] == f"{expected[name]:.4f}"
        for name in SHAPE:
            value = expected[f"isotropy.{name}"]
            assert line[name] == ("" if np.isnan(value) else f"{value:.4f}")
    assert [line["split"] for line in measures if line["benchmark"] == "vital-descriptions"] == ["test"] * 3 + [
        "dev"
    ] * 3


def test_markdowns_queries_with_and_without_a_seen_answer_parse_back_to_the_numbers(results: Results) -> None:
    comparison = results.compare()
    *_, apart, _ = tables_of(to_markdown(comparison))
    assert [(line["benchmark"], line["model"]) for line in apart] == [
        (benchmark, model) for benchmark in sorted(BENCHMARKS) for model in MODELS
    ]
    for line in apart:
        expected = row(comparison, line["model"], line["benchmark"])
        for kind in ("positive", "passage"):
            column = f"answer_is_training_{kind}"
            count = int(expected[f"{column}.queries"])
            assert line[f"{kind}: queries"] == str(count)
            assert line[f"no {kind}: queries"] == str(expected["queries"] - count)
            for prefix, of in (("", column), ("no ", f"no_{column}")):
                value = expected[f"{of}.ndcg@10"]
                assert line[f"{prefix}{kind}: ndcg@10"] == ("" if np.isnan(value) else f"{value:.4f}")
    assert "nan" not in to_markdown(comparison)


def test_the_csv_reads_back_as_the_table(results: Results) -> None:
    comparison = results.compare()
    text = to_csv(comparison)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), comparison.table, rtol=1e-5, check_dtype=False)
    assert "\r" not in text


def test_csv_and_markdown_agree(with_chance: Results) -> None:
    comparison = with_chance.compare()
    lines, *_ = tables_of(to_markdown(comparison))
    test = pd.read_csv(io.StringIO(to_csv(comparison))).query("split == 'test'")
    for line in lines:
        for benchmark in BENCHMARKS:
            (value,) = test.query(f"model == '{line['model']}' and benchmark == '{benchmark}'")["ndcg@10"]
            assert float(line[benchmark].strip(MARKS)) == pytest.approx(value, abs=6e-5)


def test_a_comparison_of_one_benchmark_has_no_mean(results: Results) -> None:
    comparison = results.compare()
    alone = Comparison(comparison.table[comparison.table["benchmark"] == "fanoutqa"], comparison.measures)
    headline, *_ = tables_of(to_markdown(alone))
    assert list(headline[0]) == ["model", "fanoutqa", "IsoScore fanoutqa"]


@pytest.mark.parametrize("view", [to_csv, to_markdown, to_latex])
def test_a_view_leaves_the_comparison_as_it_is(view: Callable[[Comparison], str], results: Results) -> None:
    comparison = results.compare()
    before = comparison.table.copy()
    assert view(comparison) == view(comparison)
    pd.testing.assert_frame_equal(comparison.table, before)


def test_controls_stand_apart_from_the_headline(results: Results) -> None:
    comparison = results.compare(["bm25", "base"], controls=("smart_hybrid",))
    assert headline(comparison)["model"].tolist() == ["bm25", "base"]
    assert headline(comparison, comparison.controls)["model"].tolist() == ["smart_hybrid"]
    assert "## Controls" in to_markdown(comparison)
    assert "## Controls" not in to_markdown(results.compare())
    assert "smart" not in to_latex(comparison)


def test_the_figure_shows_every_model_and_is_the_same_every_time(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[float]] = []
    bar = Axes.bar

    def noting(self: Axes, x: list[float], height: pd.Series, *args: object, **kwargs: object) -> object:
        shown.append(list(height))
        return bar(self, x, height, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "bar", noting)
    comparison = results.compare(["bm25", "base"], controls=("smart_hybrid",))
    for name in ("first", "second"):
        draw(comparison, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").read_bytes().startswith(b"\x89PNG")
    expected = [[row(comparison, model, name)["ndcg@10"] for name in BENCHMARKS] for model in ("bm25", "base")]
    assert shown == expected * 2


def test_a_benchmark_without_isotropy_leaves_blanks(results: Results) -> None:
    """As a corpus of one document has none."""
    for model in MODELS:
        path = results.runs / model / "fanoutqa/measures.json"
        measures = json.loads(path.read_text(encoding="utf-8"))
        measures.pop("corpus", None)
        path.write_text(json.dumps(measures), encoding="utf-8")
    comparison = results.compare()
    for line in tables_of(to_markdown(comparison))[0]:
        assert "IsoScore fanoutqa" not in line
        assert (line["IsoScore vital-descriptions"] == "") == (line["model"] == "bm25")
    assert "nan" not in to_latex(comparison)
