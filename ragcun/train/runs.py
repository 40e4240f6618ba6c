"""The training stages' work: a model as training starts from it, trained on pairs, saved.

Checkpoints of a run lie in the user's cache folder under a hash of everything that decides the result, so that an
interrupted run goes on and a run with other settings or data never continues it.
"""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_file, atomic_folder, cache_folder, hash_files
from ragcun.data.pairs import PreparedPairs, read_pairs
from ragcun.encode.base import load_base, texts_cut_at
from ragcun.encode.embeddings import TextEncoder, Texts, read_embeddings, scratch_folder, write_embeddings
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Params, Similarity, Training
from ragcun.train.card import write_model_card
from ragcun.train.initial import check_store, deciding, start
from ragcun.train.learning_rates import Pace
from ragcun.train.tracking import trackers
from ragcun.train.trainee import FrozenTrainee, LiveTrainee, Trainee
from ragcun.train.training import train
from ragcun.train.validation import Validation, read_validation

logger = logging.getLogger(__name__)

Task = Literal["finetune", "pretrain"]


@dataclass(frozen=True)
class Run:
    """What one training stage does: from which model, on which task's pairs, with which settings and learning rates."""

    name: str
    init: Path
    task: Task
    settings: Training
    paces: dict[str, Pace]
    freeze_base: bool
    # The rest is of a run with a base that trains.
    freeze_layers: int = 0
    layer_decay: float = 1.0
    # Tokens of a text, texts in a forward pass, and whether the pass is made again for its gradients.
    max_length: int | None = None
    forward_size: int = 1
    cache_gradients: bool = False

    def decides(self) -> dict[str, Any]:
        """Of these, what decides the result, as JSON; the model to start from is not named but hashed by others."""
        own = dataclasses.asdict(dataclasses.replace(self, settings=None))  # type: ignore[arg-type]
        return {name: value for name, value in own.items() if name not in ("init", "settings", "cache_gradients")}


def pretrain_run(params: Params, init: Path) -> Run:
    """Unsupervised pretraining: always on a frozen base."""
    settings = params.pretrain
    paces = {"projection": Pace(settings.projection_learning_rate, settings.schedule, settings.warmup_ratio)}
    return Run("pretrain", init, "pretrain", settings, paces, freeze_base=True)


def finetune_run(params: Params, strategy: str, init: Path, *, freeze_base: bool) -> Run:
    """A strategy's fine-tuning. Raises RagcunError where params.yaml has no such strategy."""
    own = params.finetune.strategy(strategy)
    settings = params.finetune.training(live=not freeze_base)
    paces = {"projection": Pace(own.projection_learning_rate, settings.schedule, settings.warmup_ratio)}
    if freeze_base:
        return Run(strategy, init, "finetune", settings, paces, freeze_base=True)
    if own.base_learning_rate is None:
        raise RagcunError(f"finetune.{strategy}.base_learning_rate is missing: a base that trains needs its own")
    paces["base"] = Pace(
        own.base_learning_rate,
        own.base_schedule or settings.schedule,
        settings.warmup_ratio if own.base_warmup_ratio is None else own.base_warmup_ratio,
        begin=own.unfreeze_after,
    )
    live = params.finetune.live
    return Run(
        strategy,
        init,
        "finetune",
        settings,
        paces,
        freeze_base=False,
        freeze_layers=own.freeze_layers,
        layer_decay=own.layer_decay,
        max_length=live.max_length,
        forward_size=live.forward_size,
        cache_gradients=live.cache_gradients,
    )


def execute(
    run: Run,
    params: Params,
    *,
    pairs_folder: Path,
    store_folder: Path,
    validation_folder: Path,
    model_folder: Path,
    curve_file: Path,
) -> None:
    """Train, and write the model and its curve. All ranks together.

    Args:
        pairs_folder, store_folder: hold a folder a task: its pairs, and the base's vectors of their texts.
        validation_folder: holds what `download@validation` wrote.

    Raises:
        RagcunError: the store was not made with the base of `run.init`, its projection has another dimension than
            `output_dim`, the batch is larger than the data, or the loss is not finite.
    """
    pairs = read_pairs(pairs_folder / run.task)
    stored = read_embeddings(store_folder / run.task)
    encoder = start(
        params,
        run.init,
        pairs_folder=pairs_folder,
        store_folder=store_folder,
        freeze_base=run.freeze_base,
        freeze_layers=run.freeze_layers,
    )
    check_store(store_folder / run.task, stored, encoder, params)
    decides = {
        "params": deciding(params),
        "run": run.decides(),
        "settings": run.settings.model_dump(mode="json"),
        "init": hash_files(run.init, run.init.rglob("*.safetensors")),
        "store": stored.manifest,
        # Whatever the task, the projection starts from fine-tuning's passages.
        "vectors": hash_files(
            store_folder, [file for name in (run.task, "finetune") for file in (store_folder / name).iterdir()]
        ),
        "pairs": hash_files(
            pairs_folder, [*(pairs_folder / run.task).iterdir(), pairs_folder / "finetune/texts.parquet"]
        ),
        "validation": hash_files(validation_folder, (path for path in validation_folder.rglob("*") if path.is_file())),
    }
    work = work_folder(run.name, decides)
    similarity: Similarity = encoder.similarity_fn_name  # type: ignore[assignment]
    validation = read_validation(validation_folder, first_id=len(pairs.texts))
    with trainee_of(run, encoder, pairs, stored.arrays["texts"], validation, params) as trainee:
        result = train(
            trainee,
            pairs,
            similarity=similarity,
            settings=run.settings,
            paces=run.paces,
            seed=params.seed,
            work=work,
            layer_decay=run.layer_decay,
            validation=validation,
            trackers=trackers(params.tracking, run.name),
        )
    # Where one rank fails, none of the outputs is written.
    distributed.barrier()
    if distributed.is_main():
        logger.info(
            "%s: best %s %.4f at step %d", run.name, run.settings.metric_for_best, result.best_score, result.best_step
        )
        with atomic_folder(model_folder) as partial:
            encoder.save(str(partial), create_model_card=False)
            write_model_card(partial, encoder, name=run.name, settings=decides)
        with atomic_file(curve_file) as partial:
            result.curve.to_csv(partial, sep="\t", index=False, float_format="%.6g")
        shutil.rmtree(work)
    distributed.barrier()


@contextmanager
def trainee_of(
    run: Run,
    encoder: IsotropicGaussianEncoder,
    pairs: PreparedPairs,
    store: np.ndarray,
    validation: Validation | None,
    params: Params,
) -> Iterator[Trainee]:
    """The encoder in the shape it trains in; a live one reads shorter texts for the time of the block."""
    if run.freeze_base:
        with base_vectors(validation, run.init, params) as beyond:
            yield FrozenTrainee(encoder, store, beyond)
        return
    texts = pairs.texts["text"].tolist() + ([*validation.passages, *validation.queries] if validation else [])
    with texts_cut_at(encoder, run.max_length):
        yield LiveTrainee(
            encoder, texts, chunk=run.forward_size, dtype=run.settings.dtype, cache_gradients=run.cache_gradients
        )


@contextmanager
def base_vectors(validation: Validation | None, init: Path, params: Params) -> Iterator[np.ndarray | None]:
    """The base's vectors (n, d) of the validation's passages and queries, for the time of the block."""
    if validation is None:
        yield None
        return
    passages, queries = Texts.of(validation.passages, "passage"), Texts.of(validation.queries, "query")
    texts = Texts([*passages.texts, *queries.texts], [*passages.roles, *queries.roles])
    encoder = TextEncoder.of(load_base(str(init), device=str(distributed.device())), params.embed)
    with scratch_folder() as scratch:
        write_embeddings(scratch / "validation", encoder, {"texts": texts})
        yield read_embeddings(scratch / "validation").arrays["texts"]


def work_folder(name: str, decides: object) -> Path:
    """Where the checkpoints of the run that `decides` describes lie, on every rank."""
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "checkpoints" / f"{name}-{digest[:32]}"
