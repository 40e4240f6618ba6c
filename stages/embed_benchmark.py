"""models/base and data/benchmarks/NAME → data/embeddings/NAME: the base's vectors of a benchmark, and of stand-ins for its queries.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.embed_benchmark NAME
"""

import sys
from pathlib import Path

from ragcun import distributed
from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.data.benchmark import read_parts
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, write_embeddings
from ragcun.params import load_params
from stages.launch import run_stage


def main() -> None:
    (name,) = sys.argv[1:]
    params = load_params()
    with distributed.process_group(params.ddp.timeout):
        device = str(distributed.device())
        model = load_base("models/base", normalize=params.normalize_base, device=device)
        encoder = TextEncoder.of(model, params.embed)
        for part, benchmark in read_parts(Path("data/benchmarks", name)).items():
            stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
            lists = benchmark_texts(benchmark.doc_texts, benchmark.all_queries, stand_ins)
            write_embeddings(Path("data/embeddings", name, part), encoder, lists)


if __name__ == "__main__":
    run_stage(main)
