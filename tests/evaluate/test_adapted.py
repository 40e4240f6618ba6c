"""A model adapted to a benchmark's corpus scores as a plain computation from its own vectors says, and no query adapts it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from sklearn.covariance import oas

from ragcun.adapt.rule import MAX_GAMMA
from ragcun.adapt.stand_ins import stand_in_queries, stand_in_rows
from ragcun.data.benchmark import Benchmark
from ragcun.evaluate import vectors
from ragcun.evaluate.adapted import adapted_vectors
from ragcun.evaluate.dense import benchmark_vectors, evaluate_dense
from ragcun.evaluate.results import Evaluation, join_parts, write_evaluation
from ragcun.measure.isotropy import isotropy
from ragcun.measure.ranking import Run, mean_scores, score_queries
from ragcun.params import Similarity
from tests.evaluate.test_dense import EMBED, TOP_K, save_model, store, tensors
from tests.processes import run_in_processes
from tests.tiny import HIDDEN, tiny_benchmark

# No corpus is so isotropic, and each is below anything.
ALWAYS, NEVER = 1.0, 1e-6


def save_base(folder: Path, base: Path, similarity: Similarity, *, normalize: bool) -> Path:
    """The tiny base with another similarity, and perhaps without the Normalize at its end."""
    modules = [module for module in SentenceTransformer(str(base), device="cpu") if not isinstance(module, Normalize)]
    ends = [Normalize()] if normalize else []
    model = SentenceTransformer(modules=[*modules, *ends], similarity_fn_name=similarity, device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def plain_isoscore(covariance: np.ndarray) -> float:
    variances = np.linalg.eigvalsh(covariance)
    return float((variances.sum() ** 2 / (variances**2).sum() - 1) / (len(variances) - 1))


def plain_map(corpus: np.ndarray, stand_ins: np.ndarray, rows: list[int], target: float) -> tuple[np.ndarray, float]:
    """A, and γ, which is halved into place; from the formulas in docs and papers alone."""
    noise, _ = oas(stand_ins - corpus[rows])
    covariance = np.cov(corpus.T, bias=True)

    def matrix(gamma: float) -> np.ndarray:
        # It may leave imaginary parts of zero.
        power = np.real_if_close(fractional_matrix_power(noise, -gamma / 2))
        return power * np.sqrt(np.trace(covariance) / np.trace(power @ covariance @ power))

    def below(gamma: float) -> bool:
        return plain_isoscore(matrix(gamma) @ covariance @ matrix(gamma)) < target

    low, high = 0.0, MAX_GAMMA
    for _ in range(0 if below(high) else 30):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return matrix(high), high


def plain_adapted_search(
    model: Path, benchmark: Benchmark, similarity: Similarity, target: float, *, directions: bool
) -> tuple[Run, float]:
    """Every document's score for every query under the adapted model, from its texts' vectors alone; and γ."""
    encoder = SentenceTransformer(str(model), device="cpu")
    drawn = stand_in_queries(benchmark.doc_texts)
    queries = encoder.encode_query(list(benchmark.all_queries.values())).astype(np.float64)
    corpus = encoder.encode_document(list(benchmark.doc_texts)).astype(np.float64)
    stand_ins = encoder.encode_query([one.text for one in drawn]).astype(np.float64)
    if directions:
        queries, corpus, stand_ins = (
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries, corpus, stand_ins)
        )
    matrix, gamma = plain_map(corpus, stand_ins, [one.row for one in drawn], target)
    queries, corpus = ((vectors - stand_ins.mean(axis=0)) @ matrix for vectors in (queries, corpus))
    if similarity == "cosine":
        queries, corpus = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (queries, corpus))
    scores = queries @ corpus.T
    if similarity == "euclidean":
        scores = 2 * scores - (corpus**2).sum(axis=1)
    lines = zip(benchmark.all_queries, scores.tolist(), strict=True)
    return {query: dict(zip(benchmark.doc_ids, line, strict=True)) for query, line in lines}, gamma


def evaluate(model: Path, benchmark: Benchmark, embeddings: Path, adapt: float | None = ALWAYS) -> Evaluation:
    return evaluate_dense(model, benchmark, embeddings, EMBED, TOP_K, adapt)


def of_adapted(evaluation: Evaluation) -> Evaluation:
    assert evaluation.adapted is not None
    return evaluation.adapted


def figures(evaluation: Evaluation) -> dict[str, float]:
    found = of_adapted(evaluation).adaptation
    assert found is not None
    return found


def all_lines(evaluation: Evaluation) -> Run:
    return {query: line for run in evaluation.runs.values() for query, line in run.items()}


def distance(found: Run, expected: Run) -> float:
    """The largest distance of two scores, relative to the largest score."""
    assert found.keys() == expected.keys()
    assert all(found[query].keys() == expected[query].keys() for query in found)
    largest = max(abs(score) for line in expected.values() for score in line.values())
    return max(abs(found[query][at] - expected[query][at]) for query in found for at in found[query]) / largest


def check(evaluation: Evaluation, benchmark: Benchmark, expected: Run) -> None:
    """The adapted scores and measures are the expected ones, and not those of the plain model."""
    adapted = of_adapted(evaluation)
    assert distance(all_lines(adapted), expected) < 2e-5
    assert distance(all_lines(evaluation), expected) > 1e-2, "vacuous: adapting changes nothing"
    measures = adapted.measures()
    for split in ("test", "dev"):
        means = mean_scores(score_queries(benchmark.qrels[split], expected))
        assert 0 < means["ndcg@10"] < 1
        assert measures[split]["ndcg@10"] == pytest.approx(means["ndcg@10"], abs=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_the_base_is_adapted_as_its_own_vectors_say(
    similarity: Similarity, normalize: bool, tiny_base: Path, tmp_path: Path
) -> None:
    """By their directions under cosine, whatever their lengths."""
    benchmark = tiny_benchmark()
    base = save_base(tmp_path / "base", tiny_base, similarity, normalize=normalize)
    evaluation = evaluate(base, benchmark, store(tmp_path / "store", base, benchmark))
    cosine = similarity == "cosine"
    expected, _ = plain_adapted_search(base, benchmark, similarity, ALWAYS, directions=cosine)
    check(evaluation, benchmark, expected)
    if not normalize:
        other, _ = plain_adapted_search(base, benchmark, similarity, ALWAYS, directions=not cosine)
        assert distance(other, expected) > 1e-3, "vacuous: lengths change nothing"


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_a_model_of_ours_is_adapted_as_its_own_vectors_say(
    similarity: Similarity, live: bool, tiny_base: Path, tmp_path: Path
) -> None:
    """By the vectors that its last layer gives, of the store and live."""
    benchmark = tiny_benchmark()
    model = save_model(tmp_path / "model", tiny_base, similarity, move_base=live)
    evaluation = evaluate(model, benchmark, store(tmp_path / "store", tiny_base, benchmark))
    expected, _ = plain_adapted_search(model, benchmark, similarity, ALWAYS, directions=False)
    check(evaluation, benchmark, expected)
    other, _ = plain_adapted_search(model, benchmark, similarity, ALWAYS, directions=True)
    assert distance(other, expected) > 1e-3, "vacuous: lengths change nothing"


def test_the_model_is_adapted_as_far_as_is_asked(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    most = figures(evaluate(tiny_base, benchmark, embeddings))
    assert most["gamma"] == MAX_GAMMA
    target = (most["isoscore_before"] + most["isoscore_after"]) / 2
    assert most["isoscore_after"] - most["isoscore_before"] > 0.005, "vacuous"
    evaluation = evaluate(tiny_base, benchmark, embeddings, target)
    expected, gamma = plain_adapted_search(tiny_base, benchmark, "cosine", target, directions=True)
    assert 0.02 < gamma < MAX_GAMMA - 0.02, "vacuous"
    check(evaluation, benchmark, expected)
    found = figures(evaluation)
    assert found == {
        "gamma": pytest.approx(gamma, abs=5e-4),
        "isoscore_before": pytest.approx(most["isoscore_before"]),
        "isoscore_after": pytest.approx(target, abs=1e-4),
        "left_alone": 0.0,
    }


def test_the_figures_before_and_after_are_those_of_the_two_evaluations(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    model = save_model(tmp_path / "model", tiny_base)
    evaluation = evaluate(model, benchmark, store(tmp_path / "store", tiny_base, benchmark))
    assert evaluation.isotropy is not None
    assert of_adapted(evaluation).isotropy is not None
    assert figures(evaluation)["isoscore_before"] == pytest.approx(evaluation.isotropy["isoscore"], abs=1e-6)
    after = of_adapted(evaluation).measures()["corpus"]["isoscore"]
    assert figures(evaluation)["isoscore_after"] == pytest.approx(after, abs=1e-6)
    assert of_adapted(evaluation).measures()["adaptation"] == figures(evaluation)
    assert "adaptation" not in evaluation.measures()


def test_no_query_and_no_judgement_changes_the_map(tiny_base: Path, tmp_path: Path) -> None:
    """Nor does it change what another query finds."""
    benchmark = tiny_benchmark()
    other = replace(
        benchmark,
        queries={"test": {"q0": benchmark.queries["test"]["q0"], "new": "the old bread and the small oven"}},
        qrels={"test": {"q0": {"d53": 1}, "new": {"d00": 2}}},
    )
    model = save_model(tmp_path / "model", tiny_base)
    maps, lines = [], []
    for name, asked in (("first", benchmark), ("second", other)):
        embeddings = store(tmp_path / name, tiny_base, asked)
        (tmp_path / f"{name} scratch").mkdir()
        with benchmark_vectors(model, asked, embeddings, EMBED) as vectors:
            rows = stand_in_rows(len(vectors.corpus))
            maps.append(adapted_vectors(vectors, rows, ALWAYS, tmp_path / f"{name} scratch")[1])
        lines.append(of_adapted(evaluate(model, asked, embeddings)).runs["test"]["q0"])
    assert np.abs(maps[0].matrix - np.eye(12)).max() > 0.01, "vacuous"
    np.testing.assert_array_equal(maps[0].matrix, maps[1].matrix)
    np.testing.assert_array_equal(maps[0].mean, maps[1].mean)
    assert maps[0].figures() == maps[1].figures()
    assert lines[0] == pytest.approx(lines[1], abs=1e-6)


def test_what_is_left_alone_has_the_scores_of_the_model_itself(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    base = save_base(tmp_path / "base", tiny_base, "cosine", normalize=False)
    evaluation = evaluate(base, benchmark, store(tmp_path / "store", base, benchmark), NEVER)
    adapted = of_adapted(evaluation)
    assert figures(evaluation)["left_alone"] == 1
    assert figures(evaluation)["gamma"] == 0
    assert adapted.runs == evaluation.runs
    plain = evaluation.measures()
    assert adapted.measures() == {**plain, "adaptation": figures(evaluation)}
    assert evaluation.measures() == evaluate(base, benchmark, tmp_path / "store", None).measures()


def test_without_a_target_no_model_is_adapted(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    assert evaluate(tiny_base, benchmark, embeddings, None).adapted is None
    assert (
        evaluate(tiny_base, benchmark, embeddings).measures()
        == evaluate(tiny_base, benchmark, embeddings, None).measures()
    ), "the model itself is evaluated as before"


def of_one_document() -> Benchmark:
    tiny = tiny_benchmark()
    return replace(
        tiny,
        doc_ids=tiny.doc_ids[:1],
        titles=tiny.titles[:1],
        bodies=tiny.bodies[:1],
        queries={"test": {"q": "what is river boat"}},
        qrels={"test": {"q": {tiny.doc_ids[0]: 1}}},
    )


def test_a_corpus_of_one_document_adapts_no_model(tiny_base: Path, tmp_path: Path) -> None:
    small = of_one_document()
    assert evaluate(tiny_base, small, store(tmp_path / "store", tiny_base, small)).adapted is None


def test_documents_without_text_do_no_harm(tiny_base: Path, tmp_path: Path) -> None:
    tiny = tiny_benchmark()
    benchmark = replace(
        tiny,
        doc_ids=["empty", *tiny.doc_ids, "blank"],
        titles=["", *tiny.titles, " "],
        bodies=["", *tiny.bodies, "\n"],
    )
    evaluation = evaluate(tiny_base, benchmark, store(tmp_path / "store", tiny_base, benchmark))
    expected, _ = plain_adapted_search(tiny_base, benchmark, "cosine", ALWAYS, directions=True)
    check(evaluation, benchmark, expected)


def test_how_many_rows_are_mapped_at_once_changes_nothing(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = tiny_benchmark()
    base = save_base(tmp_path / "base", tiny_base, "cosine", normalize=False)
    embeddings = store(tmp_path / "store", base, benchmark)
    whole = all_lines(of_adapted(evaluate(base, benchmark, embeddings)))
    monkeypatch.setattr(vectors, "_ROWS_A_CHUNK", 5)
    assert distance(all_lines(of_adapted(evaluate(base, benchmark, embeddings))), whole) < 1e-6


def test_nothing_is_left_in_the_scratch_folder(tiny_base: Path, tmp_path: Path, row_cache_folder: Path) -> None:
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    for model in (tiny_base, save_model(tmp_path / "model", tiny_base, move_base=True)):
        evaluate(model, benchmark, embeddings)
        assert list((row_cache_folder / "scratch").iterdir()) == []


# Several processes


def _scores(models: list[str], embeddings: str) -> dict[str, dict[str, torch.Tensor]]:
    return {model: _tensors(evaluate(Path(model), tiny_benchmark(), Path(embeddings))) for model in models}


def _tensors(evaluation: Evaluation) -> dict[str, torch.Tensor]:
    return {**tensors(of_adapted(evaluation)), "figures": torch.tensor(list(figures(evaluation).values()))}


def test_two_processes_adapt_as_one_does(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = tiny_benchmark()
    assert len(benchmark.all_queries) % 2 == 1, "the shards should be uneven"
    base = save_base(tmp_path / "base", tiny_base, "cosine", normalize=False)
    embeddings = store(tmp_path / "store", base, benchmark)
    models = [
        base,
        save_model(tmp_path / "from store", base),
        save_model(tmp_path / "live", base, "euclidean", move_base=True),
    ]
    ranks = run_in_processes(_scores, 2, [str(model) for model in models], str(embeddings))
    monkeypatch.setenv("RAGCUN_CACHE", str(tmp_path / "another cache"))
    for model in models:
        alone = _tensors(evaluate(model, benchmark, embeddings))
        for together in ranks:
            assert alone.keys() == together[str(model)].keys()
            for name, values in alone.items():
                torch.testing.assert_close(together[str(model)][name], values, atol=1e-4, rtol=1e-5)


# Parts and files


def test_the_adapted_parts_are_joined_as_the_plain_ones_are(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    embeddings = store(tmp_path / "store", tiny_base, benchmark)
    parts = {"a": evaluate(tiny_base, benchmark, embeddings), "b": evaluate(tiny_base, benchmark, embeddings, NEVER)}
    joined = join_parts(parts)
    adapted = {name: of_adapted(part) for name, part in parts.items()}
    found = of_adapted(joined).measures()
    scores = {name: part.measures()["test"]["ndcg@10"] for name, part in adapted.items()}
    assert scores["a"] != scores["b"], "vacuous"
    assert (found["test/a"]["ndcg@10"], found["test/b"]["ndcg@10"]) == pytest.approx((scores["a"], scores["b"]))
    assert found["test"]["ndcg@10"] == pytest.approx(np.mean(list(scores.values())))
    assert found["adaptation"] == pytest.approx(
        {name: np.mean([figures(part)[name] for part in parts.values()]) for name in figures(parts["a"])}
    )
    assert found["adaptation"]["left_alone"] == 0.5
    assert "adaptation" not in joined.measures()


def test_a_part_that_cannot_be_adapted_stands_with_its_plain_scores(tiny_base: Path, tmp_path: Path) -> None:
    """Both evaluations of a benchmark are of the same queries."""
    small, benchmark = of_one_document(), tiny_benchmark()
    parts = {
        "a": evaluate(tiny_base, benchmark, store(tmp_path / "a", tiny_base, benchmark)),
        "b": evaluate(tiny_base, small, store(tmp_path / "b", tiny_base, small)),
    }
    for names in (("a", "b"), ("b", "a")):
        joined = join_parts({name: parts[name] for name in names})
        adapted = of_adapted(joined)
        for split, scores in joined.per_query.items():
            assert list(adapted.per_query[split].index) == list(scores.index)
        assert adapted.measures()["test/b"] == joined.measures()["test/b"]
        assert figures(joined) == figures(parts["a"])
    assert join_parts({"a": parts["b"], "b": parts["b"]}).adapted is None


def test_the_adapted_results_are_a_folder_in_the_models_and_no_metric(tiny_base: Path, tmp_path: Path) -> None:
    benchmark = tiny_benchmark()
    evaluation = evaluate(tiny_base, benchmark, store(tmp_path / "store", tiny_base, benchmark))
    for name, each in (("with", evaluation), ("without", replace(evaluation, adapted=None))):
        write_evaluation(each, tmp_path / f"{name}.json", tmp_path / name, 10, "base")
    write_evaluation(of_adapted(evaluation), tmp_path / "alone.json", tmp_path / "alone", 10, "base+adapt")
    files = {"measures.json", *(f"{split}.{kind}" for split in ("test", "dev") for kind in ("parquet", "trec"))}
    # The figures are of the model itself.
    whole = {*files, "picture.parquet"}
    assert {path.name for path in (tmp_path / "without").iterdir()} == whole
    assert {path.name for path in (tmp_path / "with").iterdir()} == {*whole, "adapted"}
    assert {path.name for path in (tmp_path / "with/adapted").iterdir()} == files
    for name in whole:
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    for name in files:
        assert (tmp_path / "with/adapted" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert (tmp_path / "with.json").read_bytes() == (tmp_path / "without.json").read_bytes()
    assert json.loads((tmp_path / "with/adapted/measures.json").read_text())["adaptation"] == figures(evaluation)
    # An evaluation without an adapted one removes it.
    write_evaluation(replace(evaluation, adapted=None), tmp_path / "with.json", tmp_path / "with", 10, "base")
    assert not (tmp_path / "with/adapted").exists()


def test_the_twin_measures_isotropy_as_the_project_does() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, HIDDEN)) * np.linspace(1, 3, HIDDEN)
    assert plain_isoscore(np.cov(vectors.T, bias=True)) == pytest.approx(isotropy(vectors)["isoscore"])
