"""Each format of the vectors scores as a plain search of what comes back from it, and takes the bytes that it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentence_transformers.util import quantize_embeddings

from ragcun.data.benchmark import Benchmark
from ragcun.evaluate import compression as module
from ragcun.evaluate.compression import compression
from ragcun.evaluate.formats import Ranges, as_bits, as_float16, as_int8
from ragcun.evaluate.results import Evaluation, join_parts, score_run, write_evaluation
from ragcun.evaluate.vectors import Vectors
from ragcun.measure.ranking import mean_scores, score_queries
from ragcun.params import Similarity
from tests.processes import run_in_processes

pytestmark = pytest.mark.outputs

WIDTH, DOCUMENTS = 80, 300


def a_benchmark(*, own: bool = False) -> Benchmark:
    """12 test and 5 dev queries over 300 documents; with `own`, the test queries are the first documents."""
    rng = np.random.default_rng(0)
    ids = [f"d{i}" for i in range(DOCUMENTS)]
    names = {"test": ids[:12] if own else [f"q{i}" for i in range(12)], "dev": [f"v{i}" for i in range(5)]}
    qrels: dict[str, dict[str, dict[str, int]]] = {
        split: {query: {f"d{j}": 1 + int(j) % 2 for j in rng.choice(DOCUMENTS, 4, replace=False)} for query in queries}
        for split, queries in names.items()
    }
    texts = {split: dict.fromkeys(queries, "text") for split, queries in names.items()}
    return Benchmark("b", ids, [""] * DOCUMENTS, ["text"] * DOCUMENTS, texts, qrels, own)


def some_vectors(benchmark: Benchmark, similarity: Similarity = "cosine") -> Vectors:
    """Documents of uneven dimensions and lengths, and queries near their answers."""
    rng = np.random.default_rng(1)
    corpus = rng.standard_normal((DOCUMENTS, WIDTH)) * np.geomspace(2, 0.2, WIDTH)
    corpus *= rng.uniform(0.5, 2, size=(DOCUMENTS, 1))
    answers = [
        [benchmark.doc_ids.index(document) for document in judged]
        for qrels in benchmark.qrels.values()
        for judged in qrels.values()
    ]
    queries = np.array([corpus[rows].mean(axis=0) for rows in answers])
    queries += 0.4 * rng.standard_normal(queries.shape) * np.geomspace(2, 0.2, WIDTH)
    return Vectors(corpus.astype(np.float32), queries.astype(np.float32), queries[:1], similarity)


def ndcg(benchmark: Benchmark, queries: np.ndarray, corpus: np.ndarray, similarity: Similarity, split: str) -> float:
    """A plain search in float64."""
    queries, corpus = queries.astype(np.float64), corpus.astype(np.float64)
    if similarity == "cosine":
        queries, corpus = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, corpus))
    scores = queries @ corpus.T
    if similarity == "euclidean":
        scores = 2 * scores - np.square(corpus).sum(axis=1)
    run = {
        query: {
            document: float(np.float32(score))
            for document, score in zip(benchmark.doc_ids, line, strict=True)
            if document != benchmark.own_documents.get(query)
        }
        for query, line in zip(benchmark.all_queries, scores, strict=True)
    }
    return mean_scores(score_queries(benchmark.qrels[split], run, (10,)))["ndcg@10"]


def row(table: pd.DataFrame, format_: str, dimensions: int = WIDTH) -> pd.Series:
    (found,) = [r for _, r in table.iterrows() if (r["format"], r["dimensions"]) == (format_, dimensions)]
    return found


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_each_format_scores_as_a_plain_search_of_what_comes_back(similarity: Similarity, own: bool) -> None:
    benchmark = a_benchmark(own=own)
    vectors = some_vectors(benchmark, similarity)
    table = compression(vectors, benchmark)
    assert len(set(table["ndcg@10"])) > 4, "the formats should differ"
    for dimensions in (WIDTH, 64, 32):
        queries, corpus = vectors.queries[:, :dimensions], vectors.corpus[:, :dimensions]
        if similarity == "cosine":
            corpus = corpus / np.linalg.norm(corpus, axis=1, keepdims=True)
        back: dict[str, tuple[np.ndarray, np.ndarray]] = {
            "float32": (queries, corpus),
            "int8": (queries, as_int8(Ranges.of(corpus))(corpus)),
        }
        if dimensions == WIDTH:
            back |= {
                "float16": (queries, as_float16(corpus)),
                "bits": (queries, as_bits(corpus)),
                "bits, both": (as_bits(queries), as_bits(corpus)),
            }
        for name, (asked, documents) in back.items():
            found = row(table, name, dimensions)
            for split, column in (("test", "ndcg@10"), ("dev", "dev_ndcg@10")):
                expected = ndcg(benchmark, asked, documents, similarity, split)
                assert found[column] == pytest.approx(expected, abs=1e-9), (name, dimensions, column)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_bits_then_int8_ranks_by_int8_what_bits_find(similarity: Similarity) -> None:
    benchmark = a_benchmark()
    vectors = some_vectors(benchmark, similarity)

    def scores(oversampling: int) -> dict[str, float]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "OVERSAMPLING", oversampling)
            return compression(vectors, benchmark).set_index("format")["ndcg@10"][:6].to_dict()

    few, all_ = scores(1), scores(DOCUMENTS)
    assert len({few["bits, both"], few["bits, then int8"], few["int8"]}) == 3, "vacuous"
    assert all_["bits, then int8"] == few["int8"], "where bits find every document, int8 alone decides"


def test_the_rows_are_of_all_formats_and_fewer_dimensions_than_there_are() -> None:
    table = compression(some_vectors(benchmark := a_benchmark()), benchmark)
    assert list(zip(table["dimensions"], table["format"], table["bytes"], strict=True)) == [
        (80, "float32", 320),
        (80, "float16", 160),
        (80, "int8", 80),
        (80, "bits", 10),
        (80, "bits, both", 10),
        (80, "bits, then int8", 90),
        (64, "float32", 256),
        (64, "int8", 64),
        (32, "float32", 128),
        (32, "int8", 32),
    ]


def test_codes_are_those_of_sentence_transformers_but_for_its_rounding() -> None:
    corpus = some_vectors(a_benchmark()).corpus
    ranges = Ranges.of(corpus, chunk=7)
    assert (ranges.low == corpus.min(axis=0)).all()
    assert (ranges.high == corpus.max(axis=0)).all()
    theirs = quantize_embeddings(corpus, "int8").astype(int) + 128
    assert abs(ranges.codes(corpus).astype(int) - theirs).max() == 1
    step = (ranges.high - ranges.low) / 255
    assert (abs(as_int8(ranges)(corpus) - corpus) <= step / 2 + 1e-6).all()
    packed = np.packbits(as_bits(corpus) > 0, axis=1)
    assert (packed == quantize_embeddings(corpus, "ubinary")).all()


def test_a_dimension_of_one_value_comes_back() -> None:
    corpus = np.array([[1.5, 0.0], [1.5, 1.0]], dtype=np.float32)
    assert as_int8(Ranges.of(corpus))(corpus) == pytest.approx(corpus)


def scores() -> dict[str, Any]:
    return compression(some_vectors(benchmark := a_benchmark()), benchmark).to_dict("list")


@pytest.mark.engine
def test_two_processes_give_the_scores_of_one() -> None:
    assert run_in_processes(scores, 2) == [scores()] * 2


def test_parts_are_averaged_by_format_and_the_table_is_written(tmp_path: Path) -> None:
    benchmark = a_benchmark()
    run = {query: {"d0": 1.0} for query in benchmark.all_queries}
    plain = score_run(benchmark, run, 10, None)
    table = pd.DataFrame(
        {"dimensions": [4, 4], "format": ["float32", "int8"], "bytes": [16, 4], "ndcg@10": [0.5, 0.25]}
    )
    parts: dict[str, Evaluation] = {
        "a": replace(plain, compression=table),
        "b": replace(plain, compression=table.assign(**{"ndcg@10": [0.75, 0.25]})),
    }
    write_evaluation(join_parts(parts), tmp_path / "metrics.json", tmp_path / "runs", 10, "tag")
    assert pd.read_csv(tmp_path / "runs/compression.csv")["ndcg@10"].tolist() == [0.625, 0.25]
    write_evaluation(join_parts({"a": plain, "b": plain}), tmp_path / "metrics.json", tmp_path / "plain", 10, "tag")
    assert not (tmp_path / "plain/compression.csv").exists()
