"""The training stages' work: a model as training starts from it, trained on pairs, saved.

Checkpoints of a run lie in the user's cache folder under a hash of everything that decides the result, so that an
interrupted run goes on and a run with other settings or data never continues it.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ragcun import distributed
from ragcun.base import cut_texts_at
from ragcun.embeddings import read_embeddings
from ragcun.errors import RagcunError
from ragcun.files import atomic_file, atomic_folder, sha256_file
from ragcun.model import IsotropicGaussianEncoder
from ragcun.model_card import write_model_card
from ragcun.pairs import PreparedPairs, read_pairs
from ragcun.params import Params, Similarity, Training
from ragcun.row_cache import cache_folder
from ragcun.start import check_store, deciding, start
from ragcun.trainee import FrozenTrainee, LiveTrainee, Trainee
from ragcun.training import train

logger = logging.getLogger(__name__)

Task = Literal["finetune", "pretrain"]


@dataclass(frozen=True)
class Run:
    """What one training stage does: from which model, on which task's pairs, with which settings and peak rates."""

    name: str
    init: Path
    task: Task
    settings: Training
    rates: dict[str, float]
    freeze_base: bool
    freeze_layers: int = 0
    # Of a run with a base that trains: tokens of a text, and texts in a forward pass.
    max_length: int | None = None
    forward_size: int = 1


def pretrain_run(params: Params, init: Path) -> Run:
    """Unsupervised pretraining: always on a frozen base."""
    rates = {"projection": params.pretrain.projection_learning_rate}
    return Run("pretrain", init, "pretrain", params.pretrain, rates, freeze_base=True)


def finetune_run(params: Params, strategy: str, init: Path, *, freeze_base: bool) -> Run:
    """A strategy's fine-tuning. Raises RagcunError where params.yaml has no such strategy."""
    own = params.finetune.strategy(strategy)
    rates = {"projection": own.projection_learning_rate}
    if freeze_base:
        return Run(strategy, init, "finetune", params.finetune.training(live=False), rates, freeze_base=True)
    if own.base_learning_rate is None:
        raise RagcunError(f"finetune.{strategy}.base_learning_rate is missing: a base that trains needs its own")
    live = params.finetune.live
    return Run(
        strategy,
        init,
        "finetune",
        params.finetune.training(live=True),
        {**rates, "base": own.base_learning_rate},
        freeze_base=False,
        freeze_layers=own.freeze_layers,
        max_length=live.max_length,
        forward_size=live.forward_size,
    )


def execute(
    run: Run, params: Params, *, pairs_folder: Path, store_folder: Path, model_folder: Path, curve_file: Path
) -> None:
    """Train, and write the model and its curve. All ranks together.

    Args:
        pairs_folder, store_folder: hold a folder a task: its pairs, and the base's vectors of their texts.

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
        "run": {name: value for name, value in vars(run).items() if name not in ("init", "settings")},
        "settings": run.settings.model_dump(mode="json"),
        "init": _hashes(run.init, run.init.rglob("*.safetensors")),
        "store": stored.manifest,
        # In every task the projection starts from fine-tuning's passages.
        "pairs": _hashes(pairs_folder, [*(pairs_folder / run.task).iterdir(), pairs_folder / "finetune/texts.parquet"]),
    }
    work = work_folder(run.name, decides)
    similarity: Similarity = encoder.similarity_fn_name  # type: ignore[assignment]
    with trainee_of(run, encoder, pairs, stored.arrays["texts"]) as trainee:
        result = train(
            trainee,
            pairs,
            similarity=similarity,
            settings=run.settings,
            rates=run.rates,
            seed=params.seed,
            work=work,
        )
    if distributed.is_main():
        logger.info("%s: best dev NDCG@10 %.4f at step %d", run.name, result.best_score, result.best_step)
        with atomic_folder(model_folder) as partial:
            encoder.save(str(partial), create_model_card=False)
            write_model_card(partial, encoder, name=run.name, settings=decides)
        with atomic_file(curve_file) as partial:
            result.curve.to_csv(partial, sep="\t", index=False, float_format="%.6g")
        shutil.rmtree(work)
    distributed.barrier()


@contextmanager
def trainee_of(
    run: Run, encoder: IsotropicGaussianEncoder, pairs: PreparedPairs, store: np.ndarray
) -> Iterator[Trainee]:
    """The encoder in the shape it trains in; a live one reads shorter texts for the time of the block."""
    if run.freeze_base:
        yield FrozenTrainee(encoder, store)
        return
    before = encoder.max_seq_length
    cut_texts_at(encoder, run.max_length)
    texts = pairs.texts["text"].tolist()
    yield LiveTrainee(encoder, texts, chunk=run.forward_size, dtype=run.settings.dtype)
    cut_texts_at(encoder, before)


def _hashes(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    # By the path from the folder on: the modules of a model have files of one name.
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(set(files))}


def work_folder(name: str, decides: object) -> Path:
    """Where the checkpoints of the run that `decides` describes lie, on every rank."""
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "checkpoints" / f"{name}-{digest[:32]}"
