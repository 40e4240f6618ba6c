"""Groups of parameters, each with its own peak learning rate, warm-up and schedule.

Groups go by the parameters' identity, not by names, which would confuse a base's `encoder.layer.1` with the encoder's
module `1`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ragcun.model.encoder import transformer_layers
from ragcun.params import Schedule
from ragcun.train.trainee import Trainee


@dataclass(frozen=True)
class Pace:
    """The course of a learning rate over a run: zero before `begin`, a linear warm-up, then the schedule.

    peak: the highest rate.
    warmup_ratio: the share of the steps after `begin` over which the rate rises.
    begin: the share of all steps before which the group does not train.
    """

    peak: float
    schedule: Schedule
    warmup_ratio: float
    begin: float = 0.0

    def first_step(self, steps: int) -> int:
        """The step of `steps` at which the group begins to train."""
        return round(self.begin * steps)

    def factor(self, step: int, steps: int) -> float:
        """The learning rate at `step` (from 0) of `steps`, as a share of the peak."""
        first = self.first_step(steps)
        if step < first:
            return 0.0
        step, steps = step - first, steps - first
        warmup = round(self.warmup_ratio * steps)
        if step < warmup:
            return step / warmup
        span = max(1, steps - warmup)
        if self.schedule == "linear":
            return max(0.0, (steps - step) / span)
        if self.schedule == "cosine":
            return max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warmup) / span)))
        return 1.0


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate."""

    name: str
    parameters: list[nn.Parameter]
    pace: Pace


def parameter_groups(trainee: Trainee, paces: Mapping[str, Pace], layer_decay: float = 1.0) -> list[Group]:
    """Divide the trainable parameters into `projection` and, where the base trains, `base`.

    Args:
        paces: by those names.
        layer_decay: below 1, each of the base's layers is a group of its own, whose rate is this times that of the layer
            above; what lies above the layers keeps the base's rate, and the embeddings have the lowest.
    """
    modules = list(trainee.model)
    base, projection = modules[: trainee.base_length], modules[trainee.base_length :]
    groups = [_group("projection", projection, paces["projection"])]
    if any(parameter.requires_grad for module in base for parameter in module.parameters()):
        groups = [*_base_groups(trainee, base, paces["base"], layer_decay), *groups]
    grouped = [id(parameter) for group in groups for parameter in group.parameters]
    trainable = {id(parameter) for parameter in trainee.model.parameters() if parameter.requires_grad}
    assert set(grouped) == trainable, "every trainable parameter is in a group"
    assert len(grouped) == len(trainable), "none is in two"
    return [group for group in groups if group.parameters]


def _base_groups(trainee: Trainee, base: list[nn.Module], pace: Pace, decay: float) -> list[Group]:
    whole = _group("base", base, pace)
    if decay == 1:
        return [whole]
    below, layers = transformer_layers(trainee.model)
    depth = len(layers)
    lower = [
        _group("base_embeddings", below, replace(pace, peak=pace.peak * decay**depth)),
        *(
            _group(f"base_layer_{number}", [layer], replace(pace, peak=pace.peak * decay ** (depth - 1 - number)))
            for number, layer in enumerate(layers)
        ),
    ]
    taken = {id(parameter) for group in lower for parameter in group.parameters}
    rest = [parameter for parameter in whole.parameters if id(parameter) not in taken]
    return [*lower, Group("base", rest, pace)]


def _group(name: str, modules: list[nn.Module], pace: Pace) -> Group:
    return Group(name, [p for module in modules for p in module.parameters() if p.requires_grad], pace)


def optimizer_groups(groups: list[Group], weight_decay: float, decayed: set[int]) -> list[dict[str, object]]:
    """The groups as torch optimizers take them, each in a part with and one without weight decay.

    Args:
        decayed: ids (`id()`) of the parameters that decay.
    """
    return [
        {"params": part, "lr": group.pace.peak, "weight_decay": weight_decay if decays else 0.0, "name": group.name}
        for group in groups
        for decays in (True, False)
        if (part := [parameter for parameter in group.parameters if (id(parameter) in decayed) == decays])
    ]


def scheduler_of(optimizer: torch.optim.Optimizer, groups: list[Group], steps: int) -> LambdaLR:
    """A scheduler that moves each group of the optimizer at its own pace, step by step."""
    paces = {group.name: group.pace for group in groups}

    def factor(pace: Pace) -> Callable[[int], float]:
        return lambda step: pace.factor(step, steps)

    return LambdaLR(optimizer, [factor(paces[part["name"]]) for part in optimizer.param_groups])


def learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Each group's learning rate for the next step."""
    return {part["name"]: float(part["lr"]) for part in optimizer.param_groups}
