"""The fine-tuning stage's work, on a tiny base and real folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer

from ragcun import runs
from ragcun.base import load_base
from ragcun.embeddings import TextEncoder, Texts, write_embeddings
from ragcun.errors import RagcunError
from ragcun.model import IsotropicGaussianEncoder, whitening_map
from ragcun.pairs import PreparedPairs, write_pairs
from ragcun.params import Params
from ragcun.row_cache import cache_folder
from ragcun.runs import build_encoder, execute, finetune_run, work_folder
from tests.tiny import MAX_LENGTH, WORDS, save_tiny_base

ROOT = Path(__file__).parents[1]


def params(**top: Any) -> Params:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    small = {"batch_size": 8, "epochs": 2, "evaluations": 2, "negatives": 0}
    raw["finetune"]["shared"] |= {**small, "store_negatives": 4}
    raw["finetune"]["live"] |= {**small, "max_pairs": None, "max_length": 16, "forward_size": 5, "dtype": "float32"}
    return Params.model_validate(raw | top)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A folder with pairs/ and store/: 36 passages of two words, each asked for by one of them."""
    folder = tmp_path_factory.mktemp("inputs")
    passages = [f"{first} {second}" for first, second in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)]
    count = len(passages)
    texts = pd.DataFrame(
        {
            "text": passages + WORDS,
            "role": ["passage"] * count + ["query"] * count,
            "split": (["train"] * (count - 8) + ["dev"] * 8) * 2,
            "task": "finetune",
        }
    )
    pairs = pd.DataFrame({"query": np.arange(count) + count, "positive": np.arange(count)})
    pairs["negatives"] = [np.array([], dtype=np.int64)] * count
    write_pairs(folder / "pairs", PreparedPairs(texts, pairs[:-8], pairs[-8:], {}))
    encoder = TextEncoder(load_base(str(tiny_base), device="cpu"), dtype="float32", batch_size=8, max_length=None)
    lists = {"texts": Texts(texts["text"].tolist(), texts["role"].tolist())}
    write_embeddings(folder / "store", encoder, lists)
    return folder


def run(
    settings: Params, init: Path, inputs: Path, out: Path, strategy: str = "smart_hybrid", freeze_base: bool = True
) -> Path:
    execute(
        finetune_run(settings, strategy, init, freeze_base=freeze_base),
        settings,
        pairs_folder=inputs / "pairs",
        store_folder=inputs / "store",
        model_folder=out / "model",
        curve_file=out / "curve.tsv",
    )
    return out / "model"


def test_the_saved_model_is_the_base_and_a_trained_projection(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(run(params(output_dim=16), tiny_base, inputs, tmp_path)), device="cpu")
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


def test_two_runs_give_the_same_bytes(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    folders = [run(params(), tiny_base, inputs, tmp_path / name) for name in ("first", "second")]
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_step_zero_without_whitening_is_the_base(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C3, through the stage: what training starts from ranks as the base does."""
    begun: list[IsotropicGaussianEncoder] = []

    class Begun(Exception):
        pass

    def stop(run: Any, encoder: IsotropicGaussianEncoder, *args: Any) -> None:
        begun.append(encoder)
        raise Begun

    monkeypatch.setattr(runs, "trainee_of", stop)
    with pytest.raises(Begun):
        run(params(whitening=0), tiny_base, inputs, tmp_path)
    base = SentenceTransformer(str(tiny_base), device="cpu")
    ours, theirs = (model.similarity(model.encode(WORDS), model.encode(WORDS)) for model in (begun[0], base))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not (tmp_path / "model").exists()


def test_the_start_is_whitened_over_train_passages_alone(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C8."""
    given: list[np.ndarray] = []

    def noting(vectors: np.ndarray, *args: Any) -> Any:
        given.append(np.array(vectors))
        return whitening_map(vectors, *args)

    monkeypatch.setattr(runs, "whitening_map", noting)
    run(params(), tiny_base, inputs, tmp_path)
    store = np.load(inputs / "store" / "texts.npy")
    assert np.array_equal(given[0], store[: len(WORDS) - 8])


def test_a_random_start_of_the_stage_is_drawn_from_the_seed(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    settings = params(projection_init="random")
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
        {"dropout": 0.5},
        {"shared": {"temperature": 0.5}},
        {"shared": {"isotropy_weight": 0.5}},
        {"strategy": {"projection_learning_rate": 0.5}},
    ],
)
def test_each_setting_has_its_own_checkpoints(
    tiny_base: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    folders: list[Path] = []

    class Begun(Exception):
        pass

    def stop(*args: Any, work: Path, **kwargs: Any) -> None:
        folders.append(work)
        raise Begun

    monkeypatch.setattr(runs, "train", stop)
    plain = params()
    finetune = plain.finetune
    other = {
        "finetune": finetune.model_copy(
            update={
                "shared": finetune.shared.model_copy(update=change.pop("shared", {})),
                "smart_hybrid": finetune.smart_hybrid.model_copy(update=change.pop("strategy", {})),
            }
        )
    }
    for settings in (plain, plain, plain.model_copy(update={**other, **change})):
        with pytest.raises(Begun):
            run(settings, tiny_base, inputs, tmp_path)
    assert folders[0] == folders[1] != folders[2]


def test_a_random_projection_is_drawn_from_the_seed(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    start = []
    for seed in (1, 1, 2):
        encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), device="cpu")
        torch.manual_seed(seed)
        runs.initialise_projection(encoder, params(projection_init="random"), np.empty((0, 32)))
        start.append(encoder.encode(["river"]))
    assert np.array_equal(start[0], start[1])
    assert not np.allclose(start[0], start[2])


def test_a_store_of_another_base_is_refused(inputs: Path, tmp_path: Path) -> None:
    other = save_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(RagcunError, match="made with another base"):
        run(params(), other, inputs, tmp_path)
    assert not (tmp_path / "model").exists()


def test_checkpoints_of_other_settings_or_data_lie_elsewhere() -> None:
    first = work_folder("a", {"seed": 1, "pairs": {"x": "1"}})
    assert first == work_folder("a", {"pairs": {"x": "1"}, "seed": 1})
    assert (
        len({first, work_folder("a", {"seed": 2, "pairs": {"x": "1"}}), work_folder("a", {"seed": 1, "pairs": {}})})
        == 3
    )


def test_a_length_that_the_base_cannot_read_is_refused(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    settings = params()
    for length, words in ((MAX_LENGTH + 1, f"at most {MAX_LENGTH} tokens"), (4, "made with another base")):
        embed = settings.embed.model_copy(update={"max_length": length})
        with pytest.raises(RagcunError, match=words):
            run(settings.model_copy(update={"embed": embed}), tiny_base, inputs, tmp_path)


def test_a_warm_start_goes_on_with_the_projection(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    """From a model that ragcun trained; the store is that of its base, which is the same."""
    first = run(params(output_dim=16), tiny_base, inputs, tmp_path / "first")
    model = build_encoder(finetune_run(params(), "smart_hybrid", first, freeze_base=True), params())
    assert np.array_equal(model.encode(WORDS), IsotropicGaussianEncoder(str(first), device="cpu").encode(WORDS))
    second = run(params(), first, inputs, tmp_path / "second")
    assert IsotropicGaussianEncoder(str(second), device="cpu").get_embedding_dimension() == 16
    with pytest.raises(RagcunError, match=r"16 dimensions, but output_dim is 8"):
        run(params(output_dim=8), first, inputs, tmp_path / "third")


def test_the_base_of_a_trained_model_is_the_base(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    model = run(params(output_dim=16), tiny_base, inputs, tmp_path)
    ours, theirs = (load_base(str(folder), device="cpu") for folder in (model, tiny_base))
    assert np.array_equal(ours.encode(WORDS), theirs.encode(WORDS))


def test_a_live_run_saves_a_whole_model_that_reads_as_much_as_before(
    tiny_base: Path, inputs: Path, tmp_path: Path
) -> None:
    settings = params(output_dim=16)
    folder = run(settings, tiny_base, inputs, tmp_path, "full_finetune", freeze_base=False)
    model = SentenceTransformer(str(folder), device="cpu")
    assert settings.finetune.live.max_length == 16 < MAX_LENGTH
    assert model.max_seq_length == SentenceTransformer(str(tiny_base), device="cpu").max_seq_length
    curve = pd.read_csv(tmp_path / "curve.tsv", sep="\t")
    assert {"learning_rate_base", "learning_rate_projection"} <= set(curve)


def test_the_base_follows_the_switch(tiny_base: Path) -> None:
    frozen = finetune_run(params(), "pretrain_finetune", tiny_base, freeze_base=True)
    live = finetune_run(params(), "pretrain_finetune", tiny_base, freeze_base=False)
    assert set(frozen.rates) == {"projection"}
    assert set(live.rates) == {"base", "projection"}
    assert frozen.settings.store_negatives > 0 == live.settings.store_negatives
    assert build_encoder(frozen, params()).get_trainable_parameters()["base"] == []
    assert build_encoder(live, params()).get_trainable_parameters()["base"]
    with pytest.raises(RagcunError, match=r"smart_hybrid\.base_learning_rate"):
        finetune_run(params(), "smart_hybrid", tiny_base, freeze_base=False)
