"""What a model looks like in every figure: a colour, a marker and a kind of line, so that it reads in grey too.

The colours are those of Okabe & Ito (Color Universal Design, 2008), which people with any colour vision tell apart. BM25 is
black and the base grey, for they are what the others are held against.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ragcun.report.comparison import BASELINE, WITH_ADAPT

BM25 = "bm25"

# On white, and on the dark page of the report.
BLACK, GREY = ("#1A1A1A", "#F2F2F2"), ("#7A7A7A", "#A8A8A8")
_COLOURS = (
    ("#E69F00", "#E69F00"),
    ("#0072B2", "#3D9BD9"),
    ("#D55E00", "#EE7733"),
    ("#009E73", "#1DB88B"),
    ("#CC79A7", "#D88FB8"),
    ("#56B4E9", "#7CC8F2"),
    ("#B8A900", "#F0E442"),
)
# Names of matplotlib; the report's script draws the same.
_MARKERS = ("s", "^", "D", "v", "P", "*", "p", "h")
# Lengths of dash and gap, in widths of the line.
_DASHES: tuple[tuple[float, ...], ...] = (
    (5, 1.5),
    (),
    (5, 1.5, 1, 1.5),
    (2.5, 1.2),
    (8, 2),
    (1, 1.2),
    (8, 2, 2, 2, 2, 2),
)


@dataclass(frozen=True)
class Look:
    """colour: on white and on dark. dashes: () is a solid line. hollow: a marker without filling, and a paler line.

    >>> Look(BLACK, "X").dashes
    ()
    """

    colour: tuple[str, str]
    marker: str = "o"
    dashes: tuple[float, ...] = ()
    hollow: bool = False


# Of documents and queries, wherever the two are told apart.
DOCUMENTS, QUERIES = Look(_COLOURS[5], "o"), Look(_COLOURS[2], "^")
NORMAL = Look(BLACK, "o", (1, 1.5))


class Looks:
    """The looks of models, which their order decides: the same list gives the same looks.

    >>> looks = Looks(["bm25", "base", "mine"])
    >>> looks["base"].colour[0], looks["mine"].marker, looks["mine + adapt"].hollow
    ('#7A7A7A', 's', True)
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._looks = {BM25: Look(BLACK, "X", (1, 1)), BASELINE: Look(GREY)}
        others = (model for model in models if model not in self._looks)
        self._looks |= dict(zip(others, _others(), strict=False))

    def __getitem__(self, model: str) -> Look:
        """The look of a model, adapted or not. Raises KeyError for one that is not in the list."""
        own = self._looks[model.removesuffix(WITH_ADAPT)]
        return replace(own, hollow=True) if model.endswith(WITH_ADAPT) else own

    def __contains__(self, model: str) -> bool:
        return model.removesuffix(WITH_ADAPT) in self._looks


def _others() -> Iterator[Look]:
    """A look for each further model, without end; one repeats after 56."""
    at = 0
    while True:
        yield Look(_COLOURS[at % 7], _MARKERS[at % 8], _DASHES[(at + at // 7) % 7])
        at += 1
