"""params.yaml, checked: the one place that reads it.

Every key has its type and its bounds here, unknown keys are errors, and so is a combination that cannot work. A value
that arrives as text (`-S lr=1e-6` is written as `1e-06`, which YAML reads as a string) is converted.

`python -m ragcun.params` checks the file and says nothing where it is right.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ragcun.core.errors import RagcunError
from ragcun.param_data import Data
from ragcun.param_forms import Metric, Name, Place, Section, describe

Precision = Literal["float32", "bfloat16"]
Dtype = Literal["auto", Precision]
Engine = Literal["auto", "torch", "openvino"]
Role = Literal["query", "passage"]
UnsupervisedPairs = Literal["crops", "inverse_cloze", "title_body"]
ProjectionInit = Literal["base", "random"]
ProjectionKind = Literal["two_layer", "linear"]
NormalizeBase = Literal["keep", "drop"]
Schedule = Literal["linear", "cosine", "constant"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "dvclive"]
Similarity = Literal["cosine", "euclidean", "dot"]
Fusion = Literal["rrf", "convex"]

PARAMS_FILE = Path("params.yaml")


class Ddp(Section):
    nproc_per_node: Literal["gpu"] | Annotated[int, Field(ge=1)]
    # Above 68 years, torch cannot count them.
    timeout: Annotated[int, Field(ge=1, lt=2**31)]

    @model_validator(mode="after")
    def _gpu_needs_one(self) -> Self:
        if self.nproc_per_node == "gpu":
            import torch  # only here: checking params.yaml should not take the seconds that loading torch takes

            if not torch.cuda.is_available():
                raise ValueError("nproc_per_node is gpu, but this machine has no CUDA device: give a number")
        return self


class Embed(Section):
    engine: Engine
    dtype: Dtype
    batch_tokens: Annotated[int, Field(ge=1)]
    # Two of them are the base's own marks of beginning and end.
    max_length: Annotated[int, Field(ge=3)] | None


def _check_a_batch_fits(key: str, pairs: int | None, batch_size: int) -> None:
    if pairs is not None and pairs < batch_size:
        raise ValueError(f"{key} is {pairs}, less than one batch: raise it, or lower batch_size ({batch_size})")


class Training(Section):
    """A training run, but for its learning rates."""

    max_pairs: Annotated[int, Field(ge=2)] | None = None
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    negatives: Annotated[int, Field(ge=0)]
    store_negatives: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0)]
    isotropy_weight: Annotated[float, Field(ge=0)]
    isotropy_directions: Annotated[int, Field(ge=1)]
    schedule: Schedule
    warmup_ratio: Annotated[float, Field(ge=0, le=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    evaluations: Annotated[int, Field(ge=1)]
    metric_for_best: Metric = "dev_ndcg@10"
    patience: Annotated[int, Field(ge=1)] | None = None
    dev_queries: Annotated[int, Field(ge=1)] | None = None
    dev_passages: Annotated[int, Field(ge=2)] | None = None
    dtype: Dtype = "float32"

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        _check_a_batch_fits("max_pairs", self.max_pairs, self.batch_size)
        return self


class Pretrain(Training):
    """Unsupervised pretraining: the pairs it makes, and its run."""

    pairs: UnsupervisedPairs
    num_pairs: Annotated[int, Field(ge=2)]
    # Pairs made of passages come without mined negatives.
    negatives: Literal[0]
    projection_learning_rate: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _the_pairs_fill_a_batch(self) -> Self:
        _check_a_batch_fits("num_pairs", self.num_pairs, self.batch_size)
        return self


class Live(Section):
    """What a run has of its own where the base trains too, and texts must be encoded in every step."""

    max_pairs: Annotated[int, Field(ge=2)] | None
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    negatives: Annotated[int, Field(ge=0)]
    evaluations: Annotated[int, Field(ge=1)]
    dev_queries: Annotated[int, Field(ge=1)] | None
    dev_passages: Annotated[int, Field(ge=2)] | None
    dtype: Dtype
    max_length: Annotated[int, Field(ge=3)] | None
    forward_size: Annotated[int, Field(ge=1)]
    cache_gradients: bool

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        _check_a_batch_fits("max_pairs", self.max_pairs, self.batch_size)
        return self


class Strategy(Section):
    """The learning rates of one strategy. Those of the base, and what says how it trains, are for a base that trains."""

    projection_learning_rate: Annotated[float, Field(gt=0)]
    base_learning_rate: Annotated[float, Field(gt=0)] | None = None
    base_schedule: Schedule | None = None
    base_warmup_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    unfreeze_after: Annotated[float, Field(ge=0, lt=1)] = 0.0
    freeze_layers: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _nothing_is_idle(self) -> Self:
        idle = self.model_dump(exclude_defaults=True).keys() - {"projection_learning_rate"}
        if self.base_learning_rate is None and idle:
            raise ValueError(
                f"without base_learning_rate the base never trains: set it, or remove {', '.join(sorted(idle))}"
            )
        return self


class Finetune(Section):
    shared: Training
    live: Live
    strategies: Annotated[dict[Name, Strategy], Field(min_length=1)]

    def strategy(self, name: str) -> Strategy:
        """The settings of the strategy `name`. Raises RagcunError where there are none."""
        if name not in self.strategies:
            raise RagcunError(f"params.yaml has no finetune.strategies.{name}: add it, or name another strategy")
        return self.strategies[name]

    def training(self, *, live: bool) -> Training:
        """The run of a strategy: `shared`, with what `live` changes where the base trains."""
        if not live:
            return self.shared
        own = self.live.model_dump(include=set(Training.model_fields))
        # The store holds the base's vectors: it has no negatives for a base that moves.
        return self.shared.model_copy(update={**own, "store_negatives": 0})


class Evaluate(Section):
    models: list[Name]
    controls: list[Name]
    # At the deepest cut-off of ragcun.measure.ranking, or measures would be of fewer documents than their names say.
    top_k: Annotated[int, Field(ge=1000)]
    run_depth: Annotated[int, Field(ge=1)]
    permutations: Annotated[int, Field(ge=100)]
    adapt: Annotated[float, Field(gt=0, le=1)] | None
    compression: bool
    fusion: list[Fusion]

    @field_validator("fusion")
    @classmethod
    def _every_combination_is_one_row(cls, methods: list[Fusion]) -> list[Fusion]:
        if len(set(methods)) < len(methods):
            raise ValueError("names a combination twice: each is one row")
        return methods

    @model_validator(mode="after")
    def _every_row_is_one_model(self) -> Self:
        twice = {name for name in self.models if self.models.count(name) > 1}
        missing = {*self.controls, "base"} - set(self.models)
        if twice or missing:
            raise ValueError(
                f"models must name each model once, base and all of controls among them: {', '.join(sorted(twice | missing))}"
            )
        return self


class Tracking(Section):
    report_to: list[Tracker]


class Params(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    base_model: Place
    normalize_base: NormalizeBase
    freeze_base: bool
    projection: ProjectionKind
    # Isotropy is of two dimensions or more.
    output_dim: Annotated[int, Field(ge=2)] | None
    similarity: Similarity
    whitening: Annotated[float, Field(ge=0, le=1)]
    projection_init: ProjectionInit
    dropout: Annotated[float, Field(ge=0, lt=1)]
    ddp: Ddp
    data: Data
    embed: Embed
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    tracking: Tracking

    @model_validator(mode="after")
    def _dropout_has_its_place(self) -> Self:
        if self.dropout and self.projection == "linear":
            raise ValueError(
                f"dropout is {self.dropout:g}, but lies between the two layers of a projection, and projection is linear: "
                "set dropout to 0, or projection to two_layer"
            )
        return self

    @model_validator(mode="after")
    def _negatives_are_there(self) -> Self:
        # Those a pair comes with count too; a file of one's own may have any number of them.
        given = {"vital-descriptions": 0, "msmarco": self.data.msmarco.max_negatives}.get(self.data.pairs)
        if given is None:
            return self
        mined = self.data.mined_negatives
        for name in ("shared", "live"):
            wanted = getattr(self.finetune, name).negatives
            if wanted > mined + given:
                raise ValueError(
                    f"finetune.{name}.negatives is {wanted}, but data.mined_negatives is {mined}"
                    f"{f' and data.msmarco.max_negatives {given}' if given else ''}: raise the second or lower the first"
                )
        return self

    @model_validator(mode="after")
    def _the_metric_is_measured(self) -> Self:
        for name, training in (("finetune.shared", self.finetune.shared), ("pretrain", self.pretrain)):
            if training.metric_for_best.startswith("validation_") and self.data.validation is None:
                raise ValueError(
                    f"{name}.metric_for_best is {training.metric_for_best}, but data.validation is null: name a benchmark "
                    "there, or choose by dev_ndcg@10"
                )
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        RagcunError: the file is missing, is not YAML, or a key is unknown, missing, mistyped or out of bounds; the
            message names every such key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RagcunError(f"{path} is missing: run from the project's folder") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RagcunError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise RagcunError(f"{path} must hold keys and values, and holds {type(raw).__name__}")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise RagcunError(f"{path}: {describe(error)}") from error


def main() -> int:
    try:
        load_params()
    except RagcunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
