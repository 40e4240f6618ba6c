"""Which checkpoint a run returns: the one with the best NDCG@10 on the pairs' dev queries, step 0 among them.

The dev queries are ranked over all passages of data/pairs, never over a test split. The best weights are kept in a
file of their own and read back strictly: a failed read is an error, not silently the last weights.
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

from ragcun import distributed, retrieval
from ragcun.files import atomic_folder
from ragcun.isotropy import isotropy
from ragcun.metrics import mean_scores, score_queries
from ragcun.params import Role, Similarity

METRIC = "ndcg@10"
_WEIGHTS, _RECORD = "model.safetensors", "best.json"


class DevEvaluator(BaseEvaluator):
    """NDCG@10 of the dev queries over the passages, and the passages' IsoScore.

    Args:
        vectors: from text ids and their role to what the model in training gives for them, (n, D) float32.
        positives: for each dev query's text id, the ids of its relevant passages.
        passages: text ids of the candidates.
    """

    def __init__(
        self,
        vectors: Callable[[np.ndarray, Role], np.ndarray],
        positives: Mapping[int, frozenset[int]],
        passages: np.ndarray,
        similarity: Similarity,
    ) -> None:
        super().__init__()
        self.vectors, self.passages, self.similarity = vectors, passages, similarity
        self.queries = np.array(sorted(positives))
        self.qrels = {str(query): {str(passage): 1 for passage in positives[int(query)]} for query in self.queries}

    def __call__(
        self, model: BaseModel, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        passages = self.vectors(self.passages, "passage")
        hits = retrieval.search(
            self.vectors(self.queries, "query"),
            passages,
            [str(row) for row in self.passages],
            10,
            self.similarity,
            device=distributed.device(),
        )
        scores = score_queries(self.qrels, hits.to_run([str(row) for row in self.queries]), cutoffs=(10,))
        return {METRIC: mean_scores(scores)[METRIC], "isoscore": isotropy(passages)["isoscore"]}


class BestCheckpoint(TrainerCallback):
    """Keeps the weights of the best evaluation so far in a folder, across interruptions.

    Args:
        trained: what training changes: its parameters are kept.
        folder: where; a record that is there already is continued.
    """

    def __init__(self, trained: nn.Module, folder: Path) -> None:
        self.trained, self.folder = trained, folder

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        score = (metrics or {})[f"eval_{METRIC}"]
        if distributed.is_main() and score > self.record().get("score", -1.0):
            with atomic_folder(self.folder) as partial:
                weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self._parameters().items()}
                save_file(weights, partial / _WEIGHTS)
                (partial / _RECORD).write_text(json.dumps({"score": score, "step": state.global_step}))

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
