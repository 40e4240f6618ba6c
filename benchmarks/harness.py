"""What every benchmark shares: its options, works timed in turn, and the file of its result.

A benchmark gives works that do the same, ours and a peer's. Each round runs all of them, one after the other in this process
or in children of it, and every other round in the opposite order, so that a busy machine disturbs them alike. A ratio is the
median over the rounds of the peer's time through ours.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """A claim's figure, and what it is to reach.

    Attributes:
        reached: None where it could not be measured; `why` then says why.
        extrapolated: how much of the work was timed, where it was not all of it.
    """

    claim: str
    reached: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    why: str = ""
    extrapolated: str = ""

    @property
    def met(self) -> bool:
        """Whether the figure was measured and reaches its bar."""
        if self.reached is None:
            return False
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.reached <= high


@dataclass
class Timed:
    """A work's seconds by round, and what it gave the last time."""

    seconds: list[float] = field(default_factory=list)
    result: Any = None

    @property
    def median(self) -> float:
        """Of the rounds, in seconds."""
        return statistics.median(self.seconds)


def in_turn(rounds: int, works: Mapping[str, Callable[[], Any]]) -> dict[str, Timed]:
    """Run every work once a round; a work that gives a number of seconds as `Seconds` has measured itself.

    >>> sorted(in_turn(2, {"ours": lambda: 1, "peer": lambda: Seconds(3.0)}))
    ['ours', 'peer']
    """
    timed = {name: Timed() for name in works}
    for number in range(rounds):
        order = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in order:
            began = time.perf_counter()
            result = works[name]()
            seconds = time.perf_counter() - began
            if isinstance(result, Seconds):
                seconds, result = result.seconds, result.result
            timed[name].seconds.append(seconds)
            timed[name].result = result
            print(f"round {number + 1}: {name} {seconds:.3g} s", file=sys.stderr, flush=True)
    return timed


@dataclass(frozen=True)
class Seconds:
    """A time that a work took for itself, such as without its imports, or extrapolated from a part; and its result."""

    seconds: float
    result: Any = None


def ratio(timed: Mapping[str, Timed], peer: str, ours: str = "ours") -> float:
    """The median over rounds of `peer`'s seconds through `ours`.

    >>> ratio({"ours": Timed([1.0, 2.0]), "peer": Timed([3.0, 8.0])}, "peer")
    3.5
    """
    return statistics.median(b / a for a, b in zip(timed[ours].seconds, timed[peer].seconds, strict=True))


def options(about: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny work: for tests, whose times say nothing")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--pipeline", type=Path, default=Path(), help="the project, where `make repro` is done")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the result")
    return parser


@contextmanager
def pipeline(arguments: argparse.Namespace) -> Iterator[Path]:
    """The folder with data/ and models/ to work on: the one given, or with --small a tiny one that is removed again.

    The caches of ragcun lie in a folder of their own meanwhile: nothing is encoded or trained already.
    """
    with tempfile.TemporaryDirectory(prefix="ragcun-benchmark-") as name, empty_cache():
        if arguments.small:
            from benchmarks.small import small_pipeline

            yield small_pipeline(Path(name, "pipeline"))
        else:
            yield arguments.pipeline


@contextmanager
def empty_cache() -> Iterator[None]:
    """While the block runs ragcun has empty caches: nothing is encoded, and no run can go on."""
    before = os.environ.get("RAGCUN_CACHE")
    with tempfile.TemporaryDirectory(prefix="ragcun-cache-") as name:
        os.environ["RAGCUN_CACHE"] = name
        try:
            yield
        finally:
            if before is None:
                del os.environ["RAGCUN_CACHE"]
            else:
                os.environ["RAGCUN_CACHE"] = before


def _without_paths(given: list[str]) -> list[str]:
    """A command's options, with FOLDER for the folders of the machine that ran it."""
    paths = ("--pipeline", "--results", "--folder")
    return ["FOLDER" if before in paths else each for before, each in zip(["", *given], given, strict=False)]


def write_result(
    name: str,
    arguments: argparse.Namespace,
    bars: list[Bar],
    timed: Mapping[str, Timed],
    *,
    same: str,
    figures: Mapping[str, Any] | None = None,
    notes: list[str] | None = None,
) -> None:
    """Write results/<name>.json, and print the bars.

    Args:
        same: what was compared of the works' results, and found equal.
        figures: absolute figures, by what they are.
        notes: what a reader must know, in sentences.
    """
    result = {
        "name": name,
        "command": " ".join(["python -m", f"benchmarks.{name}", *_without_paths(sys.argv[1:])]),
        "small": arguments.small,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": machine(),
        "versions": versions(),
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars],
        "seconds": {each: [round(value, 4) for value in work.seconds] for each, work in timed.items()},
        "figures": dict(figures or {}),
        "same": same,
        "notes": notes or [],
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for bar in bars:
        reached = "not measured: " + bar.why if bar.reached is None else f"{bar.reached:.3g}{bar.unit}"
        print(f"{bar.claim}: {reached} ({'met' if bar.met else 'missed'})")
