"""A frozen model evaluated from its embeddings, against `beir`'s DenseRetrievalExactSearch and EvaluateRetrieval.

Usage: python -m benchmarks.evaluate [--every N] [--model smart_hybrid] [--benchmark NAME]

Ours projects the stored vectors of the base, searches, and scores; it also measures isotropy and hubness. The peer encodes
every text through the model, searches, and scores. With --every N it encodes each N-th text of every call alone, the time of
all of them is extrapolated, and the other vectors are taken from ours, so that the results can be compared all the same.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from beir.retrieval.evaluation import EvaluateRetrieval
from beir.retrieval.search.dense import DenseRetrievalExactSearch
from sentence_transformers import SentenceTransformer

from benchmarks.harness import Bar, Seconds, in_turn, options, pipeline, ratio, write_result
from benchmarks.small import BENCHMARK
from ragcun.core.errors import RagcunError
from ragcun.data.benchmark import Benchmark, read_benchmark
from ragcun.evaluate.dense import benchmark_vectors, evaluate_dense
from ragcun.evaluate.results import Evaluation
from ragcun.measure.ranking import CUTOFFS
from ragcun.params import load_params

SPLIT = "test"


class EncodingModel:
    """A model as beir calls it: it encodes each `every`-th text, and takes the vectors of the others from `known`."""

    def __init__(self, model: SentenceTransformer, known: dict[str, np.ndarray], every: int) -> None:
        self.model, self.known, self.every, self.extra = model, known, every, 0.0

    def encode_queries(self, texts: list[str], batch_size: int, **_: Any) -> torch.Tensor:
        """The vectors of queries, in the order given."""
        return self._encode(self.model.encode_query, texts, batch_size)

    def encode_corpus(self, documents: list[dict[str, str]], batch_size: int, **_: Any) -> torch.Tensor:
        """The vectors of documents, in the order given."""
        texts = [f"{document['title']} {document['text']}".strip() for document in documents]
        return self._encode(self.model.encode_document, texts, batch_size)

    def _encode(self, call: Callable[..., torch.Tensor], texts: list[str], batch_size: int) -> torch.Tensor:
        part = texts[self.every // 2 :: self.every]
        began = time.perf_counter()
        encoded = call(part, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        seconds = time.perf_counter() - began
        self.extra += seconds * (len(texts) / max(1, len(part)) - 1)
        if self.every == 1:
            return encoded
        rows = torch.from_numpy(np.stack([self.known[text] for text in texts]))
        rows[self.every // 2 :: self.every] = encoded
        return rows


def theirs(folder: Path, model: str, benchmark: Benchmark, known: dict[str, np.ndarray], every: int) -> Seconds:
    """beir's evaluation of the queries of all splits; its means of the test split."""
    began = time.perf_counter()
    encoding = EncodingModel(SentenceTransformer(str(folder / "models" / model), device="cpu"), known, every)
    retriever = EvaluateRetrieval(
        DenseRetrievalExactSearch(encoding, batch_size=128), k_values=list(CUTOFFS), score_function="cos_sim"
    )
    documents = zip(benchmark.doc_ids, benchmark.titles, benchmark.bodies, strict=True)
    corpus = {name: {"title": title, "text": text} for name, title, text in documents}
    found = retriever.retrieve(corpus, benchmark.all_queries)
    means = {}
    for split, qrels in benchmark.qrels.items():
        tables = retriever.evaluate(qrels, {query: found[query] for query in qrels}, retriever.k_values)
        means[split] = {name: value for table in tables for name, value in table.items()}
    return Seconds(time.perf_counter() - began + encoding.extra, means[SPLIT])


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=1)
    parser.add_argument(
        "--every", type=int, default=1, help="the peer encodes each N-th text alone, and is extrapolated"
    )
    parser.add_argument("--model", default="smart_hybrid")
    parser.add_argument("--benchmark", default=BENCHMARK)
    arguments = parser.parse_args(argv)
    with pipeline(arguments) as folder:
        params = load_params(folder / "params.yaml")
        benchmark = read_benchmark(folder / "data/benchmarks" / arguments.benchmark)
        stored, model = folder / "data/embeddings" / arguments.benchmark, folder / "models" / arguments.model
        with benchmark_vectors(model, benchmark, stored, params.embed) as vectors:
            if vectors.similarity != "cosine":
                raise RagcunError("beir has no other similarity than cosine and dot: name a model with the cosine")
            known = dict(zip(benchmark.doc_texts, np.array(vectors.corpus), strict=True))
            known |= dict(zip(benchmark.all_queries.values(), np.array(vectors.queries), strict=True))

        def ours() -> Evaluation:
            return evaluate_dense(model, benchmark, stored, params.embed, params.evaluate.top_k)

        works = {"ours": ours, "beir": lambda: theirs(folder, arguments.model, benchmark, known, arguments.every)}
        timed = in_turn(arguments.rounds, works)
    means = timed["ours"].result.per_query[SPLIT].mean()
    gaps = {
        name: abs(timed["beir"].result[f"{their}@{k}"] - means[f"{name}@{k}"])
        for name, their in (("ndcg", "NDCG"), ("map", "MAP"), ("recall", "Recall"))
        for k in (10, 100)
    }
    # Two encodings of one text may differ in the last digits, and exchange two documents.
    assert max(gaps.values()) < 1e-3, gaps
    write_result(
        "evaluate",
        arguments,
        [
            Bar(
                "evaluating a frozen model from its embeddings, against beir",
                ratio(timed, "beir"),
                "×",
                at_least=50.0,
                extrapolated=f"the peer's encoding from each {arguments.every}th text" if arguments.every > 1 else "",
            )
        ],
        timed,
        same=f"NDCG, MAP and recall at 10 and 100, to {max(gaps.values()):.0e}",
        figures={f"{name}, s": round(work.median, 2) for name, work in timed.items()},
        notes=[
            f"{len(benchmark.doc_ids):,} documents, {len(benchmark.all_queries):,} queries. Ours measures isotropy too."
        ],
    )


if __name__ == "__main__":
    main()
