"""The best checkpoint: only better scores replace it, it survives an interruption, and it is read back strictly."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from ragcun.core.errors import RagcunError
from ragcun.measure.isotropy import isotropy
from ragcun.params import Role, Similarity
from ragcun.train.selection import BestCheckpoint, QueriesEvaluator
from tests.processes import run_in_processes

METRIC = "dev_ndcg@10"
# Queries and passages. Of three ranks the first has no query of the second pool and no passage of the third.
POOLS = [(7, 40), (2, 17), (5, 2)]


def evaluated(best: BestCheckpoint, step: int, score: float) -> None:
    state = TrainerState()
    state.global_step = step
    arguments = TrainingArguments(output_dir="unused", use_cpu=True)
    best.on_evaluate(arguments, state, TrainerControl(), metrics={"eval_dev_ndcg@10": score})


def test_the_first_of_the_best_scores_is_kept_and_restored(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    best = BestCheckpoint(model, tmp_path / "best", METRIC)
    assert best.record() == {}
    kept = []
    for step, score in enumerate([0.0, 0.5, 0.4, 0.5]):
        nn.init.constant_(model.weight, step)
        kept.append(model.weight.detach().clone())
        evaluated(best, step, score)
    model.bias.data.fill_(9)
    # Another object, as after an interruption.
    again = BestCheckpoint(model, tmp_path / "best", METRIC)
    assert again.restore() == {"score": 0.5, "step": 1}
    assert torch.equal(model.weight, kept[1])
    assert (model.bias == 9).all(), "what does not train is not touched"


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    evaluated(BestCheckpoint(nn.Linear(2, 2), tmp_path / "best", METRIC), 0, 0.1)
    with pytest.raises(RuntimeError, match="other parameters"):
        BestCheckpoint(nn.Sequential(nn.Linear(2, 2)), tmp_path / "best", METRIC).restore()
    with pytest.raises(RuntimeError):
        BestCheckpoint(nn.Linear(2, 3), tmp_path / "best", METRIC).restore()


def test_a_missing_measure_is_an_error(tmp_path: Path) -> None:
    best = BestCheckpoint(nn.Linear(2, 2), tmp_path / "best", METRIC)
    with pytest.raises(RagcunError, match=r"dev_ndcg@10, which is not measured: name one of dev_mrr@10"):
        best.on_evaluate(
            TrainingArguments(output_dir="unused", use_cpu=True),
            TrainerState(),
            TrainerControl(),
            metrics={"eval_dev_mrr@10": 1.0, "epoch": 1.0},
        )


def test_dev_queries_are_ranked_over_all_passages() -> None:
    """Query 10 finds its passage first; query 11 has two, at ranks 1 and 3 of four."""
    vectors = {10: [1, 0], 11: [0, 1], 0: [1, 0.1], 1: [0.1, 1], 2: [0.5, 1], 3: [1, 0.9]}
    evaluator = QueriesEvaluator(
        "dev",
        lambda ids, role: np.array([vectors[row] for row in ids.tolist()], dtype=np.float32),
        {10: {0: 1}, 11: {1: 1, 3: 1}},
        np.array([0, 1, 2, 3]),
        "cosine",
    )
    found = evaluator(None)  # type: ignore[arg-type]
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert found["dev_ndcg@10"] == pytest.approx((1 + expected) / 2)
    assert 0 <= found["dev_isoscore"] <= 1


def test_a_querys_own_passage_is_no_result_and_another_takes_its_place() -> None:
    """Query 20 is passage 0; its answer, passage 10, is the tenth of the others."""
    angles = np.linspace(0, 1, 12)
    vectors = {row: [np.cos(angle), np.sin(angle)] for row, angle in enumerate(angles)} | {20: [1, 0]}

    def ndcg(own: dict[int, int] | None) -> float:
        evaluator = QueriesEvaluator(
            "validation",
            lambda ids, role: np.array([vectors[row] for row in ids.tolist()], dtype=np.float32),
            {20: {10: 1}},
            np.arange(12),
            "cosine",
            own=own,
        )
        return evaluator(None)["validation_ndcg@10"]  # type: ignore[arg-type]

    assert ndcg(None) == 0
    assert ndcg({20: 0}) == pytest.approx(1 / np.log2(11))


def steps_until_the_end(tmp_path: Path, scores: list[float], patience: int) -> int:
    """How many evaluations with these scores are made; the Trainer logs each before it is told to the callbacks."""
    best = BestCheckpoint(nn.Linear(2, 2), tmp_path / "best", METRIC, patience)
    arguments = TrainingArguments(output_dir="unused", use_cpu=True)
    state = TrainerState()
    for step, score in enumerate(scores):
        state.global_step = step
        state.log_history.append({f"eval_{METRIC}": score, "step": step})
        control = best.on_evaluate(arguments, state, TrainerControl(), metrics={f"eval_{METRIC}": score})
        if control.should_training_stop:
            return step + 1
    return len(scores) + 1


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5], 3),
        ([0.3, 0.5, 0.5, 0.5, 0.5], 4),
        ([0.5, 0.4, 0.5, 0.6, 0.6], 3),
        ([0.5, 0.4, 0.6, 0.5, 0.6], 5),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 3),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 6),
    ],
)
def test_patience_ends_a_run_after_two_evaluations_without_a_gain(
    tmp_path: Path, scores: list[float], expected: int
) -> None:
    """A score equal to the best is no gain."""
    assert steps_until_the_end(tmp_path, scores, patience=2) == expected


def test_a_score_of_nought_is_kept_where_there_is_no_better_one(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    best = BestCheckpoint(model, tmp_path / "best", METRIC)
    for step in range(3):
        nn.init.constant_(model.weight, step)
        evaluated(best, step, 0.0)
    assert best.restore() == {"score": 0.0, "step": 0}
    assert (model.weight == 0).all()


def scores_of(
    queries: list[list[float]], passages: list[list[float]], relevance: dict[int, dict[int, int]], similarity: Any
) -> dict[str, float]:
    """Of passages with ids from 0 and queries with ids from 100; a text in the other's role has another vector."""
    vectors = {"passage": np.array(passages, dtype=np.float32), "query": np.array(queries, dtype=np.float32)}
    first = {"passage": 0, "query": 100}

    def embed(ids: np.ndarray, role: str) -> np.ndarray:
        places = ids - first[role]
        assert (places >= 0).all(), "a query was embedded as a passage"
        return vectors[role][places]

    evaluator = QueriesEvaluator("dev", embed, relevance, np.arange(len(passages)), similarity)
    return evaluator(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("similarity", "nearest"), [("cosine", 0), ("dot", 1), ("euclidean", 2)])
def test_dev_queries_are_ranked_by_the_models_similarity(similarity: str, nearest: int) -> None:
    passages = [[5.0, 0.0], [9.0, 9.0], [0.9, 0.3]]
    for passage in range(3):
        found = scores_of([[1.0, 0.0]], passages, {100: {passage: 1}}, similarity)
        assert (found["dev_ndcg@10"] == 1) == (passage == nearest)


def test_dev_measures_look_ten_deep_and_count_grades() -> None:
    """Passage p stands at rank p + 1 for the only query."""
    passages = [[1.0, 0.1 * place] for place in range(12)]
    for passage, expected in ((0, 1.0), (9, 1 / np.log2(11)), (10, 0.0)):
        assert scores_of([[1.0, 0.0]], passages, {100: {passage: 1}}, "cosine")["dev_ndcg@10"] == pytest.approx(
            expected
        )
    graded = scores_of([[1.0, 0.0]], passages, {100: {0: 1, 1: 3}}, "cosine")["dev_ndcg@10"]
    assert graded == pytest.approx((1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3)))


def test_isoscore_is_that_of_the_passages() -> None:
    passages = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3]
    queries = np.random.default_rng(1).normal(size=(20, 3))
    found = scores_of(queries.tolist(), passages.tolist(), {100 + row: {row: 1} for row in range(20)}, "dot")
    assert found["dev_isoscore"] == pytest.approx(isotropy(passages.astype(np.float32))["isoscore"])
    assert found["dev_isoscore"] != pytest.approx(isotropy(queries)["isoscore"], rel=0.05)


def measured(queries: int, passages: int, similarity: Similarity) -> tuple[dict[str, float], list[int]]:
    """An evaluation of random vectors, of which some passages' are the same; and how many texts of each role it embedded here."""
    random = np.random.default_rng(0)
    store = np.round(random.normal(size=(passages + queries, 3)), 1).astype(np.float32)
    store[: passages // 2] = store[0]
    relevance = {passages + row: {int(random.integers(passages)): 1} for row in range(queries)}
    embedded = {"query": 0, "passage": 0}

    def vectors(ids: np.ndarray, role: Role) -> np.ndarray:
        embedded[role] += len(ids)
        return store[ids]

    evaluator = QueriesEvaluator("dev", vectors, relevance, np.arange(passages), similarity)
    return evaluator(None), list(embedded.values())  # type: ignore[arg-type]


def all_measured() -> list[tuple[dict[str, float], list[int]]]:
    return [measured(*pool, similarity) for pool in POOLS for similarity in get_args(Similarity)]


@pytest.mark.engine
def test_three_ranks_share_the_work_and_all_get_the_answer_of_one() -> None:
    """C14: what each embeds, it also searches."""
    ranks = run_in_processes(all_measured, 3)
    for place, (expected, everything) in enumerate(all_measured()):
        found = [rank[place][0] for rank in ranks]
        shares = np.array([rank[place][1] for rank in ranks])
        assert shares.sum(axis=0).tolist() == everything
        assert (shares.max(axis=0) - shares.min(axis=0) <= 1).all()
        isoscores = [scores.pop("dev_isoscore") for scores in found]
        assert isoscores == pytest.approx([expected.pop("dev_isoscore")] * 3, abs=1e-12)
        assert found == [expected] * 3
