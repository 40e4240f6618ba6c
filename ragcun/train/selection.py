"""Chooses the checkpoint that a run returns: the best on held-out queries; step 0 is a candidate.

The held-out queries are the pairs' dev queries, ranked over the passages of data/pairs, and the dev queries of
`data.validation`, where it names a benchmark; never a test split. The best weights are kept in a file of their own and read back
strictly: a failed read is an error, not silently the last weights.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.model import BaseModel
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder
from ragcun.data.pairs import PreparedPairs
from ragcun.measure.isotropy import isotropy_of_shards
from ragcun.measure.ranking import best_others, mean_scores, score_queries
from ragcun.params import Role, Similarity, Training
from ragcun.search import exact
from ragcun.train.validation import Validation

# From text ids and their role to what the model in training gives for them, (n, D) float32.
Vectors = Callable[[np.ndarray, Role], np.ndarray]

_DEPTH = 10
_WEIGHTS, _RECORD = "model.safetensors", "best.json"


class QueriesEvaluator(BaseEvaluator):
    """Scores queries over a pool of passages: `<name>_ndcg@10`, the other measures at 10, and the pool's IsoScore.

    Every rank calls it and gets the same answer. Each embeds its shard of the queries and of the passages, and searches its
    passages for all queries; what travels is the queries' vectors, the best hits of each shard, and sums.

    Args:
        name: of the queries: `dev`, or `validation`.
        vectors: from text ids and their role to what the model in training gives for them, (n, D) float32.
        relevance: for each query's text id, the relevance of its passages by their ids.
        passages: text ids of the candidates.
        own: for a query's text id, the id of the passage that the query is, which is no result.
    """

    def __init__(
        self,
        name: str,
        vectors: Vectors,
        relevance: Mapping[int, Mapping[int, int]],
        passages: np.ndarray,
        similarity: Similarity,
        *,
        own: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.own = {str(query): str(passage) for query, passage in (own or {}).items()}
        self.name, self.vectors, self.passages, self.similarity = name, vectors, passages, similarity
        self.queries = np.array(sorted(relevance))
        self.qrels = {str(q): {str(passage): grade for passage, grade in relevance[q].items()} for q in relevance}

    def __call__(
        self, model: BaseModel, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        mine = self.passages[distributed.shard(len(self.passages))]
        queries = self._query_vectors()
        passages = self.vectors(mine, "passage") if len(mine) else queries[:0]
        hits = exact.merge(distributed.gather_objects(self._search(queries, passages, mine)), self._depth)
        run = best_others(hits.to_run([str(row) for row in self.queries]), self.own, _DEPTH)
        scores = score_queries(self.qrels, run, cutoffs=(_DEPTH,))
        measured = {**mean_scores(scores), "isoscore": isotropy_of_shards(passages)["isoscore"]}
        return {f"{self.name}_{measure}": value for measure, value in measured.items()}

    @property
    def _depth(self) -> int:
        """How many passages to retrieve for a query: one more where its own is left out afterwards."""
        return _DEPTH + bool(self.own)

    def _query_vectors(self) -> np.ndarray:
        """All queries' vectors, of which each rank embeds its shard."""
        mine = self.queries[distributed.shard(len(self.queries))]
        parts = distributed.gather_objects(self.vectors(mine, "query") if len(mine) else None)
        return np.concatenate([part for part in parts if part is not None])

    def _search(self, queries: np.ndarray, passages: np.ndarray, ids: np.ndarray) -> exact.Hits:
        if len(ids) == 0:
            return exact.Hits([[] for _ in queries], [np.empty(0, dtype=np.float32) for _ in queries])
        names = [str(row) for row in ids]
        return exact.search(queries, passages, names, self._depth, self.similarity, device=distributed.device())


def dev_evaluator(
    vectors: Vectors, pairs: PreparedPairs, similarity: Similarity, settings: Training, seed: int
) -> QueriesEvaluator:
    """The pairs' dev queries over all passages; or, where the settings bound them, over a part of both."""
    relevance = {
        int(query): dict.fromkeys(pairs.known_positives[int(query)], 1) for query in pairs.dev["query"].unique()
    }
    kept, pool = evaluation_pool(relevance, pairs.passage_ids, settings, seed)
    return QueriesEvaluator("dev", vectors, kept, pool, similarity)


def validation_evaluator(
    vectors: Vectors, validation: Validation, similarity: Similarity, settings: Training, seed: int
) -> QueriesEvaluator:
    """The validation queries over its corpus, bounded like the pairs' own."""
    relevance, pool = evaluation_pool(validation.relevance, validation.passage_ids, settings, seed)
    return QueriesEvaluator("validation", vectors, relevance, pool, similarity, own=validation.own)


def evaluation_pool(
    relevance: Mapping[int, Mapping[int, int]], passages: np.ndarray, settings: Training, seed: int
) -> tuple[dict[int, Mapping[int, int]], np.ndarray]:
    """Queries and candidates of an evaluation: all, or a part drawn by the seed, with every judged passage of its queries."""
    random = np.random.default_rng(seed)
    queries = np.sort(random.permutation(list(relevance))[: settings.dev_queries])
    kept = {int(query): relevance[int(query)] for query in queries}
    answers = np.unique([passage for judged in kept.values() for passage in judged])
    others = random.permutation(np.setdiff1d(passages, answers))
    if settings.dev_passages is not None:
        others = others[: max(0, settings.dev_passages - len(answers))]
    return kept, np.sort(np.concatenate([answers, others]))


class BestCheckpoint(TrainerCallback):
    """Keeps the best weights so far in a folder, across interruptions, and ends a run that no longer improves.

    Args:
        trained: its trainable parameters are kept.
        folder: where they are kept; an earlier record there is continued.
        metric: the measure that decides; higher is better.
        patience: evaluations after the best one, at which the run ends; None lets it run to its end.
    """

    def __init__(self, trained: nn.Module, folder: Path, metric: str, patience: int | None = None) -> None:
        self.trained, self.folder, self.metric, self.patience = trained, folder, metric, patience

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> TrainerControl:
        measured = metrics or {}
        if f"eval_{self.metric}" not in measured:
            known = ", ".join(name.removeprefix("eval_") for name in measured if "@" in name)
            raise RagcunError(f"metric_for_best is {self.metric}, which is not measured: name one of {known}")
        score = measured[f"eval_{self.metric}"]
        if distributed.is_main() and score > self.record().get("score", -1.0):
            with atomic_folder(self.folder) as partial:
                weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._parameters().items()}
                save_file(weights, partial / _WEIGHTS)
                (partial / _RECORD).write_text(json.dumps({"score": score, "step": state.global_step}))
        if distributed.any_rank(distributed.is_main() and self.patience_is_out(state)):
            control.should_training_stop = True
        return control

    def patience_is_out(self, state: TrainerState) -> bool:
        """Whether, by the run's log, the last `patience` evaluations were no better than the best before them."""
        if self.patience is None:
            return False
        scores = [entry[f"eval_{self.metric}"] for entry in state.log_history if f"eval_{self.metric}" in entry]
        return len(scores) > self.patience and max(scores[-self.patience :]) <= max(scores[: -self.patience])

    def record(self) -> dict[str, Any]:
        """`score` and `step` of the best evaluation so far; empty before the first."""
        path = self.folder / _RECORD
        return json.loads(path.read_text()) if path.is_file() else {}

    def restore(self) -> dict[str, Any]:
        """Put the best weights back into the model, on every rank; return their record."""
        distributed.barrier()
        weights = load_file(self.folder / _WEIGHTS)
        parameters = self._parameters()
        if weights.keys() != parameters.keys():
            raise RuntimeError(f"the best checkpoint in {self.folder} holds other parameters than the model")
        for name, parameter in parameters.items():
            parameter.data.copy_(weights[name])
        record = self.record()
        distributed.barrier()
        return record

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.trained.named_parameters() if parameter.requires_grad}
