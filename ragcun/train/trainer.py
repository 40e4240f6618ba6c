"""SentenceTransformerTrainer on our global batches: groups with their own pace, exact resume, the best weights kept."""

import logging
import math
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
from transformers import PrinterCallback, ProgressCallback, TrainerState
from transformers import Trainer as TransformersTrainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

from ragcun import distributed
from ragcun.core.errors import RagcunError
from ragcun.core.files import write_json
from ragcun.encode.precision import precision
from ragcun.params import Training
from ragcun.train.batches import GlobalBatches
from ragcun.train.learning_rates import Group, learning_rates, optimizer_groups, scheduler_of
from ragcun.train.loss import LossMeans
from ragcun.train.progress import LogLastStep, Progress
from ragcun.train.resume import SaveOnTermination, latest_whole, seal
from ragcun.train.selection import BestCheckpoint

logger = logging.getLogger(__name__)

_LOSSES = "losses.json"


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run, besides the model that it trained in place.

    curve: one row for each evaluation: step, epoch, dev measures, the mean losses since the row before, and each group's
        learning rate for the next step.
    best_step, best_score: the step that gave the kept weights, and its score.
    """

    curve: pd.DataFrame
    best_step: int
    best_score: float


def training_arguments(
    settings: Training, *, steps: int, seed: int, work: Path
) -> SentenceTransformerTrainingArguments:
    """The Trainer's arguments: it evaluates and saves every so many steps, and reports nowhere by itself."""
    every = max(1, -(-steps // settings.evaluations))
    return SentenceTransformerTrainingArguments(
        output_dir=str(work),
        run_name=work.name,
        max_steps=steps,
        # Loggers alone read it: the batches are ours, and global.
        per_device_train_batch_size=-(-settings.batch_size // distributed.world_size()),
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
        bf16=precision(settings.dtype, distributed.device()) == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        # The library would set it, with a warning. It has no effect: the loader is ours and drops nothing.
        dataloader_drop_last=True,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        report_to="none",
        disable_tqdm=not distributed.is_main(),
    )


class Trainer(SentenceTransformerTrainer):
    """SentenceTransformerTrainer on the global batches that we plan; it ends with the best weights.

    Args:
        batches: by step.
        groups: all trainable parameters, each in one group.
        best: keeps the best weights, in a folder below the arguments' `output_dir`.
        measures: the evaluations' measures that are logged.
    """

    def __init__(
        self,
        *,
        batches: GlobalBatches,
        groups: list[Group],
        best: BestCheckpoint,
        measures: list[str],
        **kwargs: Any,
    ) -> None:
        # The Trainer asks for a dataset; get_train_dataloader replaces it.
        super().__init__(train_dataset=Dataset.from_dict({"query": batches.queries}), **kwargs)
        self.batches, self.groups, self.best, self.measures = batches, groups, best, measures
        self.work = Path(str(self.args.output_dir))
        self.resumed: Path | None = None
        self.saved_step: int | None = None
        self.losses = LossMeans()
        self.termination = SaveOnTermination()
        self.remove_callback(ProgressCallback if not self.args.disable_tqdm else PrinterCallback)
        self.add_callback(Progress())
        self.add_callback(LogLastStep())
        self.add_callback(self.best)
        self.add_callback(self.termination)

    def run(self) -> TrainingResult:
        """Train, resuming what was interrupted, and leave the model with its best weights.

        Raises:
            RagcunError: the loss or a gradient is not finite.
            SystemExit: the process was told to end; a checkpoint was written first.
        """
        checkpoint = self.resumed = self._checkpoint()
        if checkpoint is not None:
            logger.info("resuming from %s", checkpoint)
            self.losses.load(checkpoint / _LOSSES)
            self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            self.saved_step = self.state.global_step
        # Step 0 is a candidate too. A run that was cut off in an evaluation makes that evaluation now.
        self.args.eval_on_start = checkpoint is None or self._awaits_evaluation()
        if distributed.rank() > 0:
            # All ranks were seeded alike: with one stream they would drop the same places of their shares of the batch.
            torch.manual_seed(int(np.random.default_rng((self.args.seed, distributed.rank())).integers(2**62)))
        if checkpoint is None or not self.best.patience_is_out(self.state):
            with self.termination:
                self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if distributed.any_rank(self.termination.requested):
            logger.warning(
                "stopped by SIGTERM after step %d; a checkpoint was saved, and the same run goes on from it",
                self.state.global_step,
            )
            raise SystemExit(143)
        record = self.best.restore()
        return TrainingResult(self._curve(), record["step"], record["score"])

    def _checkpoint(self) -> Path | None:
        """The checkpoint to resume from, the same on every rank; None where the record of the best weights is missing too."""
        (found, *_) = distributed.gather_objects(
            latest_whole(self.work) if distributed.is_main() and self.best.record() else None
        )
        checkpoint: Path | None = found
        return checkpoint

    def _awaits_evaluation(self) -> bool:
        """Whether the run was cut off in the evaluation of the step that it resumes from; the checkpoint is written before it."""
        step = self.state.global_step
        due = step % self.state.eval_steps == 0 or step == self.state.max_steps
        return due and not any(
            entry["step"] == step and f"eval_{self.best.metric}" in entry for entry in self.state.log_history
        )

    def get_train_dataloader(self) -> DataLoader:
        # Not prepared by accelerate, which would shard what is sharded already.
        return DataLoader(
            self.batches,
            batch_size=1,
            shuffle=False,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            kind, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            kwargs.pop("optimizer_dict")  # the library's own groups
            names = set(self.get_decay_parameter_names(self.model))
            decayed = {id(parameter) for name, parameter in self.model.named_parameters() if name in names}
            self.optimizer = kind(optimizer_groups(self.groups, self.args.weight_decay, decayed), **kwargs)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        self.lr_scheduler = scheduler_of(optimizer or self._optimizer, self.groups, num_training_steps)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        for group in self.groups:
            if self.state.global_step < group.pace.first_step(self.state.max_steps):
                # As if it were frozen: it does not weigh in the clipping, and the optimizer has no moments of it.
                for parameter in group.parameters:
                    parameter.grad = None
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[arg-type]
        self._check_finite("the loss", loss[0] if isinstance(loss, tuple) else loss)
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        self._check_finite("the gradients' norm", norm)
        return norm

    def _check_finite(self, what: str, value: Any) -> None:
        number = float(torch.as_tensor(value).detach())
        if math.isfinite(number):
            return
        rates = ", ".join(f"{name} {rate:.3g}" for name, rate in learning_rates(self._optimizer).items())
        checkpoint = latest_whole(self.work)
        raise RagcunError(
            f"{what} is {number} at step {self.state.global_step + 1}, with learning rates {rates}: lower the "
            f"learning rate, or raise the temperature. The last good checkpoint is {checkpoint or 'none yet'}"
        )

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        assert self.optimizer is not None
        return self.optimizer

    def track_loss_components(self, loss: dict[str, torch.Tensor]) -> None:
        # In place of the library's sums, which a checkpoint does not hold.
        self.losses.add(loss)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        kept = {name: value for name, value in logs.items() if name in ("grad_norm", "epoch", "train_loss")}
        kept |= {name: value for name, value in logs.items() if name.removeprefix("eval_") in self.measures}
        if "loss" in logs:
            kept |= self.losses.means()
        if "train_loss" not in logs:
            kept |= {f"learning_rate_{name}": rate for name, rate in learning_rates(self._optimizer).items()}
        super().log(kept, *args, **kwargs)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No card while training: the saved model gets one that says what this project knows."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Weights only: no model card, and no pickled arguments.
        self.model.save_pretrained(output_dir or str(self.work), create_model_card=False)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # The evaluation before the first step may have ended the run.
        if not self.control.should_training_stop:
            super()._run_epoch(*args, **kwargs)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Log, save, evaluate. The library evaluates first: a kill during the evaluation would lose the steps before it."""
        evaluates, self.control.should_evaluate = self.control.should_evaluate, False
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if evaluates:
            self._evaluate(trial=None, ignore_keys_for_eval=None)

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Evaluate; the checkpoint of the step, where there is one, gets the result."""
        if skip_scheduler and self.resumed:
            # The library asks for this evaluation before it restores the random state, of which an evaluation takes a number.
            self._load_rng_state(str(self.resumed))
        metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        if self.state.global_step == self.saved_step:
            folder = self._folder_of_step()
            self._save_rng_state(str(folder))
            if distributed.is_main():
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            self._seal()
        return metrics

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Every rank evaluates its share. In the library's own loop rank 0 searches, and the others wait for it."""
        output = TransformersTrainer.evaluation_loop(
            self, dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
        )
        assert self.evaluator is not None
        measured = self.evaluator(self.model, steps=self.state.global_step)
        assert isinstance(measured, dict)
        named = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        return output._replace(metrics={**(output.metrics or {}), **named})

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        self.saved_step = self.state.global_step
        self._seal()

    def _seal(self) -> None:
        sums = self.losses.over_ranks()
        if distributed.is_main():
            write_json(self._folder_of_step() / _LOSSES, sums)
        distributed.barrier()
        if distributed.is_main():
            seal(self._folder_of_step())
        distributed.barrier()

    def _folder_of_step(self) -> Path:
        return self.work / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _curve(self) -> pd.DataFrame:
        """The Trainer's log as a table, one row for each evaluation."""
        rows: dict[int, dict[str, float]] = {}
        for entry in self.state.log_history:
            rows.setdefault(int(entry["step"]), {}).update(entry)
        rates = [f"learning_rate_{name}" for name in dict.fromkeys(group.name for group in self.groups)]
        columns = {
            **{f"eval_{name}": name for name in self.measures},
            **{name: name for name in ("loss", "contrastive", "isotropy", *rates)},
        }
        return pd.DataFrame(
            {
                "step": step,
                "epoch": round(step / self.batches.steps_per_epoch, 4),
                **{column: row.get(name) for name, column in columns.items()},
            }
            for step, row in sorted(rows.items())
            if any(name.startswith("eval_") for name in row)
        )
