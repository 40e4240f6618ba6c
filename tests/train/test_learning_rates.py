"""Each group's learning rate goes its own way: warm-up, schedule, decay by layer, and a phase for the head alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from torch import nn
from transformers import get_scheduler

from ragcun.model.encoder import IsotropicGaussianEncoder, transformer_layers
from ragcun.train.learning_rates import Pace, parameter_groups
from ragcun.train.run import fit
from ragcun.train.trainee import LiveTrainee
from ragcun.train.trainer import Trainer, TrainingResult
from tests.small_run import SETTINGS, TEXTS, pairs, recipe, scores_that_rise

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_pace_is_the_schedule_of_transformers(schedule: Any) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=10)
    for step in range(11):
        assert Pace(1.0, schedule, 0.3).factor(step, 10) == theirs.get_last_lr()[0]
        optimizer.step()
        theirs.step()


def test_a_pace_that_begins_later_is_the_same_in_what_is_left() -> None:
    late, whole = Pace(1.0, "linear", 0.25, begin=0.2), Pace(1.0, "linear", 0.25)
    assert [late.factor(step, 10) for step in range(2)] == [0, 0]
    assert [late.factor(step, 10) for step in range(2, 11)] == [whole.factor(step, 8) for step in range(9)]


def live(base: Path, **kwargs: Any) -> LiveTrainee:
    torch.manual_seed(0)
    encoder = IsotropicGaussianEncoder(output_dim=16, base_model=str(base), freeze_base=False, device="cpu", **kwargs)
    return LiveTrainee(encoder, TEXTS, chunk=4, dtype="float32")


def test_layers_decay_from_the_top_and_no_parameter_is_left_out(tiny_base: Path) -> None:
    trainee = live(tiny_base)
    both = {"base": Pace(1e-3, "linear", 0.1), "projection": Pace(1e-2, "linear", 0.1)}
    groups = parameter_groups(trainee, both, layer_decay=0.5)
    assert {group.name: group.pace.peak for group in groups} == {
        "base_embeddings": 0.25e-3,
        "base_layer_0": 0.5e-3,
        "base_layer_1": 1e-3,
        "projection": 1e-2,
    }
    _, layers = transformer_layers(trainee.model)
    by_name = {group.name: {id(parameter) for parameter in group.parameters} for group in groups}
    assert by_name["base_layer_1"] == {id(parameter) for parameter in layers[1].parameters()}
    trained = [id(parameter) for parameter in trainee.model.parameters() if parameter.requires_grad]
    assert sorted(trained) == sorted(identity for group in by_name.values() for identity in group)


def run(trainee: LiveTrainee, work: Path, base: Pace, layer_decay: float = 1.0) -> TrainingResult:
    return fit(
        trainee,
        pairs(),
        recipe(
            SETTINGS.model_copy(update={"evaluations": 8}),
            {"base": base, "projection": Pace(1e-2, "linear", 0.25)},
            layer_decay,
        ),
        similarity="cosine",
        seed=3,
        work=work,
    )


def test_the_curve_has_the_rates_of_every_group(tiny_base: Path, tmp_path: Path) -> None:
    """Of eight steps the projection warms up in two, the base in four; at the end both are at their schedule's end."""
    curve = run(live(tiny_base), tmp_path, Pace(1e-3, "cosine", 0.5), layer_decay=0.1).curve.set_index("step")
    assert curve.loc[0, ["learning_rate_base_layer_1", "learning_rate_projection"]].tolist() == [0, 0]
    assert curve.loc[2, "learning_rate_projection"] == pytest.approx(1e-2)
    assert curve.loc[2, "learning_rate_base_layer_1"] == pytest.approx(0.5e-3)
    assert curve.loc[4, "learning_rate_base_layer_1"] == pytest.approx(1e-3)
    assert curve.loc[4, "learning_rate_base_layer_0"] == pytest.approx(1e-4)
    assert curve.loc[4, "learning_rate_base_embeddings"] == pytest.approx(1e-5)
    assert curve.loc[6, "learning_rate_projection"] == pytest.approx(1e-2 / 3)
    assert curve.loc[6, "learning_rate_base_layer_1"] == pytest.approx(0.5e-3)
    assert curve.loc[8, ["learning_rate_base_layer_1", "learning_rate_projection"]].tolist() == [0, 0]


def test_the_head_trains_first_as_if_the_base_were_frozen(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the eight steps, the first at rate 0; then every trainable tensor moves."""
    trainee = live(tiny_base)
    seen: list[dict[str, torch.Tensor]] = []
    moments: list[int] = []
    step = Trainer.training_step

    def noting(self: Trainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append({name: value.detach().clone() for name, value in trainee.model.named_parameters()})
        moments.append(len(self._optimizer.state))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", noting)
    monkeypatch.setattr("ragcun.train.selection.mean_scores", scores_that_rise())
    run(trainee, tmp_path, Pace(1e-3, "linear", 0.0, begin=0.5))
    head = {name for name in seen[0] if int(name.split(".")[0]) >= trainee.base_length}
    trained = {name for name, value in trainee.model.named_parameters() if value.requires_grad}
    assert len(seen) == 8
    for number, weights in enumerate(seen[:5]):
        moved = {name for name, value in weights.items() if not torch.equal(value, seen[0][name])}
        assert moved == (head if number > 1 else set())
    assert moments[4] == len(head)
    last = dict(trainee.model.named_parameters())
    assert {name for name, value in last.items() if not torch.equal(value, seen[0][name])} == trained
    assert np.isfinite([value.norm().item() for value in last.values()]).all()


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_weights_decay_and_biases_and_norms_do_not(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer_decay: float
) -> None:
    """By the parameters' identity, in the optimizer that the Trainer makes; each has its group's rate."""
    trainee = live(tiny_base)
    made: list[torch.optim.Optimizer] = []
    monkeypatch.setattr(Trainer, "run", lambda self: made.append(self.create_optimizer()))
    run(trainee, tmp_path, Pace(1e-3, "linear", 0.25), layer_decay=layer_decay)
    (optimizer,) = made
    found = {id(parameter): part for part in optimizer.param_groups for parameter in part["params"]}
    placed = [id(parameter) for part in optimizer.param_groups for parameter in part["params"]]
    assert sorted(placed) == sorted(id(value) for value in trainee.model.parameters() if value.requires_grad)
    linear = [module for module in trainee.model.modules() if isinstance(module, nn.Linear)]
    norms = [module for module in trainee.model.modules() if isinstance(module, nn.LayerNorm)]
    weights = [module.weight for module in linear]
    others = [*(module.bias for module in linear), *(value for module in norms for value in module.parameters())]
    assert SETTINGS.weight_decay > 0, "vacuous"
    for parameters, decay in ((weights, SETTINGS.weight_decay), (others, 0.0)):
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        assert {found[id(parameter)]["weight_decay"] for parameter in trained} == {decay}
    both = {"base": Pace(1e-3, "linear", 0.25), "projection": Pace(1e-2, "linear", 0.25)}
    for group in parameter_groups(trainee, both, layer_decay):
        assert {found[id(parameter)]["lr"] for parameter in group.parameters} == {group.pace.peak}
        assert {found[id(parameter)]["name"] for parameter in group.parameters} == {group.name}


def test_the_steps_of_a_warm_up_and_of_a_late_begin_are_rounded() -> None:
    """Of 20 steps the group misses 3.8; of the 16 that are left it warms up over 5.6."""
    pace = Pace(1.0, "constant", 0.35, begin=0.19)
    assert pace.first_step(20) == 4
    assert [pace.factor(step, 20) for step in range(12)] == [0, 0, 0, 0, *(step / 6 for step in range(7)), 1]


def test_what_lies_above_the_layers_keeps_the_bases_rate(tiny_base: Path, tmp_path: Path) -> None:
    base = SentenceTransformer(str(tiny_base), device="cpu")
    SentenceTransformer(modules=[*base, Dense(32, 32)], device="cpu").save(str(tmp_path / "base"))
    trainee = live(tmp_path / "base")
    both = {"base": Pace(1e-3, "linear", 0.1), "projection": Pace(1e-2, "linear", 0.1)}
    groups = {group.name: group for group in parameter_groups(trainee, both, layer_decay=0.5)}
    dense = list(trainee.model)[trainee.base_length - 1]
    assert isinstance(dense, Dense)
    assert {id(value) for value in groups["base"].parameters} == {id(value) for value in dense.parameters()}
    assert groups["base"].pace.peak == 1e-3
