"""What one training run does, read from params: the recipe that ragcun.train.run follows."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragcun.core.errors import RagcunError
from ragcun.params import Params, Training
from ragcun.train.learning_rates import Pace

Task = Literal["finetune", "pretrain"]


@dataclass(frozen=True)
class Recipe:
    """From which model, on which task's pairs, with which settings and learning rates.

    paces: learning rates by group: `projection` and, where the base trains, `base`.
    layer_decay: the factor on the base's learning rate from one layer to the one below.
    max_length: tokens of a text in training; None keeps the model's own limit.
    forward_size: texts in one forward pass.
    cache_gradients: compute a pass again for its gradients instead of keeping its activations.
    """

    name: str
    init: Path
    task: Task
    settings: Training
    paces: dict[str, Pace]
    freeze_base: bool
    # The rest is for a base that trains.
    freeze_layers: int = 0
    layer_decay: float = 1.0
    max_length: int | None = None
    forward_size: int = 1
    cache_gradients: bool = False

    def decides(self) -> dict[str, Any]:
        """The part of the recipe that decides the result, as JSON; the caller adds the settings and the files of `init`."""
        own = dataclasses.asdict(dataclasses.replace(self, settings=None))  # type: ignore[arg-type]
        return {name: value for name, value in own.items() if name not in ("init", "settings", "cache_gradients")}


def pretrain_recipe(params: Params, init: Path) -> Recipe:
    """Unsupervised pretraining: always on a frozen base."""
    settings = params.pretrain
    paces = {"projection": Pace(settings.projection_learning_rate, settings.schedule, settings.warmup_ratio)}
    return Recipe("pretrain", init, "pretrain", settings, paces, freeze_base=True)


def finetune_recipe(params: Params, strategy: str, init: Path, *, freeze_base: bool) -> Recipe:
    """A strategy's fine-tuning.

    Raises:
        RagcunError: params.yaml has no such strategy, or no learning rate for a base that trains.
    """
    own = params.finetune.strategy(strategy)
    settings = params.finetune.training(live=not freeze_base)
    paces = {"projection": Pace(own.projection_learning_rate, settings.schedule, settings.warmup_ratio)}
    if freeze_base:
        return Recipe(strategy, init, "finetune", settings, paces, freeze_base=True)
    if own.base_learning_rate is None:
        raise RagcunError(
            f"finetune.strategies.{strategy}.base_learning_rate is missing: a base that trains needs its own"
        )
    warmup = settings.warmup_ratio if own.base_warmup_ratio is None else own.base_warmup_ratio
    schedule = own.base_schedule or settings.schedule
    paces["base"] = Pace(own.base_learning_rate, schedule, warmup, begin=own.unfreeze_after)
    live = params.finetune.live
    return Recipe(
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
