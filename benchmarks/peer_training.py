"""Training as a user of sentence-transformers would write it, its steps timed: the peer of three benchmarks."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback

# The first step pays for what the others find there.
WARM_UP = 1


class StepTimes(TrainerCallback):
    """The time at the end of each step, and the loss of the first."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """The time before the first step."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """The time after a step."""
        self.ends.append(time.perf_counter())

    @property
    def seconds_a_step(self) -> float:
        """The mean, without the first, data loading included."""
        return (self.ends[-1] - self.ends[WARM_UP]) / (len(self.ends) - 1 - WARM_UP)


class FirstLoss:
    """Wraps a loss module's forward pass; keeps the value of the first call."""

    def __init__(self, loss: nn.Module) -> None:
        self.value: float | None = None
        forward = loss.forward

        def recorded(*args: Any, **kwargs: Any) -> Any:
            result = forward(*args, **kwargs)
            if self.value is None:
                total = sum(result.values()) if isinstance(result, dict) else result
                self.value = float(total.detach())
            return result

        loss.forward = recorded  # type: ignore[method-assign]


def train_peer(
    model: SentenceTransformer, queries: Sequence[str], positives: Sequence[str], *, batch_size: int, steps: int
) -> tuple[StepTimes, float]:
    """Train `steps` steps by MultipleNegativesRankingLoss with the trainer's defaults, in the order of the pairs.

    Returns:
        The steps' times, and the loss of the first.
    """
    times, loss = StepTimes(), MultipleNegativesRankingLoss(model)
    first = FirstLoss(loss)
    with tempfile.TemporaryDirectory() as folder:
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=str(Path(folder)),
                per_device_train_batch_size=batch_size,
                max_steps=steps,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                # In the order given, so that both see the same batch first.
                batch_sampler=_in_order,
            ),
            train_dataset=Dataset.from_dict({"anchor": list(queries), "positive": list(positives)}),
            loss=loss,
            callbacks=[times],
        ).train()
    assert first.value is not None
    return times, first.value


def _in_order(dataset: Dataset, batch_size: int, drop_last: bool, **_: Any) -> DefaultBatchSampler:
    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


def without_dropout(model: nn.Module) -> None:
    """Two models give the same loss only without dropout."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
