"""Documents encoded in a second, against `SentenceTransformer.encode` with its defaults, and as a share of the ceiling.

Usage: python -m benchmarks.encode [--every N] [--benchmark NAME]

The texts are the articles of data/benchmarks/NAME; with --every N each N-th of them by length. The ceiling is the time that
the transformer's matrix products would take at the rate of a large product in the precision of ours, measured in the same
round: of the texts' own tokens, without padding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.harness import Bar, in_turn, options, pipeline, ratio, write_result
from benchmarks.small import BENCHMARK
from ragcun.data.benchmark import read_benchmark
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.params import Precision, load_params

# Of a square product, large enough for full speed.
_WIDTH = 2048
# What the params must promise of a vector, to be called exact enough.
_MEAN_COSINE, _LEAST_COSINE = 0.9999, 0.999


def articles(folder: Path, benchmark: str, every: int) -> list[str]:
    """The texts of a benchmark's documents: each `every`-th in the order of length, in file order."""
    texts = list(read_benchmark(folder / "data/benchmarks" / benchmark).doc_texts)
    chosen = sorted(range(len(texts)), key=lambda row: len(texts[row]))[every // 2 :: every]
    return [texts[row] for row in sorted(chosen)]


def flops(model: SentenceTransformer, texts: Sequence[str]) -> float:
    """Of the matrix products of a BERT over the texts' own tokens: four projections, attention, and the feed-forward."""
    config: Any = model.config
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    lengths = np.array([min(len(ids), model.max_seq_length) for ids in model.tokenizer(list(texts))["input_ids"]])
    a_token = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 2 * 2 * hidden * lengths.astype(float) ** 2
    return float(layers * (a_token * lengths + attention).sum())


def product(dtype: Precision) -> None:
    """Four products of _WIDTH³, of which `main` takes the rate."""
    left = torch.ones(_WIDTH, _WIDTH, dtype=getattr(torch, dtype))
    for _ in range(4):
        left @ left


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--every", type=int, default=1, help="encode each N-th article alone")
    parser.add_argument("--benchmark", default=BENCHMARK)
    arguments = parser.parse_args(argv)
    with pipeline(arguments) as folder:
        texts = articles(folder, arguments.benchmark, arguments.every)
        params = load_params(folder / "params.yaml")
        encoder = TextEncoder.of(load_base(str(folder / "models/base"), device="cpu"), params.embed)
        peer = SentenceTransformer(str(folder / "models/base"), device="cpu")
        works = {
            "ours": lambda: encoder.encode(texts, "passage"),
            "sentence-transformers": lambda: peer.encode(texts, show_progress_bar=False),
            "product": lambda: product(encoder.precision),
        }
        product(encoder.precision)
        timed = in_turn(arguments.rounds, works)
    vectors, theirs = timed["ours"].result, timed["sentence-transformers"].result
    cosines = (vectors * theirs).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.mean() >= _MEAN_COSINE, cosines.mean()
    assert cosines.min() >= _LEAST_COSINE, cosines.min()
    rate = 4 * 2 * _WIDTH**3 / timed["product"].median
    ceiling = flops(peer, texts) / rate
    size = f"{len(texts):,} articles"
    write_result(
        "encode",
        arguments,
        [
            Bar(
                f"{size}, against SentenceTransformer.encode", ratio(timed, "sentence-transformers"), "×", at_least=3.0
            ),
            Bar(f"{size}, share of the ceiling", 100 * ceiling / timed["ours"].median, " %", at_least=60.0),
        ],
        timed,
        same=f"vectors: mean cosine {cosines.mean():.6f}, least {cosines.min():.6f}",
        figures={
            "ours, documents/s": round(len(texts) / timed["ours"].median, 1),
            "sentence-transformers, documents/s": round(len(texts) / timed["sentence-transformers"].median, 1),
            "ceiling, documents/s": round(len(texts) / ceiling, 1),
            "precision": encoder.precision,
            "product, GFLOP/s": round(rate / 1e9, 1),
        },
    )


if __name__ == "__main__":
    main()
