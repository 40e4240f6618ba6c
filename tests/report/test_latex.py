"""The table for a paper: each line has every column, names are escaped, marks are the figures' places, and it compiles."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ragcun.evaluate.results import COST
from ragcun.report.comparison import Comparison
from ragcun.report.latex import escaped, to_latex
from ragcun.report.marks import places
from ragcun.report.tables import headline, to_markdown

pytestmark = pytest.mark.outputs

STAR = r"\textsuperscript{*}"
SCORES = {
    "bm25": (0.25, 0.5),
    "base": (0.4, 0.4218),
    "smart_hybrid": (0.6, 0.5),
    r"a\b & 50% #1 {x} $~^": (0.5, 0.1),
    "bm25 + base (rrf)": (0.7, 0.2),
    "bm25 + smart_hybrid (rrf)": (0.8, 0.3),
}
STARRED = {("smart_hybrid", "one_of"), ("bm25 + base (rrf)", "two%")}


@pytest.fixture
def comparison() -> Comparison:
    """Two benchmarks with names that LaTeX would stumble over; no model but bm25 and the combinations lacks a space."""
    rows, costs = [], []
    for model, scores in SCORES.items():
        dense = model in ("base", "smart_hybrid")
        for benchmark, score in zip(("one_of", "two%"), scores, strict=True):
            p = 0.01 if (model, benchmark) in STARRED else 0.5
            rows.append((model, benchmark, "test", score, p, 0.25 if dense else np.nan))
            if dense:
                costs += [
                    (model, benchmark, COST, "trained_parameters", 22_713_216),
                    (model, benchmark, COST, "bytes", 4),
                ]
    table = pd.DataFrame(rows, columns=["model", "benchmark", "split", "ndcg@10", "p_holm", "isotropy.isoscore"])
    measures = pd.DataFrame(costs, columns=["model", "benchmark", "split", "measure", "value"])
    return Comparison(table, measures, fused=[name for name in SCORES if name.endswith("(rrf)")])


def lines_of(latex: str) -> list[list[str]]:
    """The cells of each line of the table, the header's first."""
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "")
    lines = [line for line in body.strip().split("\n") if line]
    assert all(line.endswith(r" \\") for line in lines)
    return [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]


def plain(cell: str) -> str:
    """The figure of a cell."""
    return re.sub(r"\\bfseries|\\underline|\\phantom|\\textsuperscript\{\*\}|[{}\s]", "", cell)


def test_each_line_has_a_cell_for_each_column(comparison: Comparison) -> None:
    latex = to_latex(comparison)
    (columns,) = re.findall(r"\\begin\{tabular\}\{@\{\}l (.+)@\{\}\}\n", latex)
    count = 1 + len(re.findall(r"S\[", columns))
    lines = lines_of(latex)
    assert [len(line) for line in lines] == [count] * (1 + len(SCORES))
    names = [cell.strip().strip("{}") for cell in lines[0]]
    assert names == ["model", r"one\_of", r"two\%", "mean", "IsoScore", "parameters", "bytes"]
    assert len(re.findall(r"(?<!\\)\{", latex)) == len(re.findall(r"(?<!\\)\}", latex))
    for name in ("table", "tabular"):
        assert latex.count(f"\\begin{{{name}}}") == latex.count(f"\\end{{{name}}}") == 1


def test_its_figures_are_those_of_the_headline(comparison: Comparison) -> None:
    _, *lines = lines_of(to_latex(comparison))
    for models, part in ((None, lines[:4]), (comparison.fused, lines[4:])):
        table = headline(comparison, models)
        assert [cells[0].strip() for cells in part] == [escaped(model) for model in table["model"]]
        for at, column in enumerate(("one_of", "two%", "mean"), start=1):
            assert [plain(cells[at]) for cells in part] == [cell.rstrip("*") for cell in table[column]]
            stars = [STAR in cell.replace(rf"\phantom{{{STAR}}}", "") for cell in (cells[at] for cells in part)]
            assert stars == [cell.endswith("*") for cell in table[column]]
            assert any(stars) == (
                column != "mean" and any(name == column for model, name in STARRED if model in [*table["model"]])
            )
    assert [plain(cell) for cell in lines[2][4:]] == ["0.2500", "22713216", "4"]
    assert [plain(cell) for cell in lines[0][4:]] == ["", "", ""]


def test_the_best_of_each_block_is_bold_and_the_second_underlined(comparison: Comparison) -> None:
    _, *lines = lines_of(to_latex(comparison))
    bold = {(row, column) for row, cells in enumerate(lines) for column, cell in enumerate(cells) if "bfseries" in cell}
    under = {
        (row, column) for row, cells in enumerate(lines) for column, cell in enumerate(cells) if "underline" in cell
    }
    # Of the second benchmark two are best, so the next is second.
    assert bold == {(2, 1), (0, 2), (2, 2), (2, 3), (5, 1), (5, 2), (5, 3)}
    assert under == {(3, 1), (1, 2), (1, 3), (4, 1), (4, 2), (4, 3)}


def test_markdown_marks_the_same_cells_and_its_caption_says_how(comparison: Comparison) -> None:
    text = to_markdown(_with_leakage(comparison))
    assert "Best in bold, second in italics." in text
    rows = [line for line in text.splitlines() if line.startswith("| smart_hybrid ")]
    assert [cell.strip() for cell in rows[0].split("|")[2:5]] == [r"**0.6000**\*", "**0.5000**", "**0.5500**"]
    assert "22,713,216" in rows[0]


def _with_leakage(comparison: Comparison) -> Comparison:
    from ragcun.report.leakage import COLUMNS

    table = comparison.table.assign(queries=1)
    for column in COLUMNS:
        table[f"{column}.queries"], table[f"{column}.ndcg@10"], table[f"no_{column}.ndcg@10"] = 0, 0.5, 0.5
    return Comparison(table, comparison.measures, fused=comparison.fused)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0.5", "0.4*", "0.3"], ["best", "second", ""]),
        (["0.5", "0.5", "0.5"], ["", "", ""]),
        (["0.5"], [""]),
        (["", "0.4", "0.5*", "0.5"], ["", "second", "best", "best"]),
    ],
)
def test_places_are_those_of_the_figures_as_shown(cells: list[str], expected: list[str]) -> None:
    assert places(pd.Series(cells)) == expected


def test_what_latex_takes_for_itself_is_escaped(comparison: Comparison) -> None:
    odd = r"a\b & 50% #1 {x} $~^"
    assert escaped(odd) == r"a\textbackslash{}b \& 50\% \#1 \{x\} \$\textasciitilde{}\textasciicircum{}"
    body = "".join(cell for line in lines_of(to_latex(comparison)) for cell in line)
    assert not re.search(r"(?<!\\)[_#%$&~^]", body)


@pytest.mark.latex
def test_it_compiles_and_fits_the_page(comparison: Comparison, tmp_path: Path) -> None:
    (tmp_path / "comparison.tex").write_text(to_latex(comparison), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs, graphicx, siunitx}\n\\begin{document}\n\\input{comparison}\n"
        "\\end{document}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
