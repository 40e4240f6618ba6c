"""One training run: model, loss, batches and selection, through SentenceTransformerTrainer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ragcun import distributed
from ragcun.errors import RagcunError
from ragcun.losses import RetrievalLoss
from ragcun.pairs import PreparedPairs
from ragcun.params import Similarity, Training
from ragcun.sampling import BatchCollator, GlobalBatches
from ragcun.selection import METRIC, BestCheckpoint, DevEvaluator
from ragcun.trainee import Trainee

logger = logging.getLogger(__name__)

# Of what the Trainer logs, what is logged on.
_LOGGED = {"loss", "grad_norm", "contrastive", "isotropy", "epoch", f"eval_{METRIC}", "eval_isoscore", "train_loss"}
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class TrainingResult:
    """What a run has to tell besides the model, which it trained in place.

    curve: one row for each evaluation: step, epoch, loss, dev_ndcg@10, dev_isoscore, learning rates.
    best_step, best_score: of the returned weights.
    """

    curve: pd.DataFrame
    best_step: int
    best_score: float


def train(
    trainee: Trainee,
    pairs: PreparedPairs,
    *,
    similarity: Similarity,
    settings: Training,
    rates: Mapping[str, float],
    seed: int,
    work: Path,
) -> TrainingResult:
    """Train a model in place on the training pairs, and leave it with the best of its weights on the dev pairs.

    Args:
        rates: peak learning rates by group, `projection` and, where the base trains, `base`.
        work: a folder outside the outputs for checkpoints; a run that was interrupted goes on from the last one
            there. It is left for the caller to remove, once the model is saved.

    Raises:
        RagcunError: the batch is larger than the data, or the loss is not finite.
    """
    loss = RetrievalLoss(
        trainee.model,
        similarity=similarity,
        temperature=settings.temperature,
        isotropy_weight=settings.isotropy_weight,
        isotropy_directions=settings.isotropy_directions,
    )
    batches = plan_batches(pairs, settings, seed)
    trainer = Trainer(
        model=trainee.model,
        args=training_arguments(settings, steps=len(batches), seed=seed, work=work),
        batches=batches,
        groups=parameter_groups(trainee, rates),
        loss=loss,
        evaluator=dev_evaluator(trainee, pairs, similarity, settings, seed),
        data_collator=BatchCollator(trainee.load, pairs.known_positives),
    )
    return trainer.run()


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
) -> DevEvaluator:
    """Dev queries over all passages; or, where the settings bound them, a seeded part of both with all its answers."""
    random = np.random.default_rng(seed)
    queries = np.sort(random.permutation(pairs.dev["query"].unique())[: settings.dev_queries])
    positives = {int(query): pairs.known_positives[int(query)] for query in queries}
    answers = np.unique([passage for known in positives.values() for passage in known])
    others = random.permutation(np.setdiff1d(pairs.passage_ids, answers))
    if settings.dev_passages is not None:
        others = others[: max(0, settings.dev_passages - len(answers))]
    return DevEvaluator(trainee.vectors, positives, np.sort(np.concatenate([answers, others])), similarity)


def parameter_groups(trainee: Trainee, rates: Mapping[str, float]) -> list["Group"]:
    """The model's trainable parameters as the groups `base` (where it trains) and `projection`."""
    positions = {"base": range(trainee.base_length), "projection": range(trainee.base_length, len(trainee.model))}
    groups = []
    for name, places in positions.items():
        parameters = [p for place in places for p in trainee.model[place].parameters() if p.requires_grad]
        if parameters:
            pattern = rf"^model\.({'|'.join(map(str, places))})\."
            groups.append(Group(name, pattern, parameters, rates[name]))
    return groups


@dataclass(frozen=True)
class Group:
    """Parameters that share a peak learning rate.

    pattern: of their names in the loss, anchored to modules' positions: `1.` alone would match a base's layer 1 too.
    """

    name: str
    pattern: str
    parameters: list[nn.Parameter]
    learning_rate: float


class Progress(ProgressCallback):
    """A bar over the steps, and a short line for each logged step."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            figures = " ".join(f"{name} {value:.4g}" for name, value in logs.items() if name != "epoch")
            self.training_bar.write(f"step {state.global_step}/{state.max_steps}: {figures}")


class LearningRates(TrainerCallback):
    """The rate each group was last stepped with; and the check that the groups are the optimizer's."""

    def __init__(self, groups: list[Group]) -> None:
        self.groups = groups
        self.last: dict[str, float] = {}

    def check(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Raise unless every parameter of every group, and no other, is optimized, at its group's learning rate."""
        expected = {id(parameter): group.learning_rate for group in self.groups for parameter in group.parameters}
        if optimizer is None or expected != _rates(optimizer):
            raise RuntimeError("the optimizer's parameters or learning rates are not those of the model's groups")

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        rates = _rates(kwargs["optimizer"])
        self.last = {group.name: rates[id(group.parameters[0])] for group in self.groups}


def _rates(optimizer: torch.optim.Optimizer) -> dict[int, float]:
    # A pattern matches a group's frozen parameters too; the optimizer passes over them.
    return {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"] if p.requires_grad}


def training_arguments(
    settings: Training, *, steps: int, seed: int, work: Path
) -> SentenceTransformerTrainingArguments:
    """The Trainer's arguments: evaluations and checkpoints at even distances, nothing that it would do by itself."""
    every = max(1, -(-steps // settings.evaluations))
    return SentenceTransformerTrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        # Only told to loggers: the batches are ours, and global.
        per_device_train_batch_size=-(-settings.batch_size // distributed.world_size()),
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=round(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        eval_strategy="steps",
        eval_steps=every,
        logging_strategy="steps",
        logging_steps=every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        bf16=settings.dtype == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        # The library would set it, with a warning. It has no effect: the loader is ours and drops nothing.
        dataloader_drop_last=True,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        report_to="none",
        disable_tqdm=not distributed.is_main(),
    )


def last_whole_checkpoint(work: Path) -> str | None:
    """The newest checkpoint that was written to its end: the Trainer's state is the last of its files."""
    whole = [path.parent for path in work.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}")]
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


class Trainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer on global batches that are planned by us, returning its best checkpoint."""

    def __init__(self, *, batches: GlobalBatches, groups: list[Group], **kwargs: Any) -> None:
        kwargs["args"].learning_rate_mapping = {group.pattern: group.learning_rate for group in groups}
        # The Trainer wants a dataset of its own; get_train_dataloader replaces it.
        super().__init__(train_dataset=Dataset.from_dict({"query": batches.queries}), **kwargs)
        self.batches, self.groups = batches, groups
        self.work = Path(str(self.args.output_dir))
        self.best = BestCheckpoint(self.model, self.work / "best")
        self.rates = LearningRates(groups)
        self.remove_callback(ProgressCallback if not self.args.disable_tqdm else PrinterCallback)
        self.add_callback(Progress())
        self.add_callback(self.best)
        self.add_callback(self.rates)

    def run(self) -> TrainingResult:
        """Train, resuming what was interrupted, and leave the model with its best weights."""
        self.create_optimizer()
        self.rates.check(self.optimizer)
        checkpoint = last_whole_checkpoint(self.work) if self.best.record() else None
        distributed.barrier()
        # The model as it begins is a candidate too.
        self.args.eval_on_start = checkpoint is None
        if checkpoint is not None:
            logger.info("resuming from %s", checkpoint)
        self.train(resume_from_checkpoint=checkpoint)
        record = self.best.restore()
        return TrainingResult(self._curve(), record["step"], record["score"])

    def get_train_dataloader(self) -> DataLoader:
        # Not prepared by accelerate, which would shard what is sharded already.
        return DataLoader(
            self.batches,
            batch_size=1,
            shuffle=False,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[arg-type]
        value = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value):
            raise RagcunError(
                f"the loss is {value.item()} at step {self.state.global_step + 1}, after learning rates "
                f"{self.rates.last}: lower the learning rate, or raise the temperature"
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        # The Trainer's own learning rate is that of its first group, which may hold no parameter; and it measures the
        # speed of an evaluation data set that there is not.
        logs = {key: value for key, value in logs.items() if key in _LOGGED}
        if "loss" in logs:
            logs |= {f"learning_rate_{name}": rate for name, rate in self.rates.last.items()}
        super().log(logs, *args, **kwargs)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card while training: the saved model gets one that says what this project knows."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Weights only: no model card, and no pickled arguments.
        self.model.save_pretrained(output_dir or str(self.work), create_model_card=False)

    def _curve(self) -> pd.DataFrame:
        """The Trainer's log as a table, one row for each evaluation."""
        rows: dict[int, dict[str, float]] = {}
        for entry in self.state.log_history:
            rows.setdefault(int(entry["step"]), {}).update(entry)
        measured = ["loss", "contrastive", "isotropy", *(f"learning_rate_{group.name}" for group in self.groups)]
        return pd.DataFrame(
            {
                "step": step,
                "epoch": round(step / self.batches.steps_per_epoch, 4),
                "dev_ndcg@10": row[f"eval_{METRIC}"],
                "dev_isoscore": row["eval_isoscore"],
                **{name: row.get(name) for name in measured},
            }
            for step, row in sorted(rows.items())
            if f"eval_{METRIC}" in row
        )
