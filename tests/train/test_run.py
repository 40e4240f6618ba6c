"""The training stages' work, on a tiny base and real folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from ragcun.core.errors import RagcunError
from ragcun.core.files import cache_folder
from ragcun.data.benchmark import write_benchmark
from ragcun.encode.base import load_base
from ragcun.measure.ranking import mean_scores, score_queries
from ragcun.model import encoder as model
from ragcun.model.card import made_with
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Params
from ragcun.train import run as module
from ragcun.train.initial import Inputs, build_encoder, initial_model
from ragcun.train.recipe import Recipe, finetune_recipe, pretrain_recipe
from ragcun.train.run import publish, train, work_folder, write_time
from ragcun.train.trainer import Trainer
from ragcun.train.validation import validation_of
from tests.inputs import tiny_params, write_inputs
from tests.tiny import MAX_LENGTH, WORDS, tiny_benchmark


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"), tiny_base)


def run(
    settings: Params, init: Path, inputs: Path, out: Path, strategy: str = "smart_hybrid", freeze_base: bool = True
) -> Path:
    return follow(finetune_recipe(settings, strategy, init, freeze_base=freeze_base), settings, inputs, out)


def follow(recipe: Recipe, params: Params, inputs: Path, out: Path) -> Path:
    """As the stages do."""
    folders = Inputs(inputs / "pairs", inputs / "store", inputs / "validation")
    encoder = initial_model(
        params, recipe.init, folders, freeze_base=recipe.freeze_base, freeze_layers=recipe.freeze_layers
    )
    trained = train(recipe, encoder, params, folders)
    publish(trained, recipe, encoder, model_folder=out / "model", curve_file=out / "curve.tsv")
    write_time(trained, out / "time.json")
    return out / "model"


def test_the_saved_model_is_the_base_and_a_trained_projection(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(run(tiny_params(output_dim=16), tiny_base, inputs, tmp_path)), device="cpu")
    base = SentenceTransformer(str(tiny_base), device="cpu")
    assert model.get_embedding_dimension() == 16
    assert model.similarity_fn_name == "cosine"
    trained, original = model.state_dict(), base.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in original.items())
    curve = pd.read_csv(tmp_path / "curve.tsv", sep="\t")
    assert curve["step"].tolist() == [0, 4, 8]
    assert not list((cache_folder() / "checkpoints").iterdir()), "checkpoints are removed when the model is saved"
    card = (tmp_path / "model" / "README.md").read_text()
    assert "16 dimensions" in card
    assert json.loads(card.split("```json")[1].split("```")[0])["params"]["output_dim"] == 16
    weights = [value for name, value in trained.items() if name not in original]
    assert made_with(tmp_path / "model")["trained_parameters"] == sum(value.numel() for value in weights) > 0
    time = json.loads((tmp_path / "time.json").read_text())
    assert 0 < time.pop("seconds") < 600
    assert time == {"processes": 1, "device": "cpu"}


def test_two_runs_give_the_same_bytes(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    folders = [run(tiny_params(), tiny_base, inputs, tmp_path / name) for name in ("first", "second")]
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_random_start_of_the_stage_is_drawn_from_the_seed(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    settings = tiny_params(projection_init="random")
    one, two = (SentenceTransformer(str(run(settings, tiny_base, inputs, tmp_path / n)), device="cpu") for n in "ab")
    assert np.array_equal(one.encode(WORDS), two.encode(WORDS))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"output_dim": 8},
        {"similarity": "dot"},
        {"whitening": 0.9},
        {"projection_init": "random"},
        {"projection": "linear"},
        {"dropout": 0.5},
        {"shared": {"temperature": 0.5}},
        {"shared": {"isotropy_weight": 0.5}},
        {"strategy": {"projection_learning_rate": 0.5}},
    ],
)
def test_each_setting_has_its_own_checkpoints(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    plain = tiny_params()
    finetune, smart = plain.finetune, plain.finetune.strategy("smart_hybrid")
    top = {name: value for name, value in change.items() if name not in ("shared", "strategy")}
    other = {
        "finetune": finetune.model_copy(
            update={
                "shared": finetune.shared.model_copy(update=change.get("shared", {})),
                "strategies": {"smart_hybrid": smart.model_copy(update=change.get("strategy", {}))},
            }
        )
    }
    folders = [
        checkpoints_of(settings, tiny_base, inputs, tmp_path, monkeypatch)
        for settings in (plain, plain, plain.model_copy(update={**other, **top}))
    ]
    assert folders[0] == folders[1] != folders[2]


def test_each_model_to_start_from_has_its_own_checkpoints(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that differ in one layer of the projection."""
    first = run(tiny_params(output_dim=16), tiny_base, inputs, tmp_path)
    second = shutil.copytree(first, tmp_path / "second")
    file = second / "4_Dense" / "model.safetensors"
    save_file({name: 2 * value for name, value in load_file(file).items()}, file)
    folders = [
        checkpoints_of(tiny_params(), init, inputs, tmp_path / "other", monkeypatch) for init in (first, first, second)
    ]
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.engine
@pytest.mark.parametrize("file", ["pairs/finetune/train.parquet", "store/finetune/texts.npy", "validation/none.txt"])
def test_each_input_has_its_own_checkpoints(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    other = shutil.copytree(inputs, tmp_path / "other")
    folders = [checkpoints_of(tiny_params(), tiny_base, other, tmp_path, monkeypatch)]
    if file.endswith(".parquet"):
        pd.read_parquet(other / file).iloc[1:].to_parquet(other / file)
    elif file.endswith(".npy"):
        np.save(other / file, 1.5 * np.load(other / file))
    else:
        (other / file).write_text("another")
    folders.append(checkpoints_of(tiny_params(), tiny_base, other, tmp_path, monkeypatch))
    assert folders[0] != folders[1]


def checkpoints_of(settings: Params, init: Path, inputs: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run keeps its checkpoints; it ends before its first step."""

    class Begun(Exception):
        pass

    def stop(*args: Any, work: Path, **kwargs: Any) -> None:
        raise Begun(work)

    with monkeypatch.context() as patch:
        patch.setattr(module, "fit", stop)
        with pytest.raises(Begun) as begun:
            run(settings, init, inputs, out)
    folder: Path = begun.value.args[0]
    return folder


def test_checkpoints_of_other_settings_or_data_lie_elsewhere() -> None:
    first = work_folder("a", {"seed": 1, "pairs": {"x": "1"}})
    assert first == work_folder("a", {"pairs": {"x": "1"}, "seed": 1})
    assert (
        len({first, work_folder("a", {"seed": 2, "pairs": {"x": "1"}}), work_folder("a", {"seed": 1, "pairs": {}})})
        == 3
    )


def test_a_warm_start_goes_on_with_the_projection(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    """From a model that ragcun trained; the store is that of its base, which is the same."""
    first = run(tiny_params(output_dim=16), tiny_base, inputs, tmp_path / "first")
    model = build_encoder(tiny_params(), first)
    assert np.array_equal(model.encode(WORDS), IsotropicGaussianEncoder(str(first), device="cpu").encode(WORDS))
    # Both stages that train begin with these weights: at a rate of nought they end with them, whatever the params say
    # of a new projection.
    still = tiny_params(projection_init="random", whitening=1.0).model_dump(mode="json")
    still["finetune"]["strategies"]["smart_hybrid"]["projection_learning_rate"] = 1e-30
    second = run(Params.model_validate(still), first, inputs, tmp_path / "second")
    before, after = (SentenceTransformer(str(folder), device="cpu").state_dict() for folder in (first, second))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    with pytest.raises(RagcunError, match=r"16 dimensions, but output_dim is 8"):
        run(tiny_params(output_dim=8), first, inputs, tmp_path / "third")


def test_the_base_of_a_trained_model_is_the_base(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    model = run(tiny_params(output_dim=16), tiny_base, inputs, tmp_path)
    ours, theirs = (load_base(str(folder), device="cpu") for folder in (model, tiny_base))
    assert np.array_equal(ours.encode(WORDS), theirs.encode(WORDS))


def test_a_live_run_saves_a_whole_model_that_reads_as_much_as_before(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, attention = tiny_params(output_dim=16), set()
    step = Trainer.training_step

    def noted(self: Trainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        attention.add(self.model.transformers_model.config._attn_implementation)  # type: ignore[union-attr]
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", noted)
    folder = run(settings, tiny_base, inputs, tmp_path, "full_finetune", freeze_base=False)
    assert attention == {"eager"}, "short texts train with plain attention"
    # No vector goes through BERT's pooler, so it does not train.
    sizes = {
        name: value.numel() for name, value in IsotropicGaussianEncoder(str(folder), device="cpu").named_parameters()
    }
    pooler = sum(size for name, size in sizes.items() if "pooler" in name)
    assert made_with(folder)["trained_parameters"] == sum(sizes.values()) - pooler
    model = SentenceTransformer(str(folder), device="cpu")
    assert settings.finetune.live.max_length == 16 < MAX_LENGTH
    assert model.max_seq_length == SentenceTransformer(str(tiny_base), device="cpu").max_seq_length
    curve = pd.read_csv(tmp_path / "curve.tsv", sep="\t")
    assert {"learning_rate_base", "learning_rate_projection"} <= set(curve)


@pytest.mark.engine
def test_every_setting_of_a_base_that_trains_is_applied(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight steps the base waits four, warms up in two of its own and then keeps its rate; its lowest layer is frozen."""
    raw = tiny_params().model_dump(mode="json")
    own = {"base_learning_rate": 1e-3, "base_schedule": "constant", "base_warmup_ratio": 0.5, "unfreeze_after": 0.5}
    raw["finetune"]["strategies"]["full_finetune"] |= own | {"layer_decay": 0.5, "freeze_layers": 1}
    raw["finetune"]["live"] |= {"evaluations": 8, "cache_gradients": True}
    passes: list[object] = []
    plain = model.checkpoint
    monkeypatch.setattr(model, "checkpoint", lambda *args, **kwargs: passes.append(0) or plain(*args, **kwargs))  # type: ignore[func-returns-value]
    run(Params.model_validate(raw), tiny_base, inputs, tmp_path, "full_finetune", freeze_base=False)
    curve = pd.read_csv(tmp_path / "curve.tsv", sep="\t")
    assert {name for name in curve if name.startswith("learning_rate_base")} == {"learning_rate_base_layer_1"}
    assert curve["learning_rate_base_layer_1"].tolist() == pytest.approx([0] * 5 + [0.5e-3] + [1e-3] * 3)
    # Each of the eight steps, in chunks of at most five texts, of eight queries and eight passages or fewer.
    assert 8 * 4 >= len(passes) >= 8 * 2


@pytest.mark.engine
def test_two_live_runs_give_the_same_bytes(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    """With dropout, which is drawn from the seed; the curves too. The time alone may differ, so it is no output."""
    for name in ("first", "second"):
        run(tiny_params(), tiny_base, inputs, tmp_path / name, "full_finetune", freeze_base=False)
    files = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()}
    assert Path("curve.tsv") in files
    for name in files - {Path("time.json")}:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


@pytest.mark.engine
@pytest.mark.parametrize("freeze_base", [True, False])
def test_a_benchmark_can_choose_the_checkpoint(
    tiny_base: Path, inputs: Path, tmp_path: Path, freeze_base: bool
) -> None:
    """Its dev queries, scored by the model as it is: at step 0 like the base's own evaluation."""
    own = shutil.copytree(inputs, tmp_path / "inputs")
    shutil.rmtree(own / "validation")
    benchmark = tiny_benchmark()
    write_benchmark(benchmark, own / "validation")
    raw = tiny_params(whitening=0.0).model_dump(mode="json")
    raw["data"]["validation"] = "tiny"
    raw["finetune"]["shared"]["metric_for_best"] = "validation_ndcg@10"
    # Texts are read as far as they are when the base's vectors are made.
    raw["finetune"]["live"] |= {"max_length": None, "dev_passages": None, "dev_queries": None}
    run(Params.model_validate(raw), tiny_base, own, tmp_path, "full_finetune", freeze_base=freeze_base)
    curve = pd.read_csv(tmp_path / "curve.tsv", sep="\t")
    base = load_base(str(tiny_base), device="cpu")
    queries = base.encode_query(list(benchmark.queries["dev"].values()))
    scores = base.similarity(queries, base.encode_document(list(benchmark.doc_texts))).numpy()
    found = {
        query: dict(zip(benchmark.doc_ids, map(float, row), strict=True))
        for query, row in zip(benchmark.queries["dev"], scores, strict=True)
    }
    top = {query: dict(sorted(row.items(), key=lambda item: -item[1])[:10]) for query, row in found.items()}
    expected = mean_scores(score_queries(benchmark.qrels["dev"], top, cutoffs=(10,)))["ndcg@10"]
    assert curve["validation_ndcg@10"][0] == pytest.approx(expected, abs=1e-6)
    assert 0 < expected < 1


def test_a_validation_without_dev_queries_is_refused() -> None:
    benchmark = tiny_benchmark()
    del benchmark.qrels["dev"]
    with pytest.raises(RagcunError, match=r"data\.validation names a benchmark that has no dev queries"):
        validation_of(benchmark, 0)


def test_the_base_follows_the_switch(tiny_base: Path) -> None:
    frozen = finetune_recipe(tiny_params(), "pretrain_finetune", tiny_base, freeze_base=True)
    live = finetune_recipe(tiny_params(), "pretrain_finetune", tiny_base, freeze_base=False)
    assert set(frozen.paces) == {"projection"}
    assert set(live.paces) == {"base", "projection"}
    assert frozen.settings.store_negatives > 0 == live.settings.store_negatives
    assert (
        build_encoder(tiny_params(), tiny_base, freeze_base=frozen.freeze_base).get_trainable_parameters()["base"] == []
    )
    assert build_encoder(tiny_params(), tiny_base, freeze_base=live.freeze_base).get_trainable_parameters()["base"]
    with pytest.raises(RagcunError, match=r"smart_hybrid\.base_learning_rate"):
        finetune_recipe(tiny_params(), "smart_hybrid", tiny_base, freeze_base=False)


def test_pretraining_trains_the_projection_on_its_own_pairs(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    plain_fit = module.fit

    def noting(trainee: Any, pairs: Any, recipe: Recipe, **kwargs: Any) -> Any:
        given.append((trainee, pairs, recipe.paces))
        return plain_fit(trainee, pairs, recipe, **kwargs)

    monkeypatch.setattr(module, "fit", noting)
    settings = tiny_params(output_dim=16)
    follow(pretrain_recipe(settings, tiny_base), settings, inputs, tmp_path)
    ((trainee, pairs, paces),) = given
    assert {name: pace.peak for name, pace in paces.items()} == {
        "projection": settings.pretrain.projection_learning_rate
    }
    assert pairs.texts["text"][0] == f"{WORDS[0]} {WORDS[-1]}"
    assert np.array_equal(trainee.store, np.load(inputs / "store" / "pretrain" / "texts.npy"))
    # Its model is what fine-tuning goes on from.
    second = run(tiny_params(), tmp_path / "model", inputs, tmp_path / "second", "pretrain_finetune")
    assert IsotropicGaussianEncoder(str(second), device="cpu").get_embedding_dimension() == 16
