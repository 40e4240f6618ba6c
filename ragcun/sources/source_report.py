"""What a source read, kept and dropped, and why: `report.json` beside the records.

No text is held, only a hash of 8 bytes for each record and a length of 4 for each of its texts.
"""

from array import array
from collections import Counter, defaultdict
from typing import Any

import numpy as np


class SourceReport:
    """Filled while the records stream: the source counts what it reads, drops and alters, the writer what arrives.

    licence: of the data. revision: what pins the data: a commit, a hash, a version.
    read: rows looked at. dropped: rows left out, by reason. altered: texts that were changed and kept, by change.
    noted: texts that were kept unchanged, by what is odd about them.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.licence: str | None = None
        self.revision: str | None = None
        self.read = 0
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self.altered: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self._lengths: defaultdict[str, array] = defaultdict(lambda: array("I"))
        self._hashes = array("q")

    def keep(self, texts: dict[str, str]) -> None:
        """Count a record that is written, with its texts by field."""
        self.kept += 1
        # Python's own hash differs from run to run; how many of them are equal does not.
        self._hashes.append(hash(tuple(texts.values())))
        for field, text in texts.items():
            self._lengths[field].append(len(text))

    @property
    def duplicates(self) -> int:
        """Records whose texts equal those of an earlier one; ids, splits and negatives are not compared."""
        return len(self._hashes) - len(np.unique(np.frombuffer(self._hashes, dtype=np.int64)))

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON; lengths are in characters."""
        return {
            "source": self.source,
            "licence": self.licence,
            "revision": self.revision,
            "read": self.read,
            "kept": self.kept,
            "duplicates": self.duplicates,
            **{name: dict(sorted(getattr(self, name).items())) for name in ("dropped", "altered", "noted")},
            "lengths": {field: _spread(np.frombuffer(of, dtype=np.uint32)) for field, of in self._lengths.items()},
        }

    def why_empty(self) -> str:
        """Where nothing was kept: what became of the rows."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common())
        return f"{self.read} rows were read" + (f" and dropped: {reasons}" if reasons else "")


def _spread(lengths: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(lengths, (5, 50, 95))
    # A sum of integers is exact; one of floats would depend on the processor.
    mean = int(lengths.sum(dtype=np.uint64)) / len(lengths)
    return {
        "shortest": int(lengths.min()),
        "percentile_5": float(low),
        "median": float(median),
        "mean": round(mean, 3),
        "percentile_95": float(high),
        "longest": int(lengths.max()),
    }
