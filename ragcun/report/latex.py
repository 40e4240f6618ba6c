r"""The main table for a paper, with booktabs and siunitx: best in bold, second underlined, all explained in the caption.

A document that has `\usepackage{booktabs, graphicx, siunitx}` reads it by `\input{comparison}`.
"""

from collections.abc import Sequence

import pandas as pd

from ragcun.report.comparison import BASELINE, Comparison
from ragcun.report.marks import BEST, SECOND, STAR, marked
from ragcun.report.tables import BYTES, MODEL, PARAMETERS, SIGNIFICANT, figure, headline, scored_columns

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_STAR = r"\textsuperscript{*}"
# As wide as one.
_NO_STAR = f"\\phantom{{{_STAR}}}"
_CAPTION = (
    "NDCG@10 of the test queries. Best in bold, second best underlined, in each block. "
    f"{_STAR}: differs from \\texttt{{{BASELINE}}}, in a second block from the model alone "
    f"(paired randomisation test over queries, $p < {SIGNIFICANT}$ after Holm's correction). "
    "IsoScore: of the corpus, the mean of the benchmarks; 1 is isotropic. Parameters: those that were trained. "
    "Bytes: of a document's vector."
)


def to_latex(comparison: Comparison) -> str:
    r"""The main table; BM25 combined with each model is a block of its own below.

    >>> print(to_latex(tiny_comparison), end="")
    % Needs \usepackage{booktabs, graphicx, siunitx}; written by ragcun.
    \begin{table}
    \centering
    \small
    \caption{...}
    \label{tab:comparison}
    \sisetup{detect-all, group-minimum-digits=5, group-separator={,}}
    \setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}
    \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
    \begin{tabular}{@{}l S[table-format=1.4, table-space-text-post={\textsuperscript{*}}]@{}}
    \toprule
    {model} & {tiny} \\
    \midrule
    bm25 & \bfseries 1.0000 \\
    base & {\underline{0.6309}\phantom{\textsuperscript{*}}} \\
    \bottomrule
    \end{tabular}}
    \end{table}
    """
    tables = [_block(comparison, models) for models in (None, comparison.fused)]
    # Columns as the first block has them; the second lacks some.
    blocks = [table.reindex(columns=tables[0].columns).fillna("") for table in tables if len(table)]
    lines = [
        r"% Needs \usepackage{booktabs, graphicx, siunitx}; written by ragcun.",
        r"\begin{table}",
        r"\centering",
        r"\small",
        f"\\caption{{{_CAPTION}}}",
        r"\label{tab:comparison}",
        r"\sisetup{detect-all, group-minimum-digits=5, group-separator={,}}",
        r"\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
        # Of many benchmarks it may be wider than the page.
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"\\begin{{tabular}}{{@{{}}l {' '.join(map(_column_type, _figures(blocks[0])))}@{{}}}}",
        r"\toprule",
        _line([f"{{{escaped(name)}}}" for name in blocks[0].columns]),
    ]
    for block in blocks:
        lines += [r"\midrule", *(_line(cells) for cells in block.itertuples(index=False, name=None))]
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Text that LaTeX prints as it stands.

    >>> escaped("smart_hybrid & 5 %")
    'smart\\_hybrid \\& 5 \\%'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_mark(figure: str, place: str, star: str) -> str:
    r"""Best in bold, second underlined. siunitx aligns no command with an argument, so that cell is as wide as a number's.

    >>> latex_mark("0.5000", "best", "*")
    '\\bfseries 0.5000\\textsuperscript{*}'
    """
    shown = _STAR if star == STAR else ""
    if place == SECOND:
        return f"{{\\underline{{{figure}}}{shown or _NO_STAR}}}"
    return (r"\bfseries " if place == BEST else "") + figure + shown


def _block(comparison: Comparison, models: Sequence[str] | None) -> pd.DataFrame:
    """Rows of `headline` with one column for IsoScore, names escaped and figures marked."""
    table = headline(comparison, models)
    if not len(table):
        return table
    scores = scored_columns(table)
    shape = comparison.test.get("isotropy.isoscore")
    if shape is not None and shape.notna().any():
        means = shape.groupby(comparison.test["model"]).mean()
        table.insert(1 + len(scores), "IsoScore", [figure(means.get(model)) for model in table[MODEL]])
    table = table.loc[:, ~table.columns.str.startswith("IsoScore ")]
    table = marked(table, scores, latex_mark)
    return table.assign(**{MODEL: table[MODEL].map(escaped)}).rename(columns={PARAMETERS: "parameters"})


def _figures(block: pd.DataFrame) -> list[str]:
    return [str(name) for name in block.columns if name != MODEL]


def _column_type(name: str) -> str:
    if name == "IsoScore":
        return "S[table-format=1.4]"
    if name in ("parameters", BYTES):
        return f"S[table-format={4 if name == BYTES else 8}.0]"
    return f"S[table-format=1.4, table-space-text-post={{{_STAR}}}]"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cell or "{}" for cell in cells) + r" \\"
