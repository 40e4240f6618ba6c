"""Of adapted models the comparison shows what differs from the model itself, and names those that were left alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.evaluate.results import Evaluation, write_evaluation
from ragcun.report.comparison import Comparison
from ragcun.report.figures import scores_chart
from ragcun.report.latex import to_latex
from ragcun.report.looks import Looks
from ragcun.report.page import Contents, render
from ragcun.report.significance import paired_p_value
from ragcun.report.tables import headline, to_csv, to_markdown
from tests.report.test_comparison import (
    BENCHMARKS,
    NUMERIC_IDS,
    ODD_IDS,
    SEEN,
    SHAPE,
    Results,
    leaked,
    row,
    some_scores,
    tables_of,
)

VITAL, FANOUT = BENCHMARKS
QUERIES = {VITAL: {"test": ODD_IDS, "dev": ["v1", "v2", "007"]}, FANOUT: {"test": NUMERIC_IDS}}
# How much better than the base each model is.
GAINS = {"bm25": -0.04, "base": 0.0, "smart_hybrid": 0.3, "full_finetune": 0.1, "untrained": -0.02}
MODELS, CONTROLS = ["bm25", "base", "smart_hybrid", "full_finetune"], ("untrained",)
# How much adapting gains. It leaves alone what has no gain here; bm25 is never adapted.
ADAPTED = {
    "base": dict.fromkeys(BENCHMARKS, 0.1),
    "smart_hybrid": {VITAL: 0.05},
    "full_finetune": {},
    "untrained": dict.fromkeys(BENCHMARKS, 0.2),
}


def adaptation(*, left_alone: bool) -> dict[str, float]:
    if left_alone:
        return {"gamma": 0.0, "isoscore_before": 0.5, "isoscore_after": 0.5, "left_alone": 1.0}
    return {"gamma": 0.125, "isoscore_before": 0.0625, "isoscore_after": 0.25, "left_alone": 0.0}


def an_evaluation(benchmark: str, gain: float) -> Evaluation:
    scores = {split: some_scores(ids, BENCHMARKS.index(benchmark), gain) for split, ids in QUERIES[benchmark].items()}
    runs = {split: {query: {"d": 1.0} for query in part.index} for split, part in scores.items()}
    return Evaluation(runs, scores, {name: value + gain for name, value in SHAPE.items()})


def write(results: Results, model: str, benchmark: str) -> None:
    evaluation = results.evaluations[model, benchmark]
    metrics, runs = results.folder / "metrics" / model / f"{benchmark}.json", results.runs / model / benchmark
    write_evaluation(evaluation, metrics, runs, 10, model)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    evaluations = {}
    for model, gain in GAINS.items():
        for benchmark in BENCHMARKS:
            plain = an_evaluation(benchmark, gain)
            evaluations[model, benchmark] = plain
            if model in ADAPTED:
                more = ADAPTED[model].get(benchmark)
                adapted = plain if more is None else an_evaluation(benchmark, gain + more)
                figures = adaptation(left_alone=more is None)
                evaluations[model, benchmark] = replace(plain, adapted=replace(adapted, adaptation=figures))
    leaks = {VITAL: leaked(ODD_IDS, SEEN), FANOUT: leaked(NUMERIC_IDS, {name: [] for name in SEEN})}
    made = Results(tmp_path, evaluations, leaks)
    for model, benchmark in evaluations:
        write(made, model, benchmark)
    return made


LOOKS = Looks([*MODELS, *CONTROLS])


def compared(results: Results) -> Comparison:
    return results.compare(MODELS, controls=CONTROLS)


def without_adapted(results: Results, model: str, benchmark: str) -> None:
    """As of a corpus of one document."""
    results.evaluations[model, benchmark] = replace(results.evaluations[model, benchmark], adapted=None)
    write(results, model, benchmark)


def set_adapted(results: Results, model: str, benchmark: str, scores: pd.Series) -> None:
    """Give the adapted model these scores, in the order of its queries."""
    evaluation = results.evaluations[model, benchmark]
    assert evaluation.adapted is not None
    table = evaluation.adapted.per_query["test"].copy()
    table["ndcg@10"] = scores.to_numpy()
    per_query = {**evaluation.adapted.per_query, "test": table}
    results.evaluations[model, benchmark] = replace(
        evaluation, adapted=replace(evaluation.adapted, per_query=per_query)
    )
    write(results, model, benchmark)


def test_an_adapted_model_stands_behind_the_model(results: Results) -> None:
    comparison = compared(results)
    expected = ["bm25", "base", "base + adapt", "smart_hybrid", "smart_hybrid + adapt", "full_finetune"]
    assert headline(comparison)["model"].tolist() == expected
    assert comparison.table["model"].drop_duplicates().tolist() == [*expected, "untrained", "untrained + adapt"]
    for view in (to_csv(comparison), to_latex(comparison)):
        assert "base + adapt" in view
        assert r"full_finetune + adapt" not in view.replace("\\", "")


def test_its_figures_are_those_of_the_adapted_evaluation(results: Results) -> None:
    comparison = compared(results)
    for benchmark in BENCHMARKS:
        adapted = results.evaluations["base", benchmark].adapted
        assert adapted is not None
        measures = adapted.measures()
        found = row(comparison, "base + adapt", benchmark)
        assert found["ndcg@10"] == measures["test"]["ndcg@10"]
        assert found["ndcg@10"] == pytest.approx(row(comparison, "base", benchmark)["ndcg@10"] + 0.1)
        assert found["isotropy.isoscore"] == measures["corpus"]["isoscore"]
        assert found["queries"] == len(QUERIES[benchmark]["test"])
    assert row(comparison, "base + adapt", VITAL, "dev")["queries"] == 3
    shown = {line["model"]: line for line in tables_of(to_markdown(comparison))[0]}
    for model in ("base", "base + adapt"):
        assert shown[model][VITAL].strip("*_\\") == f"{row(comparison, model, VITAL)['ndcg@10']:.4f}"


def test_a_star_says_that_it_differs_from_the_model_itself(results: Results) -> None:
    """Not from the base: one that reaches the base from below has a star, one that stays high above it has none."""
    base = results.evaluations["base", FANOUT].per_query["test"]["ndcg@10"]
    own = results.evaluations["untrained", FANOUT].per_query["test"]["ndcg@10"]
    chance = pd.Series(np.random.default_rng(0).normal(scale=0.05, size=len(base)), base.index)
    set_adapted(results, "untrained", FANOUT, base)
    high = results.evaluations["smart_hybrid", VITAL].per_query["test"]["ndcg@10"]
    set_adapted(results, "smart_hybrid", VITAL, high + chance[: len(high)].to_numpy())
    comparison = compared(results)
    for model, benchmark, starred in (("untrained", FANOUT, True), ("smart_hybrid", VITAL, False)):
        adapted = results.evaluations[model, benchmark].adapted
        assert adapted is not None
        scores = adapted.per_query["test"]["ndcg@10"]
        against_itself, against_base = (
            paired_p_value(scores, results.evaluations[other, benchmark].per_query["test"]["ndcg@10"], 2000, 0)
            for other in (model, "base")
        )
        assert (against_itself < 0.05) == starred
        assert (against_base < 0.05) != starred, "vacuous"
        found = row(comparison, f"{model} + adapt", benchmark)
        assert found["p_value"] == pytest.approx(against_itself, abs=1e-3)
        cells = {line["model"]: line[benchmark] for table in tables_of(to_markdown(comparison))[:2] for line in table}
        assert cells[f"{model} + adapt"].endswith(r"\*") == starred
    # The model's own test is against the base as before.
    assert row(comparison, "untrained", FANOUT)["p_value"] == pytest.approx(
        paired_p_value(own, base, 2000, 0), abs=1e-3
    )
    assert row(comparison, "base", FANOUT)["p_value"] == 1


def test_a_model_that_is_left_alone_everywhere_has_no_row(results: Results) -> None:
    comparison = compared(results)
    assert "full_finetune + adapt" not in set(comparison.table["model"])
    assert "full_finetune + adapt |" not in to_markdown(comparison)


def test_the_page_has_no_rows_of_a_model_that_is_left_alone(results: Results) -> None:
    page = render(Contents(compared(results), [], [], None, pd.DataFrame(columns=["data"]), "a base", 42))
    assert "smart_hybrid + adapt" in page
    assert "full_finetune + adapt" not in page


def test_a_model_that_is_adapted_on_one_benchmark_has_its_own_scores_on_the_other(results: Results) -> None:
    comparison = compared(results)
    found = row(comparison, "smart_hybrid + adapt", FANOUT)
    assert found["ndcg@10"] == row(comparison, "smart_hybrid", FANOUT)["ndcg@10"]
    assert found["p_value"] == 1
    assert row(comparison, "smart_hybrid + adapt", VITAL)["ndcg@10"] > row(comparison, "smart_hybrid", VITAL)["ndcg@10"]


def test_markdown_says_what_adapting_is_and_names_what_was_left_alone(results: Results) -> None:
    text = to_markdown(compared(results))
    assert "`+ adapt` is the same model, adapted to the benchmark's corpus without a label" in text
    (line,) = [line for line in text.splitlines() if line.startswith("Not adapted, ")]
    assert line.endswith(f": {FANOUT}: smart_hybrid, full_finetune; {VITAL}: full_finetune.")


def test_markdown_is_silent_about_adapting_where_nothing_was_adapted(results: Results) -> None:
    for model, benchmark in results.evaluations:
        without_adapted(results, model, benchmark)
    comparison = compared(results)
    assert comparison.table["model"].drop_duplicates().tolist() == [*MODELS, *CONTROLS]
    text = to_markdown(comparison)
    assert "adapt" not in text
    assert comparison.left_alone.empty


def test_where_all_was_left_alone_markdown_says_no_more_than_that(results: Results) -> None:
    for model in ("base", "smart_hybrid", "untrained"):
        for benchmark in BENCHMARKS:
            evaluation = results.evaluations[model, benchmark]
            alone = replace(evaluation, adapted=None, adaptation=adaptation(left_alone=True))
            results.evaluations[model, benchmark] = replace(evaluation, adapted=alone)
            write(results, model, benchmark)
    text = to_markdown(compared(results))
    assert "+ adapt" not in text
    names = "base, smart_hybrid, full_finetune, untrained"
    assert f"(evaluate.adapt): {VITAL}: {names}; {FANOUT}: {names}." in text


def test_only_true_tests_are_corrected_for(results: Results) -> None:
    """Two models and bm25 against the base; a control; and what was adapted against itself: twice two, and one."""
    comparison = compared(results)
    counts = comparison.differences.query("family != ''").groupby("family").size().to_dict()
    assert counts == {"main": 3 * 2, "controls": 2, "adapted": 2 * 2 + 1}
    assert "for this table's 6 tests" in to_markdown(comparison)
    assert "full_finetune + adapt" not in set(comparison.differences["model"])


def test_adapted_controls_stand_in_the_appendix(results: Results) -> None:
    comparison = compared(results)
    assert list(comparison.controls) == ["untrained", "untrained + adapt"]
    _, controls, *_ = tables_of(to_markdown(comparison))
    assert [line["model"] for line in controls] == ["untrained", "untrained + adapt"]
    assert not any(mark in cell for line in controls for cell in line.values() for mark in ("**", "_0")), "none is best"
    assert "untrained" not in to_latex(comparison)


def test_a_control_that_is_left_alone_has_no_adapted_row(results: Results) -> None:
    comparison = results.compare(["bm25", "base"], controls=("full_finetune",))
    assert list(comparison.controls) == ["full_finetune"]


def test_the_tidy_table_says_how_far_each_model_was_adapted(results: Results) -> None:
    """Those that were left alone too."""
    measures = compared(results).measures
    found = measures[measures["split"] == "adaptation"]
    assert set(found["model"]) == {f"{model} + adapt" for model in ADAPTED}
    for (model, benchmark), part in found.groupby(["model", "benchmark"]):
        gains = ADAPTED[model.removesuffix(" + adapt")]
        assert dict(zip(part["measure"], part["value"], strict=True)) == adaptation(left_alone=benchmark not in gains)
    assert len(found) == 4 * len(ADAPTED) * len(BENCHMARKS)


def test_a_benchmark_without_an_adapted_result_leaves_blanks(results: Results) -> None:
    for model in ADAPTED:
        without_adapted(results, model, FANOUT)
    comparison = compared(results)
    lines = {line["model"]: line for line in tables_of(to_markdown(comparison))[0]}
    assert lines["base + adapt"][VITAL]
    for column in (FANOUT, f"IsoScore {FANOUT}", "mean"):
        assert lines["base + adapt"][column] == "", "a mean of fewer benchmarks is not to be held against the others'"
        assert lines["base"][column]
    for view in (to_markdown, to_latex):
        assert "nan" not in view(comparison).lower()
    (panel,) = (each for each in scores_chart(comparison, LOOKS).panels if each.title == FANOUT)
    assert "base + adapt" in panel.rows, "a row, as in the other panel"
    assert "base + adapt" not in [series.name for series in panel.series]


def test_in_the_figure_an_adapted_model_is_its_models_colour_but_hollow(results: Results) -> None:
    for panel in scores_chart(compared(results), LOOKS).panels:
        looks = {series.name: series.look for series in panel.series}
        assert list(looks) == headline(compared(results))["model"].tolist()
        assert {name for name, look in looks.items() if look.hollow} == {"base + adapt", "smart_hybrid + adapt"}
        assert looks["base + adapt"].colour == looks["base"].colour
        assert len({look.colour for look in looks.values()}) == 4
