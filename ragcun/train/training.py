"""One training run: model, loss, batches and selection, put together and run by the Trainer."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from ragcun.data.pairs import PreparedPairs
from ragcun.params import Dtype, Similarity, Training
from ragcun.train.batches import BatchCollator, GlobalBatches
from ragcun.train.learning_rates import Pace, parameter_groups
from ragcun.train.loss import RetrievalLoss
from ragcun.train.selection import BestCheckpoint, QueriesEvaluator
from ragcun.train.trainee import Trainee
from ragcun.train.trainer import Trainer, TrainingResult, training_arguments
from ragcun.train.validation import Validation

logger = logging.getLogger(__name__)

# What torch calls processors that have no arithmetic in bfloat16.
_WITHOUT_BFLOAT16 = ("DEFAULT", "NO AVX", "AVX2")


def train(
    trainee: Trainee,
    pairs: PreparedPairs,
    *,
    similarity: Similarity,
    settings: Training,
    paces: Mapping[str, Pace],
    seed: int,
    work: Path,
    layer_decay: float = 1.0,
    validation: Validation | None = None,
    trackers: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train a model in place on the training pairs, and leave it with the best of its weights on held-out queries.

    Args:
        paces: learning rates by group, `projection` and, where the base trains, `base`.
        work: a folder outside the outputs for checkpoints; a run that was interrupted goes on from the last one
            there. It is left for the caller to remove, once the model is saved.
        layer_decay: of the base's learning rate, from one layer to the one below.
        validation: a benchmark's dev queries, scored beside the pairs'; the trainee knows its texts.
        trackers: what else is told the figures of the run.

    Raises:
        RagcunError: the batch is larger than the data, the loss is not finite, or what decides the best is not measured.
        SystemExit: the process was told to end; a checkpoint was written first.
    """
    warn_where_slow(settings.dtype)
    loss = RetrievalLoss(
        trainee.model,
        similarity=similarity,
        temperature=settings.temperature,
        isotropy_weight=settings.isotropy_weight,
        isotropy_directions=settings.isotropy_directions,
    )
    batches = plan_batches(pairs, settings, seed)
    evaluators = [dev_evaluator(trainee, pairs, similarity, settings, seed)]
    if validation is not None:
        evaluators.append(validation_evaluator(trainee, validation, similarity, settings, seed))
    shown = ["dev_ndcg@10", "dev_isoscore", *(["validation_ndcg@10"] if validation else []), settings.metric_for_best]
    trainer = Trainer(
        model=trainee.model,
        args=training_arguments(settings, steps=len(batches), seed=seed, work=work),
        batches=batches,
        groups=parameter_groups(trainee, paces, layer_decay),
        best=BestCheckpoint(trainee.model, work / "best", settings.metric_for_best, settings.patience),
        measures=list(dict.fromkeys(shown)),
        loss=loss,
        evaluator=evaluators,
        data_collator=BatchCollator(trainee.load, pairs.known_positives),
        callbacks=list(trackers),
    )
    return trainer.run()


def warn_where_slow(dtype: Dtype) -> None:
    """Warn where this machine only emulates the dtype."""
    emulated = torch.backends.cpu.get_cpu_capability() in _WITHOUT_BFLOAT16
    if dtype == "bfloat16" and emulated and not torch.cuda.is_available():
        logger.warning(
            "this processor has no bfloat16 arithmetic, and torch emulates it: a step may take many times as long as in "
            "float32. Set dtype: float32 in params.yaml for this run"
        )


def plan_batches(pairs: PreparedPairs, settings: Training, seed: int) -> GlobalBatches:
    """The run's batches, of all training pairs or of as many as the settings bound them to, drawn by the seed."""
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


def dev_evaluator(
    trainee: Trainee, pairs: PreparedPairs, similarity: Similarity, settings: Training, seed: int
) -> QueriesEvaluator:
    """The pairs' dev queries over all passages; or, where the settings bound them, over a part of both."""
    relevance = {
        int(query): dict.fromkeys(pairs.known_positives[int(query)], 1) for query in pairs.dev["query"].unique()
    }
    kept, pool = evaluation_pool(relevance, pairs.passage_ids, settings, seed)
    return QueriesEvaluator("dev", trainee.vectors, kept, pool, similarity)


def validation_evaluator(
    trainee: Trainee, validation: Validation, similarity: Similarity, settings: Training, seed: int
) -> QueriesEvaluator:
    """The validation queries over its corpus, bounded like the pairs' own."""
    relevance, pool = evaluation_pool(validation.relevance, validation.passage_ids, settings, seed)
    return QueriesEvaluator("validation", trainee.vectors, relevance, pool, similarity, own=validation.own)


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
