"""Every setting of params.yaml at its bounds, and just beyond them: what is accepted, and what is refused by its name.

The table is by section. Each entry is what is accepted, what is refused, and what else must then be set. That no setting is
missing from it is a test, too.
"""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from ragcun.measure.ranking import mean_scores, score_queries
from ragcun.param_data import Data, MsMarco, OwnPairs, Wikipedia
from ragcun.param_forms import describe
from ragcun.params import (
    Ddp,
    Embed,
    Evaluate,
    Finetune,
    Live,
    Params,
    Pretrain,
    Strategy,
    Tracking,
    Training,
)
from tests.test_params import PROJECT, changed

RAW = yaml.safe_load(PROJECT.read_text())

INF, NAN = float("inf"), float("nan")
SMALL, BELOW_1 = 5e-324, 1 - 2**-53
# Of any number: neither of these is one that can be meant.
NO_INTEGER = [True, 1.5, INF, "many", None]
NO_NUMBER = [True, INF, NAN, "many", None]
SEED = ([0, 2**32 - 1], [-1, 2**32, *NO_INTEGER])
RATE = ([SMALL, 1.0], [0, -SMALL, *NO_NUMBER])
RATE_OR_NONE = ([SMALL, 1.0, None], [0, -SMALL, *NO_NUMBER[:-1]])
# A share that may be nothing, but not all.
SHARE = ([0, BELOW_1], [-SMALL, 1, *NO_NUMBER])
WHOLE_SHARE = ([0, 1], [-SMALL, 1 + 2**-52, *NO_NUMBER])
MIDDLE_SHARE = ([SMALL, BELOW_1], [0, 1, *NO_NUMBER])
NOT_NEGATIVE = ([0, 1e9], [-SMALL, *NO_NUMBER])
SCHEDULE = (["linear", "cosine", "constant"], ["quadratic", True])
DTYPE = (["auto", "float32", "bfloat16"], ["float16", None])
SWITCH = ([True, False], ["perhaps", 2, None])
TEXT = (["main", "a b"], ["", "  ", True, None])
PLACE = (["x", "./a b.jsonl", "~/a"], ["", " \t", "https://host/a.jsonl", True, None])
NAMES = ["a", "A-b_c.d", "9", "a" * 100]
NO_NAMES = ["", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "é", "a" * 101, True]


def least(minimum: int, *, or_none: bool = False) -> tuple[list[Any], list[Any]]:
    """A whole number from `minimum` on."""
    refused = [minimum - 1, *NO_INTEGER]
    return ([minimum, 10**6, None], refused[:-1]) if or_none else ([minimum, 10**6], refused)


# What must be set beside a field to have it at its bound, or to leave it alone to be refused, by its name.
BESIDE: dict[tuple[type[BaseModel], str], dict[str, Any]] = {
    (Data, "queries_are_documents"): {"local": {"mine": "x"}},
    (Training, "max_pairs"): {"batch_size": 2},
    (Live, "max_pairs"): {"batch_size": 2},
    (Live, "batch_size"): {"max_pairs": None},
    (Pretrain, "max_pairs"): {"batch_size": 2},
    (Pretrain, "num_pairs"): {"batch_size": 2},
    (Pretrain, "batch_size"): {"num_pairs": 10**6},
    (Wikipedia, "min_length"): {"max_length": 2 * 10**6},
    (Wikipedia, "max_length"): {"min_length": 1},
    (OwnPairs, "dev_ratio"): {"test_ratio": 0},
    (OwnPairs, "test_ratio"): {"dev_ratio": SMALL},
}
TRAINING = {
    "max_pairs": least(2, or_none=True),
    "epochs": least(1),
    "batch_size": least(2),
    "negatives": ([0, 8], [-1, *NO_INTEGER]),
    "store_negatives": least(0),
    "temperature": RATE,
    "isotropy_weight": NOT_NEGATIVE,
    "isotropy_directions": least(1),
    "schedule": SCHEDULE,
    "warmup_ratio": WHOLE_SHARE,
    "weight_decay": NOT_NEGATIVE,
    "max_grad_norm": RATE,
    "evaluations": least(1),
    "metric_for_best": (
        [f"dev_{measure}@10" for measure in ("ndcg", "map", "recall", "p", "mrr")],
        ["dev_bogus@10", "dev_ndcg@1", "dev_ndcg@100", "dev_isoscore", "test_ndcg@10", "ndcg@10", "dev_ndcg@10 ", ""],
    ),
    "patience": least(1, or_none=True),
    "dev_queries": least(1, or_none=True),
    "dev_passages": least(2, or_none=True),
    "dtype": DTYPE,
}
TABLE: dict[type[BaseModel], dict[str, tuple[list[Any], list[Any]]]] = {
    Params: {
        "seed": SEED,
        "base_model": PLACE,
        "normalize_base": (["keep", "drop"], [True, "never", None]),
        "freeze_base": SWITCH,
        "projection": (["two_layer", "linear"], ["three_layer", None]),
        "output_dim": least(2, or_none=True),
        "similarity": (["cosine", "euclidean", "dot"], ["manhattan", None]),
        "whitening": WHOLE_SHARE,
        "projection_init": (["base", "random"], ["zero", None]),
        "dropout": SHARE,
    },
    Ddp: {
        "nproc_per_node": ([1, "2"], [0, True, 1.5, "all", None]),
        "timeout": ([1, 2**31 - 1], [0, 2**31, *NO_INTEGER]),
    },
    Data: {
        "passages": PLACE,
        "pairs": PLACE,
        "seed": SEED,
        "mined_negatives": least(0),
        "benchmarks": (
            [["a"], ["b", "a"], *([name] for name in NAMES)],
            [[], None, "a", ["a", "a"], ["a", "A"], ["pairs"], ["Pairs"], *([name] for name in NO_NAMES)],
        ),
        "beir_url": (
            ["http://host", "https://host:8080/a/b/"],
            [
                "host/a",
                "ftp://host",
                "https://",
                "https:///a",
                "https://me:secret@host",
                "https://host/a@secret",
                "https://host/a?token=secret",
                "https://host?secret",
                "https://host/a#secret",
                "https://host/a b",
                "https://[secret",
                True,
                None,
            ],
        ),
        "beir_published": SWITCH,
        "local": (
            [{}, dict.fromkeys(NAMES, "x"), {"a": "~/x y"}],
            [None, {"a": ""}, {"a": "  "}, {"a": True}, {"a": "s3://host/a"}, *({name: "x"} for name in NO_NAMES)],
        ),
        "queries_are_documents": ([[], ["mine"]], [None, "mine", ["other"], *([name] for name in NO_NAMES)]),
        "validation": ([None, *NAMES], NO_NAMES),
    },
    MsMarco: {
        "revision": TEXT,
        "max_train_samples": least(1, or_none=True),
        "split_ratio": MIDDLE_SHARE,
        "max_negatives": least(0),
    },
    Wikipedia: {
        "revision": TEXT,
        "language": (["en", "zh-yue", "a1"], ["", "EN", "1a", "en/a", False, None]),
        "dump_date": (["20231101", 20231101], ["2023110", "202311011", "2023-11-01", True, None]),
        "num_passages": least(1),
        "min_length": least(1),
        "max_length": ([2, 10**6], [0, 1, *NO_INTEGER]),
    },
    OwnPairs: {"dev_ratio": MIDDLE_SHARE, "test_ratio": SHARE},
    Embed: {
        "engine": (["auto", "torch", "openvino"], ["onnx", None]),
        "dtype": DTYPE,
        "batch_tokens": least(1),
        "max_length": least(3, or_none=True),
    },
    Training: TRAINING,
    Pretrain: TRAINING
    | {
        "negatives": ([0], [1, -1, None]),
        "pairs": (["crops", "inverse_cloze", "title_body"], ["words", None]),
        "num_pairs": least(2),
        "projection_learning_rate": RATE,
    },
    Live: {
        "max_pairs": least(2, or_none=True),
        "epochs": least(1),
        "batch_size": least(2),
        "negatives": ([0, 8], [-1, *NO_INTEGER]),
        "evaluations": least(1),
        "dev_queries": least(1, or_none=True),
        "dev_passages": least(2, or_none=True),
        "dtype": DTYPE,
        "max_length": least(3, or_none=True),
        "forward_size": least(1),
        "cache_gradients": SWITCH,
    },
    Finetune: {},
    Strategy: {
        "projection_learning_rate": RATE,
        # It may be none where the base never trains.
        "base_learning_rate": (RATE_OR_NONE[0][:-1], RATE_OR_NONE[1]),
        "base_schedule": ([*SCHEDULE[0], None], SCHEDULE[1]),
        "base_warmup_ratio": ([*WHOLE_SHARE[0], None], WHOLE_SHARE[1][:-1]),
        "layer_decay": ([SMALL, 1], [0, 1 + 2**-52, *NO_NUMBER]),
        "unfreeze_after": SHARE,
        "freeze_layers": least(0),
    },
    Evaluate: {
        "models": ([["base", "untrained", "random_projection", "mine"]], [None, "base", ["../base"]]),
        "controls": ([[], ["untrained"]], [None, "untrained", ["../untrained"]]),
        "top_k": least(1000),
        "run_depth": least(1),
        "permutations": least(100),
        "adapt": ([SMALL, 1, None], [0, 1 + 2**-52, *NO_NUMBER[:-1]]),
        "compression": SWITCH,
        "fusion": ([[], ["rrf"], ["convex", "rrf"]], [None, "rrf", ["mean"], ["rrf", "rrf"]]),
    },
    Tracking: {
        "report_to": ([[], ["tensorboard", "wandb", "mlflow", "dvclive"]], [None, "wandb", ["paper"]]),
    },
}


def checked(**changes: Any) -> Params:
    """The project's params, `changed`."""
    return Params.model_validate(changed(RAW, **changes))


def sections(
    model: type[BaseModel] = Params, at: tuple[str, ...] = ()
) -> Iterator[tuple[type[BaseModel], tuple[str, ...]]]:
    """Each section with its place in the file."""
    yield model, at
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, (*at, name))
        elif Strategy in get_args(field.annotation):
            yield from sections(Strategy, (*at, name, "full_finetune"))


def cases(which: int) -> Iterator[Any]:
    for section, at in sections():
        for name, values in TABLE[section].items():
            yield pytest.param(section, at, name, values[which], id=".".join((*at, name)))


@pytest.mark.parametrize(("section", "at", "name", "values"), cases(0))
def test_a_value_at_its_bound_is_accepted(
    section: type[BaseModel], at: tuple[str, ...], name: str, values: list[Any]
) -> None:
    beside = {"__".join((*at, key)): value for key, value in BESIDE.get((section, name), {}).items()}
    for value in values:
        found: Any = checked(**beside, **{"__".join((*at, name)): value})
        for key in (*at, name):
            found = found[key] if isinstance(found, dict) else getattr(found, key)
        # What arrives as text is a number, and the other way round.
        assert found == value or str(found) == str(value)


@pytest.mark.parametrize(("section", "at", "name", "values"), cases(1))
def test_a_value_beyond_its_bound_is_refused_by_its_name(
    section: type[BaseModel], at: tuple[str, ...], name: str, values: list[Any]
) -> None:
    beside = {"__".join((*at, key)): value for key, value in BESIDE.get((section, name), {}).items()}
    for value in values:
        with pytest.raises(ValidationError) as raised:
            checked(**beside, **{"__".join((*at, name)): value})
        message = describe(raised.value)
        assert message.startswith((".".join((*at, name)), f"{'.'.join(at)}: {name} ")), message
        assert "secret" not in message


def test_every_setting_is_in_the_table() -> None:
    for section, at in sections():
        inner = {below[len(at)] for _, below in sections() if len(below) > len(at) and below[: len(at)] == at}
        assert TABLE[section].keys() == section.model_fields.keys() - inner, section


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (
            {"data__wikipedia__min_length": 100, "data__wikipedia__max_length": 200},
            {"data__wikipedia__min_length": 100, "data__wikipedia__max_length": 199},
            ["data.wikipedia", "max_length is 199", "min_length (100)"],
        ),
        (
            {"data__own_pairs__dev_ratio": 0.5, "data__own_pairs__test_ratio": 0.4999},
            {"data__own_pairs__dev_ratio": 0.5, "data__own_pairs__test_ratio": 0.5},
            ["data.own_pairs", "dev_ratio and test_ratio leave no pair to train on"],
        ),
        *(
            (
                {f"{section}__{key}": 64, f"{section}__batch_size": 64},
                {f"{section}__{key}": 63, f"{section}__batch_size": 64},
                [section.replace("__", "."), f"{key} is 63", "batch_size (64)"],
            )
            for section, key in [
                ("finetune__live", "max_pairs"),
                ("finetune__shared", "max_pairs"),
                ("pretrain", "max_pairs"),
                ("pretrain", "num_pairs"),
            ]
        ),
        *(
            (
                {f"{section}__metric_for_best": "validation_map@10", "data__validation": "scifact"},
                {f"{section}__metric_for_best": "validation_map@10", "data__validation": None},
                [f"{section.replace('__', '.')}.metric_for_best is validation_map@10", "data.validation is null"],
            )
            for section in ("finetune__shared", "pretrain")
        ),
        *(
            (
                {f"finetune__{section}__negatives": 3, "data__mined_negatives": 3},
                {f"finetune__{section}__negatives": 4, "data__mined_negatives": 3},
                [f"finetune.{section}.negatives is 4", "data.mined_negatives is 3"],
            )
            for section in ("shared", "live")
        ),
        *(
            (
                {f"finetune__strategies__full_finetune__{key}": value},
                {
                    f"finetune__strategies__full_finetune__{key}": value,
                    "finetune__strategies__full_finetune__base_learning_rate": None,
                },
                ["full_finetune", "without base_learning_rate the base never trains", key],
            )
            for key, value in [
                ("base_schedule", "linear"),
                ("base_warmup_ratio", 0.1),
                ("layer_decay", 0.9),
                ("unfreeze_after", 0.1),
                ("freeze_layers", 1),
            ]
        ),
        ({}, {"evaluate__controls": ["other"]}, ["evaluate", "all of controls", "other"]),
        (
            {"evaluate__models": ["base", "untrained", "random_projection"]},
            {"evaluate__models": ["untrained", "random_projection"]},
            ["evaluate", "base"],
        ),
        ({}, {"evaluate__models": ["base", "untrained", "random_projection", "untrained"]}, ["once", "untrained"]),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    right: dict[str, Any], wrong: dict[str, Any], words: list[str]
) -> None:
    checked(**right)
    with pytest.raises(ValidationError) as raised:
        checked(**wrong)
    for word in words:
        assert word in describe(raised.value)


def test_the_measures_that_may_decide_are_those_that_are_measured() -> None:
    measured = mean_scores(score_queries({"q": {"d": 1}}, {"q": {"d": 1.0}}, cutoffs=(10,)))
    accepted, _ = TRAINING["metric_for_best"]
    assert {f"dev_{name}" for name in measured} == set(accepted)
