"""The global batches of a run: a pure function of the seed and the step, the same on every process.

Step s takes its pairs from the permutation of its epoch, and draws its store negatives with a generator of its own. So a
resumed run, or one on more processes, sees the same batches. Every rank plans the whole global batch; the
collator then loads only this rank's shard of its queries and of its distinct candidates. The last, incomplete batch
of an epoch is used like any other, at every world size, even where it holds one query (6,913 = 27 × 256 + 1): spreading the
remainder over the others would change every batch of every seed, and over three seeds the difference was noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.data.pairs import PreparedPairs
from ragcun.params import Role, Training

# Separate streams of random numbers for one seed.
_ORDER, _STORE, _DIRECTIONS = 0, 1, 2


@dataclass(frozen=True)
class GlobalBatch:
    """One step's work, by text ids.

    queries: (Q,), one for each pair, in the epoch's order.
    positives: (Q,), the pairs' positives.
    candidates: (C,), every distinct positive, hard negative and store negative, ascending.
    seed: for whatever else the step draws.
    """

    queries: np.ndarray
    positives: np.ndarray
    candidates: np.ndarray
    seed: int


class GlobalBatches(Dataset[GlobalBatch]):
    """The batches of a whole run, by step.

    Args:
        queries, positives: (P,) text ids of the training pairs.
        negatives: for each pair its hard negatives' ids, best first; `hard` of them are used.
        store: ids that store negatives are drawn from, `store_negatives` of them a step (all, if there are fewer).

    Raises:
        RagcunError: the batch is larger than the data.
    """

    def __init__(
        self,
        queries: np.ndarray,
        positives: np.ndarray,
        negatives: list[np.ndarray],
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        hard: int = 0,
        store: np.ndarray | None = None,
        store_negatives: int = 0,
    ) -> None:
        if batch_size > len(queries):
            raise RagcunError(
                f"batch_size is {batch_size}, but there are only {len(queries)} training pairs: "
                "lower batch_size in finetune.shared, finetune.live or pretrain, whichever this run has, or bring more pairs"
            )
        self.queries, self.positives, self.negatives = queries, positives, negatives
        self.batch_size, self.epochs, self.seed, self.hard = batch_size, epochs, seed, hard
        self.store = np.empty(0, dtype=np.int64) if store is None else store
        self.store_negatives = min(store_negatives, len(self.store))
        self.steps_per_epoch = -(-len(queries) // batch_size)

    def __len__(self) -> int:
        return self.steps_per_epoch * self.epochs

    def __getitem__(self, step: int) -> GlobalBatch:
        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.seed, _ORDER, epoch)).permutation(len(self.queries))
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        drawn = np.random.default_rng((self.seed, _STORE, step)).choice(
            self.store, size=self.store_negatives, replace=False
        )
        hard = [self.negatives[row][: self.hard] for row in rows]
        return GlobalBatch(
            queries=self.queries[rows],
            positives=self.positives[rows],
            candidates=np.unique(np.concatenate([self.positives[rows], *hard, drawn]).astype(np.int64)),
            seed=int(np.random.default_rng((self.seed, _DIRECTIONS, step)).integers(2**62)),
        )


def plan_batches(pairs: PreparedPairs, settings: Training, seed: int) -> GlobalBatches:
    """The batches of a run on the training pairs: on all, or on `max_pairs` of them, drawn by the seed."""
    frame = pairs.train
    if settings.max_pairs is not None and settings.max_pairs < len(frame):
        frame = frame.iloc[np.sort(np.random.default_rng(seed).permutation(len(frame))[: settings.max_pairs])]
    return GlobalBatches(
        frame["query"].to_numpy(),
        frame["positive"].to_numpy(),
        [np.asarray(negatives) for negatives in frame["negatives"]],
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        seed=seed,
        hard=settings.negatives,
        store=pairs.train_passage_ids,
        store_negatives=settings.store_negatives,
    )


@dataclass(frozen=True)
class Features:
    """Texts ready for the model: its input tensors in one or more chunks, and where each row belongs.

    chunks: each the input of one forward pass: tensors, and the task by which a Router chooses its route.
    order: (n,) row of the concatenated chunks' embeddings for each text; shorter than the chunks where these hold a
        row that only keeps a pass from being empty.
    """

    chunks: list[Mapping[str, Any]]
    order: Tensor


class Targets(TypedDict):
    """What the loss needs besides the embeddings.

    queries, candidates: their numbers in the global batch.
    query_chunks: how many of this rank's chunks are queries; the others are candidates.
    query_order, candidate_order: the row of the chunks' embeddings for each of this rank's texts.
    target: (Q,), each of this rank's queries' own positive among all candidates.
    masked: (Q, C) booleans: known positives of a query that are not its target.
    seed: for the random directions.
    """

    queries: int
    candidates: int
    query_chunks: int
    query_order: Tensor
    candidate_order: Tensor
    target: Tensor
    masked: Tensor
    seed: int


class BatchCollator:
    """Makes this rank's share of a global batch: features to embed, targets and masks.

    Args:
        load: from text ids and their role (`query` or `passage`) to features.
        known_positives: the right passages of each query; all but its target are masked.
    """

    # SentenceTransformerTrainer reads this of its collators.
    valid_label_columns: tuple[str, ...] = ("label",)

    def __init__(
        self,
        load: Callable[[np.ndarray, Role], Features],
        known_positives: Mapping[int, frozenset[int]],
    ) -> None:
        self.load = load
        self.known_positives = known_positives

    def __call__(self, batches: list[GlobalBatch]) -> dict[str, Any]:
        (batch,) = batches  # the loader's "rows" are whole batches, one at a time
        mine = distributed.shard(len(batch.queries))
        queries, positives = batch.queries[mine], batch.positives[mine]
        query = self.load(queries, "query")
        candidate = self.load(batch.candidates[distributed.shard(len(batch.candidates))], "passage")
        label: Targets = {
            "queries": len(batch.queries),
            "candidates": len(batch.candidates),
            "query_chunks": len(query.chunks),
            "query_order": query.order,
            "candidate_order": candidate.order,
            "target": torch.from_numpy(np.searchsorted(batch.candidates, positives)),
            "masked": torch.from_numpy(self._masked(queries, positives, batch.candidates)),
            "seed": batch.seed,
        }
        # The Trainer tells one forward pass's tensors from the next by their names' prefixes, in order.
        flat = {
            f"{place}_{key}": tensor
            for place, chunk in enumerate([*query.chunks, *candidate.chunks])
            for key, tensor in chunk.items()
        }
        return {**flat, "label": label}

    def _masked(self, queries: np.ndarray, positives: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """(Q, C): the candidates that are known to be right for the query but are not its target."""
        masked = np.zeros((len(queries), len(candidates)), dtype=bool)
        for row, (query, positive) in enumerate(zip(queries, positives, strict=True)):
            others = [known for known in self.known_positives.get(int(query), ()) if known != positive]
            masked[row] = np.isin(candidates, others)
        return masked
