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

from ragcun import finetuning
from ragcun.base import load_base
from ragcun.embeddings import TextEncoder, Texts, write_embeddings
from ragcun.errors import RagcunError
from ragcun.finetuning import finetune, work_folder
from ragcun.model import IsotropicGaussianEncoder
from ragcun.pairs import PreparedPairs, write_pairs
from ragcun.params import Params
from tests.tiny import MAX_LENGTH, WORDS, save_tiny_base

ROOT = Path(__file__).parents[1]


def params(**top: Any) -> Params:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["finetune"]["shared"] |= {"batch_size": 8, "epochs": 2, "store_negatives": 4, "evaluations": 2, "negatives": 0}
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
        }
    )
    pairs = pd.DataFrame({"query": np.arange(count) + count, "positive": np.arange(count)})
    pairs["negatives"] = [np.array([], dtype=np.int64)] * count
    write_pairs(PreparedPairs(texts, pairs[:-8], pairs[-8:], {}), folder / "pairs")
    encoder = TextEncoder(load_base(str(tiny_base), device="cpu"), dtype="float32", batch_size=8, max_length=None)
    lists = {"texts": Texts(texts["text"].tolist(), texts["role"].tolist())}
    write_embeddings(folder / "store", encoder, lists)
    return folder


def run(settings: Params, init: Path, inputs: Path, out: Path) -> Path:
    finetune(
        settings,
        "smart_hybrid",
        init=init,
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

    def stop(encoder: IsotropicGaussianEncoder, *args: Any, **kwargs: Any) -> None:
        begun.append(encoder)
        raise Begun

    monkeypatch.setattr(finetuning, "train_frozen", stop)
    with pytest.raises(Begun):
        run(params(whitening=0), tiny_base, inputs, tmp_path)
    base = SentenceTransformer(str(tiny_base), device="cpu")
    ours, theirs = (model.similarity(model.encode(WORDS), model.encode(WORDS)) for model in (begun[0], base))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not (tmp_path / "model").exists()


def test_a_random_projection_is_drawn_from_the_seed(tiny_base: Path, inputs: Path, tmp_path: Path) -> None:
    start = []
    for seed in (1, 1, 2):
        encoder = IsotropicGaussianEncoder(output_dim=8, base_model=str(tiny_base), device="cpu")
        torch.manual_seed(seed)
        finetuning.initialise_projection(encoder, params(projection_init="random"), np.empty((0, 32)))
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
