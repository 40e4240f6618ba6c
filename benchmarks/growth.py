"""How each cost grows with its work: documents, dimensions, store negatives; a table, a plot, and the fitted exponents.

Usage: python -m benchmarks.growth [--documents 1000000] [--rounds 3]

A cost c of a work n is fitted as c ∝ n^e over the larger half of the sizes, where the fixed costs have lost their weight: e
is 1 where the cost is proportional to the work. The vectors are random.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.harness import options, write_result
from ragcun.model.projection import Head, build_projection
from ragcun.search.exact import search
from ragcun.train.loss import RetrievalLoss

DIM, QUERIES, DEPTH, BATCH = 384, 100, 100, 256


@dataclass(frozen=True)
class Series:
    """Seconds by the size of the work."""

    name: str
    what: str
    sizes: list[int]
    seconds: list[float]

    @property
    def exponent(self) -> float:
        """The slope in log-log over the larger half of the sizes, two at least."""
        half = min(len(self.sizes) // 2, len(self.sizes) - 2)
        slope, _ = np.polyfit(np.log(self.sizes[half:]), np.log(self.seconds[half:]), 1)
        return float(slope)


def vectors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """(count, dim) random float32."""
    return np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)


def search_of(count: int, dim: int) -> Callable[[], object]:
    """An exact search of `count` documents."""
    corpus, queries, ids = vectors(count, dim), vectors(QUERIES, dim, 1), [f"d{row}" for row in range(count)]
    return lambda: search(queries, corpus, ids, DEPTH, "cosine")


def projecting_of(count: int, dim: int) -> Callable[[], object]:
    """A projection of `count` vectors."""
    head, rows = Head(modules=build_projection(dim, dim, dropout=0), device="cpu"), vectors(count, dim)
    return lambda: head.project(rows)


def step_of(negatives: int, dim: int) -> Callable[[], object]:
    """A step of the head: loss, gradients, AdamW, over a batch and so many store negatives."""
    head = Head(modules=build_projection(dim, dim, dropout=0), device="cpu").train()
    loss = RetrievalLoss(head, similarity="cosine", temperature=0.05, isotropy_weight=0.0, isotropy_directions=1)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    count = BATCH + negatives
    chunks = [{"sentence_embedding": torch.from_numpy(vectors(rows, dim))} for rows in (BATCH, count)]
    batch = {
        "queries": BATCH,
        "candidates": count,
        "query_chunks": 1,
        "query_order": torch.arange(BATCH),
        "candidate_order": torch.arange(count),
        "target": torch.arange(BATCH),
        "masked": torch.zeros(BATCH, count, dtype=torch.bool),
        "seed": 0,
    }

    def step() -> None:
        parts = loss([dict(chunk) for chunk in chunks], batch)  # type: ignore[arg-type]
        sum(parts.values(), torch.zeros(())).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def series(name: str, what: str, sizes: list[int], work: Callable[[int], Callable[[], object]], rounds: int) -> Series:
    """The least seconds of the rounds at each size: other programs only add to a time."""
    found = []
    for size in sizes:
        run = work(size)
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
        found.append(min(taken))
        print(f"{name}, {size}: {found[-1]:.4g} s", flush=True)
    return Series(name, what, sizes, found)


def all_series(documents: int, rounds: int, *, small: bool) -> list[Series]:
    """Every cost of the table."""
    counts = [64, 128, 256] if small else [size for size in (1000, 4000, 16_000, 64_000, 256_000) if size < documents]
    counts += [] if small else [documents]
    dims = [16, 32] if small else [384, 512, 768, 1024]
    negatives = [0, 16, 64] if small else [0, 1024, 4096, 16_384, 65_536]
    width, at = (16, 256) if small else (DIM, 16_000)
    return [
        series("search", "documents", counts, lambda n: search_of(n, width), rounds),
        series("projecting", "documents", counts, lambda n: projecting_of(n, width), rounds),
        series("search by dimension", "dimensions", dims, lambda d: search_of(at, d), rounds),
        series("projecting by dimension", "dimensions", dims, lambda d: projecting_of(at, d), rounds),
        series("head's step by dimension", "dimensions", dims, lambda d: step_of(negatives[2], d), rounds),
        series(
            "head's step", "candidates", [BATCH + n for n in negatives], lambda n: step_of(n - BATCH, width), rounds
        ),
    ]


def plot(found: Sequence[Series], path: Path) -> None:
    """Seconds by size, each kind of work in a panel of its own."""
    kinds = list(dict.fromkeys(each.what for each in found))
    figure = Figure(figsize=(4 * len(kinds), 3.5), layout="constrained")
    panels = figure.subplots(1, len(kinds))
    for kind, panel in zip(kinds, panels, strict=True):
        for each in (each for each in found if each.what == kind):
            panel.loglog(each.sizes, each.seconds, marker="o", label=f"{each.name}: exponent {each.exponent:.2f}")
        panel.set_xlabel(kind)
        panel.set_ylabel("seconds")
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--documents", type=int, default=1_000_000, help="the largest corpus")
    arguments = parser.parse_args(argv)
    found = all_series(arguments.documents, arguments.rounds, small=arguments.small)
    rows = {
        each.name: {
            "work": each.what,
            "exponent": round(each.exponent, 3),
            "seconds": {str(size): round(seconds, 5) for size, seconds in zip(each.sizes, each.seconds, strict=True)},
        }
        for each in found
    }
    write_result(
        "growth",
        arguments,
        [],
        {},
        same="nothing is compared, one program at several sizes",
        figures=rows,
        notes=[
            f"Search: {QUERIES} queries, k = {DEPTH}. By dimension: 16,000 documents. Step: a batch of {BATCH}, 4,096 negatives.",
            "The least of the rounds; exponents are fitted over the larger half of the sizes.",
        ],
    )
    plot(found, arguments.results / "growth.png")


if __name__ == "__main__":
    main()
