"""What a source of data read, kept and dropped, and why: `report.json` beside the records."""

from array import array
from collections import Counter
from typing import Any

import numpy as np


class SourceReport:
    """Filled while the records stream: the source counts what it reads, drops and alters, the writer what arrives.

    licence, revision: of the data; revision is what pins them: a commit, a hash, a version.
    read: rows looked at. dropped: rows left out, by reason. altered: texts that were changed and kept, by what was
    done. noted: texts that were kept as they were, by what is odd about them.
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
        self._lengths: dict[str, array] = {}
        self._hashes = array("q")

    def keep(self, texts: dict[str, str]) -> None:
        """Count a record that is written, with its texts by field."""
        self.kept += 1
        self._hashes.append(hash(tuple(texts.values())))
        for field, text in texts.items():
            self._lengths.setdefault(field, array("I")).append(len(text))

    @property
    def duplicates(self) -> int:
        """Records written that equal an earlier one."""
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
    return {
        "shortest": int(lengths.min()),
        "percentile_5": float(low),
        "median": float(median),
        "mean": round(float(lengths.mean()), 3),
        "percentile_95": float(high),
        "longest": int(lengths.max()),
    }
