"""Global batches: every pair once an epoch, the same for the same seed and step, whole at every world size."""

from typing import Any

import numpy as np
import pytest
import torch

from ragcun.core.errors import RagcunError
from ragcun.train.batches import BatchCollator, Features, GlobalBatches

PAIRS = 23


def by_id(ids: np.ndarray, role: str) -> Features:
    return Features([{"ids": torch.from_numpy(ids)}], torch.arange(len(ids)))


def batches(**changes: Any) -> GlobalBatches:
    settings: dict[str, Any] = {"batch_size": 5, "epochs": 3, "seed": 7, "store": np.arange(100, 160)} | changes
    return GlobalBatches(
        np.arange(PAIRS), 50 + np.arange(PAIRS), [np.array([90, 91, 92])[: row % 4] for row in range(PAIRS)], **settings
    )


def test_an_epoch_uses_every_pair_once_with_the_incomplete_batch() -> None:
    plan = batches()
    assert len(plan) == 3 * 5
    for epoch in range(3):
        rows = np.concatenate([plan[5 * epoch + place].queries for place in range(5)])
        assert sorted(rows) == list(range(PAIRS))
        assert len(plan[5 * epoch + 4].queries) == 3


def test_epochs_differ_and_a_step_is_a_function_of_the_seed() -> None:
    plan = batches(store_negatives=4)
    assert not np.array_equal(plan[0].queries, plan[5].queries)
    again, other = batches(store_negatives=4), batches(store_negatives=4, seed=8)
    # In another order, as a resumed run would ask.
    for step in (9, 2):
        for field in ("queries", "positives", "candidates"):
            assert np.array_equal(getattr(plan[step], field), getattr(again[step], field))
        assert plan[step].seed == again[step].seed != other[step].seed
        assert not np.array_equal(plan[step].candidates, other[step].candidates)
    assert plan[0].seed != plan[1].seed


def test_candidates_are_the_distinct_positives_negatives_and_draws() -> None:
    batch = batches(hard=2, store_negatives=10)[1]
    hard = {int(negative) for row in batch.queries for negative in [90, 91, 92][: row % 4][:2]}
    drawn = set(batch.candidates.tolist()) - set(batch.positives.tolist()) - hard
    assert hard
    assert hard <= set(batch.candidates.tolist())
    assert len(drawn) == 10
    assert drawn <= set(range(100, 160))
    assert np.array_equal(batch.candidates, np.unique(batch.candidates))


def test_store_negatives_change_with_the_step_and_stop_at_the_store() -> None:
    plan = batches(store_negatives=10)
    draws = [set(plan[step].candidates.tolist()) & set(range(100, 160)) for step in (0, 1)]
    assert draws[0] != draws[1]
    assert set(range(100, 160)) <= set(batches(store_negatives=10_000)[0].candidates.tolist())


def test_a_batch_larger_than_the_data_is_an_error() -> None:
    with pytest.raises(RagcunError, match=r"batch_size is 24.*only 23 training pairs"):
        batches(batch_size=24)


def test_there_is_no_step_past_the_end() -> None:
    with pytest.raises(IndexError):
        batches()[15]


def test_every_known_positive_but_the_target_is_masked() -> None:
    plan = batches(batch_size=PAIRS, hard=3)
    known = {query: frozenset({50 + query, 50 + (query + 1) % PAIRS, 90}) for query in range(PAIRS)}
    inputs = BatchCollator(by_id, known)([plan[0]])
    label, candidates = inputs["label"], plan[0].candidates
    for row, query in enumerate(inputs["0_ids"].tolist()):
        assert candidates[label["target"][row]] == 50 + query
        masked = set(candidates[label["masked"][row].numpy()].tolist())
        assert masked == {50 + (query + 1) % PAIRS, 90}


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_the_shards_make_up_the_batch(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches(hard=3, store_negatives=6)
    collator = BatchCollator(by_id, {})
    for step in (0, 4):
        whole = collator([plan[step]])
        monkeypatch.setenv("WORLD_SIZE", str(world_size))
        parts = []
        for rank in range(world_size):
            monkeypatch.setenv("RANK", str(rank))
            parts.append(collator([plan[step]]))
        monkeypatch.delenv("WORLD_SIZE")
        monkeypatch.delenv("RANK")
        for column in ("0_ids", "1_ids"):
            assert torch.equal(torch.cat([part[column] for part in parts]), whole[column])
        assert torch.equal(torch.cat([part["label"]["target"] for part in parts]), whole["label"]["target"])
        assert torch.equal(torch.cat([part["label"]["masked"] for part in parts]), whole["label"]["masked"])


def test_queries_and_candidates_are_loaded_in_their_roles() -> None:
    batch = batches(hard=2, store_negatives=3)[0]
    loaded: dict[str, list[int]] = {}

    def noting(ids: np.ndarray, role: str) -> Features:
        loaded[role] = ids.tolist()
        return by_id(ids, role)

    BatchCollator(noting, {})([batch])
    assert loaded == {"query": batch.queries.tolist(), "passage": batch.candidates.tolist()}


def test_the_best_hard_negatives_of_each_pair_are_used() -> None:
    plan = GlobalBatches(
        np.arange(4),
        10 + np.arange(4),
        [np.array([40 + row, 30 + row, 20 + row]) for row in range(4)],
        batch_size=2,
        epochs=1,
        seed=0,
        hard=2,
    )
    for batch in (plan[0], plan[1]):
        expected = [first + query for query in batch.queries.tolist() for first in (10, 40, 30)]
        assert batch.candidates.tolist() == sorted(expected)
