"""A dense model's scores are those of a plain exact search, from the store or live, on any number of processes."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from ragcun.adapt.stand_ins import stand_in_queries
from ragcun.core.errors import RagcunError
from ragcun.core.files import write_json
from ragcun.data.benchmark import Benchmark
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import benchmark_texts, read_embeddings, write_embeddings
from ragcun.evaluate.dense import evaluate_dense
from ragcun.evaluate.lexical import evaluate_bm25
from ragcun.evaluate.results import HEADLINE, Evaluation, join_parts
from ragcun.measure.directions import alignment, centre_gap, partition_isotropy, uniformity
from ragcun.measure.hubness import hubness
from ragcun.measure.isotropy import isotropy
from ragcun.measure.kurtosis import mardia_kurtosis
from ragcun.measure.ranking import Run, mean_scores, score_queries
from ragcun.measure.sigreg import sigreg_excess
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_linear_map, set_random_map
from ragcun.model.whitening import whitening_map
from ragcun.params import Embed, Similarity
from tests.processes import run_in_processes
from tests.tiny import MAX_LENGTH, save_tiny_base, self_query, tiny_benchmark

EMBED = Embed(engine="torch", dtype="float32", batch_tokens=128, max_length=None)
TOP_K = 1000
PROMPTS = {"query": "query: ", "document": "passage: "}


def store(folder: Path, base: Path, benchmark: Benchmark, embed: Embed = EMBED) -> Path:
    """What the stage embed_benchmark writes."""
    model = SentenceTransformer(str(base), device="cpu")
    encoder = TextEncoder(model, dtype=embed.dtype, batch_tokens=embed.batch_tokens, max_length=embed.max_length)
    stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
    write_embeddings(folder, encoder, benchmark_texts(benchmark.doc_texts, benchmark.all_queries, stand_ins))
    return folder


def save_model(folder: Path, base: Path, similarity: Similarity = "cosine", *, move_base: bool = False) -> Path:
    """A model with a random projection, and perhaps a base that is no longer the one it came from."""
    torch.manual_seed(1)
    encoder = IsotropicGaussianEncoder(base_model=str(base), output_dim=12, similarity=similarity, device="cpu")
    set_random_map(encoder.projection)
    if move_base:
        with torch.no_grad():
            for parameter in encoder.base.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    encoder.save_finished(folder)
    return folder


def plain_search(model: Path, benchmark: Benchmark, similarity: Similarity) -> Run:
    """Every document's score for every query, from the model alone."""
    encoder = SentenceTransformer(str(model), device="cpu")
    queries = encoder.encode_query(list(benchmark.all_queries.values())).astype(np.float64)
    corpus = encoder.encode_document(list(benchmark.doc_texts)).astype(np.float64)
    if similarity == "cosine":
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    scores = queries @ corpus.T
    if similarity == "euclidean":
        scores = 2 * scores - (corpus**2).sum(axis=1)
    lines = zip(benchmark.all_queries, scores.tolist(), strict=True)
    return {query: dict(zip(benchmark.doc_ids, line, strict=True)) for query, line in lines}


def evaluate(model: Path, benchmark: Benchmark, embeddings: Path, embed: Embed = EMBED) -> Evaluation:
    return evaluate_dense(model, benchmark, embeddings, embed, TOP_K)


def check_run(evaluation: Evaluation, expected: Run, *, atol: float) -> None:
    """The run has the expected documents and scores, best first."""
    found = {query: line for run in evaluation.runs.values() for query, line in run.items()}
    assert found.keys() == expected.keys()
    for query, line in found.items():
        assert line.keys() == expected[query].keys()
        assert line == pytest.approx(expected[query], abs=atol, rel=0)
        assert list(line.values()) == sorted(line.values(), reverse=True)


@pytest.fixture
def forbid_encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From the call on, a vector can come from the store alone: not from the model, and not from the row cache."""

    def forbid() -> None:
        monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "an empty cache"))

        def fail(*args: object) -> None:
            raise AssertionError("a text was encoded")

        monkeypatch.setattr(TextEncoder, "encode", fail)
        monkeypatch.setattr(SentenceTransformer, "encode", fail)

    return forbid


@pytest.mark.parametrize("prompts", [None, PROMPTS])
def test_the_bases_row_is_its_own_plain_search(
    prompts: dict[str, str] | None, tmp_path: Path, forbid_encoding: Callable[[], None]
) -> None:
    base, benchmark = save_tiny_base(tmp_path / "base", prompts=prompts), tiny_benchmark()
    store(tmp_path / "store", base, benchmark)
    expected = plain_search(base, benchmark, "cosine")
    # All it takes is in the store.
    forbid_encoding()
    evaluation = evaluate(base, benchmark, tmp_path / "store")
    check_run(evaluation, expected, atol=1e-6)
    measures = evaluation.measures()
    for split in ("test", "dev"):
        means = mean_scores(score_queries(benchmark.qrels[split], expected))
        assert 0 < means["ndcg@10"] < 1
        assert [measures[split][name] for name in HEADLINE] == pytest.approx(
            [means[name] for name in HEADLINE], abs=1e-9
        )


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_a_model_on_the_frozen_base_is_evaluated_from_the_store_as_it_would_be_live(
    similarity: Similarity, tiny_base: Path, tmp_path: Path, forbid_encoding: Callable[[], None]
) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    model = save_model(tmp_path / "model", tiny_base, similarity)
    expected = plain_search(model, benchmark, similarity)
    # A store of which nothing but its manifest says whose it is: live encoding cannot have used it.
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    stored = read_embeddings(tmp_path / "store")
    for name, array in stored.arrays.items():
        np.save(foreign / f"{name}.npy", np.zeros_like(array))
    write_json(foreign / "manifest.json", {**stored.manifest, "base": "another"})
    live = evaluate(model, benchmark, foreign)

    forbid_encoding()
    from_store = evaluate(model, benchmark, tmp_path / "store")
    for evaluation in (live, from_store):
        check_run(evaluation, expected, atol=1e-5)
    for split, scores in live.per_query.items():
        np.testing.assert_allclose(scores, from_store.per_query[split], atol=1e-5)
    assert live.isotropy == pytest.approx(from_store.isotropy, abs=1e-4)


def test_a_model_whose_base_was_trained_is_evaluated_live(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    frozen = save_model(tmp_path / "frozen", tiny_base)
    moved = save_model(tmp_path / "moved", tiny_base, move_base=True)
    expected = plain_search(moved, benchmark, "cosine")
    other = plain_search(frozen, benchmark, "cosine")
    assert any(expected[query] != pytest.approx(other[query], abs=1e-2) for query in expected)
    check_run(evaluate(moved, benchmark, tmp_path / "store"), expected, atol=1e-5)


def test_another_model_is_evaluated_live_with_its_prompts(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    other = save_tiny_base(tmp_path / "other", seed=7, prompts=PROMPTS)
    check_run(evaluate(other, benchmark, tmp_path / "store"), plain_search(other, benchmark, "cosine"), atol=1e-6)


@pytest.mark.parametrize("max_length", [5, MAX_LENGTH])
def test_the_cut_off_of_the_params_holds_from_the_store_and_live(
    max_length: int, tiny_base: Path, tmp_path: Path, forbid_encoding: Callable[[], None]
) -> None:
    benchmark = tiny_benchmark()
    embed = Embed(engine="torch", dtype="float32", batch_tokens=128, max_length=max_length)
    store(tmp_path / "store", tiny_base, benchmark, embed)
    store(tmp_path / "foreign", save_tiny_base(tmp_path / "other", seed=7), benchmark, embed)
    model = save_model(tmp_path / "model", tiny_base)
    live = evaluate(model, benchmark, tmp_path / "foreign", embed)
    uncut = plain_search(model, benchmark, "cosine")
    same = all(
        line == pytest.approx(uncut[query], abs=1e-3) for run in live.runs.values() for query, line in run.items()
    )
    assert same == (max_length == MAX_LENGTH)
    forbid_encoding()
    from_store = evaluate(model, benchmark, tmp_path / "store", embed)
    for split, run in live.runs.items():
        check_run(Evaluation({split: from_store.runs[split]}, {}), run, atol=1e-5)


def test_a_store_of_another_precision_is_not_used(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(
        tmp_path / "store",
        tiny_base,
        benchmark,
        Embed(engine="torch", dtype="bfloat16", batch_tokens=128, max_length=None),
    )
    expected = plain_search(tiny_base, benchmark, "cosine")
    check_run(evaluate(tiny_base, benchmark, tmp_path / "store"), expected, atol=1e-6)


def test_isotropy_is_of_the_corpus_under_the_model(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    model = save_model(tmp_path / "model", tiny_base, "euclidean")
    shape = evaluate(model, benchmark, tmp_path / "store").isotropy
    corpus = SentenceTransformer(str(model), device="cpu").encode_document(list(benchmark.doc_texts))
    assert shape is not None
    expected = isotropy(corpus) | hubness(corpus, similarity="euclidean")
    expected |= {"partition_isotropy": partition_isotropy(corpus), "uniformity": uniformity(corpus)}
    expected |= {"mardia_kurtosis": mardia_kurtosis(corpus), "sigreg_excess": sigreg_excess(corpus)}
    assert shape == pytest.approx(expected, abs=1e-4)
    assert shape["isoscore"] != pytest.approx(
        isotropy(read_embeddings(tmp_path / "store").arrays["corpus"])["isoscore"]
    )


def test_the_space_of_the_queries_is_told_apart(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    measures = evaluate(tiny_base, benchmark, tmp_path / "store").measures()["queries"]
    encoder = SentenceTransformer(str(tiny_base), device="cpu")
    queries = encoder.encode_query(list(benchmark.all_queries.values()))
    corpus = encoder.encode_document(list(benchmark.doc_texts))
    pairs = [
        (list(benchmark.all_queries).index(query), benchmark.doc_ids.index(document))
        for qrels in benchmark.qrels.values()
        for query, judged in qrels.items()
        for document, grade in judged.items()
        if grade > 0
    ]
    assert len(pairs) == 6 * 2 + 3 * 2
    asked, answers = (rows[places] for rows, places in zip((queries, corpus), np.transpose(pairs), strict=True))
    expected = isotropy(queries) | {"alignment": alignment(asked, answers), "centre_gap": centre_gap(queries, corpus)}
    assert {name: measures[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert "hubness" not in measures, "nine queries do not have ten neighbours"


def test_the_whole_vectors_of_the_compression_score_as_the_model_does(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    plain = evaluate(tiny_base, benchmark, embeddings)
    assert plain.compression is None
    compressed = evaluate_dense(tiny_base, benchmark, embeddings, EMBED, TOP_K, compress=True)
    assert compressed.measures() == plain.measures()
    assert compressed.compression is not None
    whole = compressed.compression.iloc[0]
    assert whole["format"] == "float32"
    assert whole["ndcg@10"] == pytest.approx(plain.summary()["ndcg@10"], abs=1e-9)
    assert whole["dev_ndcg@10"] == pytest.approx(plain.summary()["dev_ndcg@10"], abs=1e-9)


def test_a_querys_own_document_is_dropped_where_queries_are_documents_and_nowhere_else(
    tiny_base: Path, tmp_path: Path
) -> None:
    asked = self_query(query := "d00")
    store(tmp_path / "store", tiny_base, asked)

    def best_three(queries_are_documents: bool) -> list[str]:
        benchmark = replace(asked, queries_are_documents=queries_are_documents)
        evaluation = evaluate_dense(tiny_base, benchmark, tmp_path / "store", EMBED, top_k=3)
        assert evaluation is not None
        return list(evaluation.runs["test"][query])

    assert best_three(False)[0] == query, "the document is not the query's best: the test would prove nothing"
    assert best_three(True)[:2] == best_three(False)[1:]
    assert len(best_three(True)) == len(best_three(False)) == 3


@pytest.mark.parametrize("size", [1, 2])
def test_a_corpus_of_one_document_has_no_isotropy(size: int, tiny_base: Path, tmp_path: Path) -> None:
    tiny = tiny_benchmark()
    small = replace(
        tiny,
        doc_ids=tiny.doc_ids[:size],
        titles=tiny.titles[:size],
        bodies=tiny.bodies[:size],
        queries={"test": {"q": "what is river boat"}},
        qrels={"test": {"q": {tiny.doc_ids[0]: 1}}},
    )
    evaluation = evaluate(tiny_base, small, store(tmp_path / "store", tiny_base, small))
    measures = evaluation.measures()
    assert measures["test"]["recall@100"] == 1
    some = {"isoscore", "mean_cosine", "effective_rank", "partition_isotropy", "uniformity", "sigreg_excess"}
    assert set(measures.get("corpus", {})) == (set() if size == 1 else some)
    assert "queries" not in measures, "a single query has no space"
    joined = join_parts({"a": evaluation, "b": evaluation}).measures()
    assert joined.keys() == measures.keys() | {"test/a", "test/b"}


def with_empty_documents() -> Benchmark:
    """The tiny benchmark with two documents that have neither title nor text, one of them judged relevant."""
    tiny = tiny_benchmark()
    qrels = {**tiny.qrels, "test": {**tiny.qrels["test"], "q0": {**tiny.qrels["test"]["q0"], "empty": 1}}}
    return replace(
        tiny,
        doc_ids=[*tiny.doc_ids, "empty", "blank"],
        titles=[*tiny.titles, "", " "],
        bodies=[*tiny.bodies, "", "\n"],
        qrels=qrels,
    )


@pytest.mark.parametrize("prompts", [None, PROMPTS])
def test_documents_without_text_go_through_embedding_and_both_searches(
    prompts: dict[str, str] | None, tmp_path: Path
) -> None:
    benchmark = with_empty_documents()
    assert list(benchmark.doc_texts)[-2:] == ["", ""]
    base = save_tiny_base(tmp_path / "base", prompts=prompts)
    store(tmp_path / "store", base, benchmark)
    check_run(evaluate(base, benchmark, tmp_path / "store"), plain_search(base, benchmark, "cosine"), atol=1e-6)
    lexical = evaluate_bm25(benchmark, TOP_K)
    assert not {"empty", "blank"} & {document for found in lexical.runs["test"].values() for document in found}


def test_nothing_is_left_behind(tiny_base: Path, tmp_path: Path, row_cache_folder: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    for model in (
        save_model(tmp_path / "from store", tiny_base),
        save_model(tmp_path / "live", tiny_base, move_base=True),
    ):
        evaluate(model, benchmark, tmp_path / "store")
        assert list((row_cache_folder / "scratch").iterdir()) == []


def test_a_folder_without_a_model_is_an_error_that_names_it(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RagcunError, match=str(tmp_path / "empty")):
        evaluate_dense(tmp_path / "empty", benchmark, tmp_path / "store", EMBED, TOP_K)


def _scores(models: list[str], embeddings: str) -> dict[str, dict[str, torch.Tensor]]:
    """Of each model, all scores of the run and all measures."""
    return {model: tensors(evaluate(Path(model), tiny_benchmark(), Path(embeddings))) for model in models}


def tensors(evaluation: Evaluation) -> dict[str, torch.Tensor]:
    found = {}
    for split, run in evaluation.runs.items():
        found[f"run {split}"] = torch.tensor([[run[q][d] for d in sorted(run[q])] for q in sorted(run)])
        found[f"measures {split}"] = torch.tensor(evaluation.per_query[split].to_numpy())
    found["isotropy"] = torch.tensor(list((evaluation.isotropy or {}).values()))
    return found


def test_two_processes_give_the_scores_of_one(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = tiny_benchmark()
    assert len(benchmark.all_queries) % 2 == 1, "the shards should be uneven"
    store(tmp_path / "store", tiny_base, benchmark)
    shutil.copytree(tiny_base, tmp_path / "base")
    models = [
        tmp_path / "base",
        save_model(tmp_path / "from store", tiny_base),
        save_model(tmp_path / "live", tiny_base, "euclidean", move_base=True),
    ]
    ranks = run_in_processes(_scores, 2, [str(model) for model in models], str(tmp_path / "store"))
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "another cache"))
    for model in models:
        alone = tensors(evaluate(model, benchmark, tmp_path / "store"))
        for together in ranks:
            assert alone.keys() == together[str(model)].keys()
            for name, values in alone.items():
                torch.testing.assert_close(together[str(model)][name], values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_the_untrained_projection_without_whitening_scores_as_the_base(
    tmp_path: Path, tiny_base: Path, similarity: Similarity
) -> None:
    """C3: every measure of every split; under euclidean too, for the base ends in Normalize."""
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    encoder = IsotropicGaussianEncoder(base_model=str(tiny_base), output_dim=None, similarity=similarity, device="cpu")
    corpus = read_embeddings(embeddings).arrays["corpus"]
    set_linear_map(encoder.projection, *whitening_map(corpus, 0.0, corpus.shape[1]))
    encoder.save(str(tmp_path / "model"), create_model_card=False)
    ours, base = (evaluate(folder, benchmark, embeddings) for folder in (tmp_path / "model", tiny_base))
    assert not np.allclose(encoder.encode(["river"]), SentenceTransformer(str(tiny_base)).encode(["river"])), "vacuous"
    assert 0 < base.summary()["ndcg@10"] < 1
    for split in ("test", "dev"):
        assert np.allclose(ours.per_query[split], base.per_query[split], atol=1e-4)


def test_live_vectors_serve_the_next_benchmark_and_leave_the_cache_before_the_bases(
    tiny_base: Path, tmp_path: Path, row_cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = tiny_benchmark()
    store(tmp_path / "store", tiny_base, benchmark)
    model = save_model(tmp_path / "model", tiny_base, move_base=True)

    def counts() -> tuple[int, int]:
        with closing(sqlite3.connect(row_cache_folder / "rows.sqlite")) as file:
            return tuple(file.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("rows", "transient"))  # type: ignore[return-value]

    stand_ins = [drawn.text for drawn in stand_in_queries(benchmark.doc_texts)]
    texts = len({*benchmark.doc_texts}) + len({*benchmark.all_queries.values(), *stand_ins})
    assert counts() == (texts, 0)
    evaluate(model, benchmark, tmp_path / "store")
    assert counts() == (texts, texts)

    def fail(*args: object) -> None:
        raise AssertionError("a text was encoded")

    monkeypatch.setattr(TextEncoder, "encode", fail)
    evaluate(model, tiny_benchmark("another with the same corpus"), tmp_path / "store")
