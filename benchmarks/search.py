"""Exact search against `beir`'s exact search and faiss' flat index, on the same vectors.

Usage: python -m benchmarks.search [--documents 1000000] [--queries 1000] [--k 1000] [--dim 384]

The vectors are random, of length 1, and compared by their dot product. Each search runs in a process of its own, whose peak
memory the system counts, the pages of the memory-mapped vectors included. Its time is that from the file of vectors to ids
and scores; of faiss also without building its index. Timed apart: the matrix product alone, the ceiling of all three.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Bar, Seconds, in_turn, options, ratio, write_result

# Documents whose scores lie so close may change places between two roundings.
_CLOSE = 1e-5


def write_vectors(path: Path, count: int, dim: int, seed: int) -> None:
    """A .npy of random unit vectors, (count, dim) float32."""
    random = np.random.default_rng(seed)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, dim))
    for at in range(0, count, 65536):
        part = random.standard_normal((min(65536, count - at), dim), dtype=np.float32)
        rows[at : at + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    rows.flush()


def ours(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[list[list[str]], Any, dict[str, float]]:
    """Ids and scores by ragcun."""
    from ragcun.search.exact import search

    ids = [f"d{row}" for row in range(len(corpus))]
    began = time.perf_counter()
    hits = search(queries, corpus, ids, k, "dot")
    return hits.ids, hits.scores, {"seconds": time.perf_counter() - began}


def beir(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[list[list[str]], Any, dict[str, float]]:
    """Ids and scores by beir, from a model that has the vectors already."""
    import torch
    from beir.retrieval.search.dense import DenseRetrievalExactSearch

    class Model:
        def encode_queries(self, texts: list[str], **_: Any) -> torch.Tensor:
            return torch.from_numpy(np.array(queries))

        def encode_corpus(self, documents: list[dict[str, str]], **_: Any) -> torch.Tensor:
            first = int(documents[0]["text"])
            return torch.from_numpy(np.array(corpus[first : first + len(documents)]))

    # It sorts by length of text: equal lengths keep the order.
    texts = {f"d{row}": {"title": "", "text": f"{row:09d}"} for row in range(len(corpus))}
    names = {f"q{row}": "" for row in range(len(queries))}
    engine = DenseRetrievalExactSearch(Model())
    began = time.perf_counter()
    found = engine.search(texts, names, k, "dot")
    seconds = time.perf_counter() - began
    ranked = [sorted(found[name].items(), key=lambda item: -item[1]) for name in names]
    return [[i for i, _ in hits] for hits in ranked], [[s for _, s in hits] for hits in ranked], {"seconds": seconds}


def faiss(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[list[list[str]], Any, dict[str, float]]:
    """Ids and scores by faiss' IndexFlatIP."""
    import faiss as library

    ids = [f"d{row}" for row in range(len(corpus))]
    began = time.perf_counter()
    index = library.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    added = time.perf_counter() - began
    scores, rows = index.search(np.array(queries), min(k, len(corpus)))
    found = [[ids[row] for row in hits] for hits in rows.tolist()]
    return found, scores, {"seconds": time.perf_counter() - began, "index": added}


def product(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[list[list[str]], Any, dict[str, float]]:
    """The matrix product alone, in blocks that fit the cache."""
    import torch

    left = torch.from_numpy(np.array(queries))
    rows = torch.from_numpy(np.array(corpus))
    began = time.perf_counter()
    for block in rows.split(4096):
        left @ block.T
    return [], [], {"seconds": time.perf_counter() - began}


def child(name: str, folder: Path, k: int) -> None:
    """Search, and write ids and scores, seconds and peak memory into `folder`."""
    queries, corpus = (np.load(folder / f"{each}.npy", mmap_mode="r") for each in ("queries", "corpus"))
    ids, scores, figures = globals()[name](queries, corpus, k)
    # Linux counts in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    rows = np.array([[int(name[1:]) for name in found] for found in ids])
    np.savez(folder / f"{name}.npz", rows=rows, scores=np.array(scores, dtype=np.float32))
    (folder / f"{name}.json").write_text(json.dumps({**figures, "peak_gb": peak / 1e9}))


def run(name: str, folder: Path, k: int) -> Seconds:
    """`child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.search", "--child", name, "--folder", str(folder), "--k", str(k)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    figures = json.loads((folder / f"{name}.json").read_text())
    return Seconds(figures["seconds"], figures)


def check_same(folder: Path, peer: str) -> None:
    """Assert that ours and the peer found the same documents, but for those whose scores are too close to tell."""
    first, second = np.load(folder / "ours.npz"), np.load(folder / f"{peer}.npz")
    assert np.abs(first["scores"] - second["scores"]).max() < _CLOSE
    for mine, others, scores in zip(first["rows"], second["rows"], first["scores"], strict=True):
        differ = ~np.isin(mine, others)
        assert (scores[differ] - scores.min() < _CLOSE).all(), peer


def bars(timed: dict[str, Any], size: str) -> list[Bar]:
    """The claims of the table."""
    absent = "faiss-cpu is not installed (requirements-bench.txt)"
    there = "faiss" in timed
    searched = {**timed}
    claim = f"exact search, {size}, against"
    found = [
        Bar(f"{claim} beir's exact search", ratio(searched, "beir"), "×", at_least=10.0),
        Bar(f"{claim} faiss flat", ratio(searched, "faiss") if there else None, "×", at_least=1.0, why=absent),
    ]
    return [*found, Bar("its peak memory", timed["ours"].result["peak_gb"], " GB", at_most=3.0)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="for the vectors, 1.5 KB a document")
    arguments = parser.parse_args(argv)
    if arguments.child:
        child(arguments.child, arguments.folder, arguments.k)
        return
    if arguments.small:
        arguments.documents, arguments.queries, arguments.k, arguments.dim = 300, 7, 20, 16
    names = ["ours", "beir", *(["faiss"] if find_spec("faiss") else []), "product"]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_vectors(folder / "corpus.npy", arguments.documents, arguments.dim, 0)
        write_vectors(folder / "queries.npy", arguments.queries, arguments.dim, 1)
        timed = in_turn(arguments.rounds, {each: lambda each=each: run(each, folder, arguments.k) for each in names})
        for peer in names[1:-1]:
            check_same(folder, peer)
    size = f"{arguments.documents:,} × {arguments.dim}, {arguments.queries:,} queries, k = {arguments.k:,}"
    figures = {f"{each}, s": round(work.median, 3) for each, work in timed.items()}
    figures |= {f"{each}, peak GB": round(timed[each].result["peak_gb"], 2) for each in names[:-1]}
    figures["share of the ceiling"] = round(timed["product"].median / timed["ours"].median, 3)
    if "faiss" in timed:
        figures["faiss' index, s"] = round(timed["faiss"].result["index"], 3)
    write_result(
        "search",
        arguments,
        bars(timed, size),
        timed,
        same=f"documents, but where scores lie within {_CLOSE:g}, and scores to {_CLOSE:g}",
        figures=figures,
        notes=["`product` is the matrix product alone: no exact float32 search on these cores is faster."],
    )


if __name__ == "__main__":
    main()
