"""Follow a recipe: train the model, keep its best weights, publish it with its curve.

A run's checkpoints lie in the user's cache folder under a hash of everything that decides the result. So an interrupted
run goes on, and a run with other settings or data never continues it.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from ragcun import distributed
from ragcun.core.files import atomic_file, atomic_folder, cache_folder, hash_files, write_json
from ragcun.data.pairs import PreparedPairs, read_pairs
from ragcun.encode.base import load_base, similarity_of, texts_cut_at
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.precision import computes_bfloat16
from ragcun.encode.store import Embeddings, Texts, read_embeddings, scratch_folder, write_embeddings
from ragcun.model.card import TRAINED, write_model_card
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Dtype, Params, Similarity
from ragcun.train.batches import BatchCollator, plan_batches
from ragcun.train.initial import Inputs, check_store, deciding
from ragcun.train.learning_rates import parameter_groups
from ragcun.train.loss import RetrievalLoss
from ragcun.train.recipe import Recipe
from ragcun.train.selection import BestCheckpoint, dev_evaluator, validation_evaluator
from ragcun.train.tracking import trackers
from ragcun.train.trainee import FrozenTrainee, LiveTrainee, Trainee, fast_attention
from ragcun.train.trainer import Trainer, TrainingResult, training_arguments
from ragcun.train.validation import Validation, read_validation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A run that has ended: its result, what decided it, the folder of its checkpoints, and its time since it last started."""

    result: TrainingResult
    decides: dict[str, Any]
    work: Path
    seconds: float


def train(recipe: Recipe, encoder: IsotropicGaussianEncoder, params: Params, inputs: Inputs) -> Trained:
    """Train the encoder in place as the recipe says. All ranks together.

    Raises:
        RagcunError: the store was made with another base than the encoder's, the batch is larger than the data, the loss
            is not finite, or the measure that decides the best is not measured.
        SystemExit: the process was told to end; a checkpoint was written first.
    """
    began = time.perf_counter()
    pairs = read_pairs(inputs.pairs / recipe.task)
    stored = read_embeddings(inputs.store / recipe.task)
    check_store(inputs.store / recipe.task, stored, encoder, params)
    validation = read_validation(inputs.validation, first_id=len(pairs.texts))
    decides = what_decides(recipe, params, inputs, stored)
    work = work_folder(recipe.name, decides)
    with trainee_of(recipe, encoder, pairs, stored.arrays["texts"], validation, params) as trainee:
        result = fit(
            trainee,
            pairs,
            recipe,
            similarity=similarity_of(encoder),
            seed=params.seed,
            work=work,
            validation=validation,
            trackers=trackers(params.tracking, recipe.name),
        )
    return Trained(result, decides, work, time.perf_counter() - began)


def publish(
    trained: Trained, recipe: Recipe, encoder: IsotropicGaussianEncoder, *, model_folder: Path, curve_file: Path
) -> None:
    """Write the model, its card and its curve, and remove the run's checkpoints. All ranks together."""
    # Where one rank fails, none of the outputs is written.
    distributed.barrier()
    if distributed.is_main():
        result, best = trained.result, recipe.settings.metric_for_best
        logger.info("%s: best %s %.4f at step %d", recipe.name, best, result.best_score, result.best_step)
        with atomic_folder(model_folder) as partial:
            encoder.save_finished(partial)
            groups = encoder.get_trainable_parameters().values()
            settings = {
                **trained.decides,
                "trained_parameters": sum(each.numel() for group in groups for each in group),
            }
            write_model_card(partial, encoder, name=recipe.name, about=TRAINED, settings=settings)
        with atomic_file(curve_file) as partial:
            result.curve.to_csv(partial, sep="\t", index=False, float_format="%.6g")
        shutil.rmtree(trained.work)
    distributed.barrier()


def write_time(trained: Trained, file: Path) -> None:
    """Write how long the run took and on what, beside the outputs: a time differs from run to run, so it is none of them."""
    if distributed.is_main():
        device = distributed.device()
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        write_json(file, {"seconds": round(trained.seconds, 1), "processes": distributed.world_size(), "device": kind})


def what_decides(recipe: Recipe, params: Params, inputs: Inputs, stored: Embeddings) -> dict[str, Any]:
    """Everything that decides the run's result, as JSON: params, and the hashes of the files that it reads."""
    # Whatever the task, the projection starts from fine-tuning's passages.
    vectors = [file for name in (recipe.task, "finetune") for file in (inputs.store / name).iterdir()]
    pairs = [*(inputs.pairs / recipe.task).iterdir(), inputs.pairs / "finetune/texts.parquet"]
    validation = (path for path in inputs.validation.rglob("*") if path.is_file())
    return {
        "params": deciding(params),
        "run": recipe.decides(),
        "settings": recipe.settings.model_dump(mode="json"),
        "init": hash_files(recipe.init, recipe.init.rglob("*.safetensors")),
        "store": stored.manifest,
        "vectors": hash_files(inputs.store, vectors),
        "pairs": hash_files(inputs.pairs, pairs),
        "validation": hash_files(inputs.validation, validation),
    }


def work_folder(name: str, decides: object) -> Path:
    """The folder, the same on every rank, for the checkpoints of the run that `decides` describes."""
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "checkpoints" / f"{name}-{digest[:32]}"


@contextmanager
def trainee_of(
    recipe: Recipe,
    encoder: IsotropicGaussianEncoder,
    pairs: PreparedPairs,
    store: np.ndarray,
    validation: Validation | None,
    params: Params,
) -> Iterator[Trainee]:
    """The encoder in the shape it trains in; a live one reads shorter texts for the time of the block."""
    if recipe.freeze_base:
        with base_vectors(validation, recipe.init, params) as beyond:
            yield FrozenTrainee(encoder, store, beyond)
        return
    texts = pairs.texts["text"].tolist() + ([*validation.passages, *validation.queries] if validation else [])
    with texts_cut_at(encoder, recipe.max_length), fast_attention(encoder):
        yield LiveTrainee(
            encoder,
            texts,
            chunk=recipe.forward_size,
            dtype=recipe.settings.dtype,
            cache_gradients=recipe.cache_gradients,
        )


@contextmanager
def base_vectors(validation: Validation | None, init: Path, params: Params) -> Iterator[np.ndarray | None]:
    """The base's vectors (n, d) of the validation's passages and queries, for the time of the block."""
    if validation is None:
        yield None
        return
    passages, queries = Texts.of(validation.passages, "passage"), Texts.of(validation.queries, "query")
    texts = Texts([*passages.texts, *queries.texts], [*passages.roles, *queries.roles])
    base = load_base(str(init), normalize=params.normalize_base, device=str(distributed.device()))
    encoder = TextEncoder.of(base, params.embed)
    with scratch_folder() as scratch:
        write_embeddings(scratch / "validation", encoder, {"texts": texts})
        yield read_embeddings(scratch / "validation").arrays["texts"]


def fit(
    trainee: Trainee,
    pairs: PreparedPairs,
    recipe: Recipe,
    *,
    similarity: Similarity,
    seed: int,
    work: Path,
    validation: Validation | None = None,
    trackers: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train a model in place on the training pairs, and leave it with its best weights on held-out queries.

    Args:
        work: a folder for checkpoints. An interrupted run goes on from the last one there; the caller removes it.
        validation: a benchmark's dev queries, scored beside the pairs' own; the trainee knows its texts.

    Raises as `train`.
    """
    settings = recipe.settings
    warn_where_slow(settings.dtype)
    batches = plan_batches(pairs, settings, seed)
    evaluators = [dev_evaluator(trainee.vectors, pairs, similarity, settings, seed)]
    if validation is not None:
        evaluators.append(validation_evaluator(trainee.vectors, validation, similarity, settings, seed))
    shown = ["dev_ndcg@10", "dev_isoscore", *(["validation_ndcg@10"] if validation else []), settings.metric_for_best]
    return Trainer(
        model=trainee.model,
        args=training_arguments(settings, steps=len(batches), seed=seed, work=work),
        batches=batches,
        groups=parameter_groups(trainee, recipe.paces, recipe.layer_decay),
        best=BestCheckpoint(trainee.model, work / "best", settings.metric_for_best, settings.patience),
        measures=list(dict.fromkeys(shown)),
        loss=RetrievalLoss.of(trainee.model, similarity, settings),
        evaluator=evaluators,
        data_collator=BatchCollator(trainee.load, pairs.known_positives),
        callbacks=list(trackers),
    ).run()


def warn_where_slow(dtype: Dtype) -> None:
    """Warn where this machine only emulates the dtype."""
    if dtype == "bfloat16" and not computes_bfloat16(distributed.device()):
        logger.warning(
            "this device has no bfloat16 arithmetic, and torch emulates it: a step may take many times as long as in "
            "float32. Set dtype: float32 in params.yaml for this run"
        )
