"""A tiny pipeline for `--small`: a base of two random layers, pairs, a benchmark, their embeddings, and a model."""

from pathlib import Path

import yaml

from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.data.benchmark import write_benchmark
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, write_embeddings
from ragcun.train.initial import Inputs, write_control
from tests.inputs import tiny_params, write_inputs
from tests.tiny import save_tiny_base, tiny_benchmark

BENCHMARK = "vital-descriptions"


def small_pipeline(folder: Path) -> Path:
    """Write data/, models/ and params.yaml as `make repro` leaves them, tiny; return `folder`."""
    base = save_tiny_base(folder / "models/base")
    inputs = write_inputs(folder / "inputs", base)
    (folder / "data/embeddings").mkdir(parents=True)
    (inputs / "pairs").rename(folder / "data/pairs")
    (inputs / "store").rename(folder / "data/embeddings/pairs")
    (inputs / "validation").rename(folder / "data/validation")
    params = tiny_params()
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    benchmark = tiny_benchmark(BENCHMARK)
    write_benchmark(benchmark, folder / "data/benchmarks" / BENCHMARK)
    encoder = TextEncoder.of(load_base(str(base), device="cpu"), params.embed)
    stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
    lists = benchmark_texts(benchmark.doc_texts, benchmark.all_queries, stand_ins)
    write_embeddings(folder / "data/embeddings" / BENCHMARK, encoder, lists)
    write_control(params, "base", folder / "models/base", inputs_of(folder), folder / "models/smart_hybrid")
    return folder


def inputs_of(folder: Path) -> Inputs:
    """The folders that training reads in a pipeline's folder."""
    return Inputs(folder / "data/pairs", folder / "data/embeddings/pairs", folder / "data/validation")
