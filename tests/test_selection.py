"""The best checkpoint: only better scores replace it, it survives an interruption, and it is read back strictly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from ragcun.errors import RagcunError
from ragcun.selection import BestCheckpoint, QueriesEvaluator

METRIC = "dev_ndcg@10"


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
