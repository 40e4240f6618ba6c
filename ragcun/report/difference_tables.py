"""The tests of differences as tables of text, one for each family of tests."""

import numpy as np
import pandas as pd

# The families of ragcun.report.comparison, and their headings.
FAMILIES = {
    "main": "Models and the base",
    "strategies": "Strategies and each other",
    "controls": "Controls and the base",
    "adapted": "Adapted models and the same unadapted",
    "fusion": "BM25 combined with a model, and the model alone",
}


def difference_tables(differences: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table of each family that has tests, by its heading.

    >>> list(difference_tables(tiny_comparison.differences))
    ['Models and the base']
    """
    if not len(differences):
        return {}
    parts = {heading: differences[differences["family"] == family] for family, heading in FAMILIES.items()}
    return {heading: difference_table(part) for heading, part in parts.items() if len(part)}


def probability(p: float) -> str:
    """A p-value as text.

    >>> probability(0.0123), probability(1e-9)
    ('0.0123', '< 0.0001')
    """
    return f"{p:.4f}" if p >= 1e-4 else "< 0.0001"


def difference_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Tests of a family, rows of ragcun.report.differences, as text.

    >>> difference_table(tiny_comparison.differences.head(1)).T
                                    0
    model                        bm25
    against                      base
    benchmark                    tiny
    difference                +0.3691
    95 % interval  +0.3691 to +0.3691
    p (Holm)                   1.0000
    t (Holm)                   1.0000
    wins                            1
    ties                            0
    losses                          0
    d_z                             -
    """
    table = rows[["model", "against", "benchmark"]].copy()
    table["difference"] = rows["difference"].map("{:+.4f}".format)
    ends = zip(rows["difference.low"], rows["difference.high"], strict=True)
    table["95 % interval"] = [f"{low:+.4f} to {high:+.4f}" for low, high in ends]
    for name, column in (("p (Holm)", "p_holm"), ("t (Holm)", "t_p_holm")):
        table[name] = rows[column].map(probability)
    for name in ("wins", "ties", "losses"):
        table[name] = rows[name].map("{:.0f}".format)
    table["d_z"] = rows["effect_size"].map(lambda size: "-" if np.isnan(size) else f"{size:+.2f}")
    return table
