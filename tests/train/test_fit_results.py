"""What a run says of itself: the mean losses of its curve, the pool it is judged on, and what its settings decide."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ragcun.data.pairs import PreparedPairs
from ragcun.params import Training
from ragcun.train.batches import plan_batches
from ragcun.train.loss import RetrievalLoss
from ragcun.train.run import fit
from ragcun.train.selection import dev_evaluator, evaluation_pool
from ragcun.train.trainee import FrozenTrainee
from ragcun.train.trainer import Trainer
from tests.small_run import SETTINGS, paces, recipe
from tests.train.test_fit import encoder_on, parameters, problem, run


def test_a_rows_losses_are_the_means_of_the_steps_since_the_row_before(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[dict[str, float]] = []
    forward = RetrievalLoss.forward

    def noting(self: RetrievalLoss, *args: Any) -> dict[str, Tensor]:
        found = forward(self, *args)
        parts.append({name: part.item() for name, part in found.items()})
        return found

    monkeypatch.setattr(RetrievalLoss, "forward", noting)
    curve = run(encoder_on(tiny_base), tmp_path / "work", evaluations=3).curve
    assert curve["step"].tolist() == [0, 3, 6, 8]
    steps = pd.DataFrame(parts)
    assert steps["contrastive"].std() > 0.01, "vacuous"
    for before, row in zip(curve["step"], curve.iloc[1:].itertuples(), strict=False):
        means = steps.iloc[before : row.step].mean()
        assert (row.contrastive, row.isotropy) == pytest.approx((means["contrastive"], means["isotropy"]), rel=1e-6)
        assert row.loss == pytest.approx(means.sum(), rel=1e-6)


def test_a_run_whose_every_score_is_nought_returns_what_it_began_with(tiny_base: Path, tmp_path: Path) -> None:
    """Each dev query is opposite to its answer, which therefore comes last."""
    pairs, store = problem()
    store[pairs.dev["query"]] = -store[pairs.dev["positive"]]
    encoder = encoder_on(tiny_base)
    before = parameters(encoder)
    result = fit(
        FrozenTrainee(encoder, store),
        pairs,
        recipe(SETTINGS.model_copy(update={"batch_size": 16, "epochs": 1, "evaluations": 2}), paces(projection=1e-4)),
        similarity="cosine",
        seed=1,
        work=tmp_path / "work",
    )
    assert result.curve["dev_ndcg@10"].tolist() == [0, 0, 0]
    assert (result.best_step, result.best_score) == (0, 0)
    assert all(torch.equal(value, before[name]) for name, value in parameters(encoder).items())


# --- The pool of an evaluation ----------------------------------------------------------------------------------------

# Six queries, each with two judged passages among 100 … 139; one judgement is of grade 0.
RELEVANCE = {query: {100 + 3 * query: 2, 120 + query: query % 2} for query in range(6)}
POOL = np.arange(100, 140)


def bounded(queries: int | None, passages: int | None, seed: int = 1) -> tuple[dict[int, Any], list[int]]:
    settings = SETTINGS.model_copy(update={"dev_queries": queries, "dev_passages": passages})
    kept, pool = evaluation_pool(RELEVANCE, POOL, settings, seed)
    return kept, pool.tolist()


def test_an_evaluation_without_bounds_is_of_all() -> None:
    assert bounded(None, None) == (RELEVANCE, POOL.tolist())
    assert bounded(100, 100) == (RELEVANCE, POOL.tolist())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("passages", [2, 4, 6, 7, 20, None])
def test_a_bounded_evaluation_keeps_every_judged_passage_of_its_queries(passages: int | None, seed: int) -> None:
    kept, pool = bounded(3, passages, seed)
    assert len(kept) == 3
    assert kept == {query: RELEVANCE[query] for query in kept}
    answers = {passage for judged in kept.values() for passage in judged}
    assert answers <= set(pool)
    assert len(pool) == max(len(answers), passages or len(POOL))
    assert pool == sorted(set(pool))
    assert set(pool) <= set(POOL.tolist())


def test_the_bounds_draw_by_the_seed() -> None:
    assert bounded(3, 12) == bounded(3, 12)
    drawn = [bounded(3, 12, seed) for seed in range(5)]
    assert len({tuple(kept) for kept, _ in drawn}) > 1
    assert len({tuple(bounded(None, 20, seed)[1]) for seed in range(5)}) == 5


def test_the_dev_queries_are_judged_by_all_their_answers(tiny_base: Path) -> None:
    """An answer that the pairs give in two rows counts once, and two answers both count; training's are no queries."""
    pairs, store = problem()
    first = int(pairs.dev["query"].iloc[0])
    more = pd.DataFrame({"query": [first], "positive": [3], "negatives": [np.array([], dtype=np.int64)]})
    both = pd.concat([pairs.dev, more, more], ignore_index=True)
    pairs = dataclasses.replace(pairs, dev=both)
    settings = SETTINGS.model_copy(update={"dev_queries": None, "dev_passages": 2})
    found = dev_evaluator(FrozenTrainee(encoder_on(tiny_base), store).vectors, pairs, "cosine", settings, 1)
    assert found.queries.tolist() == sorted(pairs.dev["query"].unique())
    assert found.qrels[str(first)] == {str(first - 80): 1, "3": 1}
    assert found.passages.tolist() == sorted({3, *pairs.dev["positive"]})


# --- What the settings decide -----------------------------------------------------------------------------------------


def test_the_settings_reach_the_loss_the_batches_and_the_selection(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Trainer] = []
    monkeypatch.setattr(Trainer, "run", lambda self: made.append(self))
    settings = Training(
        epochs=3,
        batch_size=11,
        negatives=1,
        store_negatives=4,
        temperature=0.037,
        isotropy_weight=0.3,
        isotropy_directions=7,
        schedule="cosine",
        warmup_ratio=0.2,
        weight_decay=0.013,
        max_grad_norm=0.6,
        evaluations=4,
        patience=3,
        metric_for_best="dev_mrr@10",
    )
    pairs, store = problem()
    fit(
        FrozenTrainee(encoder_on(tiny_base), store),
        pairs,
        recipe(settings, paces(projection=1e-3)),
        similarity="dot",
        seed=5,
        work=tmp_path / "work",
    )
    (trainer,) = made
    loss = trainer.loss
    assert isinstance(loss, RetrievalLoss)
    assert (loss.similarity, loss.temperature) == ("dot", 0.037)
    assert (loss.isotropy_weight, loss.isotropy_directions) == (0.3, 7)
    assert (trainer.best.metric, trainer.best.patience) == ("dev_mrr@10", 3)
    assert (trainer.args.weight_decay, trainer.args.max_grad_norm, trainer.args.max_steps) == (0.013, 0.6, 18)
    batches = trainer.batches
    assert (batches.batch_size, batches.epochs, batches.seed) == (11, 3, 5)
    assert (batches.hard, batches.store_negatives) == (1, 4)


def planned(pairs: PreparedPairs, seed: int, most: int | None) -> list[tuple[int, int, list[int]]]:
    settings = SETTINGS.model_copy(update={"max_pairs": most, "batch_size": 5})
    plan = plan_batches(pairs, settings, seed)
    return [
        (int(query), int(positive), negatives.tolist())
        for query, positive, negatives in zip(plan.queries, plan.positives, plan.negatives, strict=True)
    ]


def test_bounded_pairs_are_drawn_by_the_seed_and_stay_whole() -> None:
    pairs, _ = problem()
    everything = planned(pairs, 1, None)
    assert len(everything) == len(pairs.train)
    assert planned(pairs, 1, len(everything)) == everything
    drawn = [planned(pairs, seed, 20) for seed in (1, 2)]
    assert drawn[0] == planned(pairs, 1, 20)
    assert drawn[0] != drawn[1]
    for rows in drawn:
        assert len(rows) == 20
        assert rows == [row for row in everything if row in rows], "in the order of the pairs' file"
        assert rows != everything[:20]


def test_dev_queries_are_ranked_over_dev_passages_that_answer_none(tiny_base: Path) -> None:
    pairs, store = problem()
    pairs = dataclasses.replace(pairs, dev=pairs.dev[5:])
    settings = SETTINGS.model_copy(update={"dev_queries": 3, "dev_passages": None})
    found = dev_evaluator(FrozenTrainee(encoder_on(tiny_base), store).vectors, pairs, "cosine", settings, 1)
    assert len(found.queries) == 3
    assert found.passages.tolist() == list(range(80))
