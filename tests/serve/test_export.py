"""What an export holds and refuses, as far as it needs no ONNX; tests/clients has the rest."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from torch import nn

from ragcun.cli import main
from ragcun.core.errors import RagcunError
from ragcun.data.pairs import PreparedPairs, write_pairs
from ragcun.serve import onnx_graph
from ragcun.serve.export_card import write_card
from ragcun.serve.old_names import write_old_names
from ragcun.serve.parity import PROBES, Sample, bytes_against_quality, check, cosines
from tests.tiny import HIDDEN, tiny_transformer


def test_missing_packages_are_named_with_the_remedy(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnx_graph.importlib.util, "find_spec", lambda name: None if name == "onnx" else object())
    assert main(["export", str(tiny_base), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "ragcun export needs onnx, which is not installed: pip install -r requirements-export.txt" in said
    assert not (tmp_path / "out").exists()


def saved(folder: Path, *modules: nn.Module, pooling: str = "mean") -> Path:
    parts: list[Any] = [tiny_transformer(seed=0, dropout=0), Pooling(HIDDEN, pooling), *modules]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_old_names_give_the_same_vectors(tmp_path: Path, pooling: str) -> None:
    modules = Normalize(), Dense(HIDDEN, 8, activation_function=nn.GELU())
    model = saved(tmp_path / "model", *modules, pooling=pooling)
    write_old_names(model, tmp_path / "old", 48)
    kinds = [each["type"] for each in json.loads((tmp_path / "old/modules.json").read_text())]
    assert kinds == [
        f"sentence_transformers.models.{each}" for each in ("Transformer", "Pooling", "Normalize", "Dense")
    ]
    switches = json.loads((tmp_path / "old/1_Pooling/config.json").read_text())
    assert [name for name, on in switches.items() if on is True and name.startswith("pooling")] == [
        f"pooling_mode_{pooling}_tokens" if pooling != "cls" else "pooling_mode_cls_token"
    ]
    dense = json.loads((tmp_path / "old/3_Dense/config.json").read_text())
    assert dense.keys() == {"in_features", "out_features", "bias", "activation_function"}
    assert torch.load(tmp_path / "old/3_Dense/pytorch_model.bin").keys() == {"linear.weight", "linear.bias"}
    plain, old = (SentenceTransformer(str(tmp_path / name), device="cpu").encode(PROBES) for name in ("model", "old"))
    assert np.array_equal(plain, old)


def test_a_module_without_an_older_form_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", Dense(HIDDEN, HIDDEN, use_residual=True))
    with pytest.raises(RagcunError, match="a Dense with a residual"):
        write_old_names(model, tmp_path / "old", 48)
    modules = json.loads((model / "modules.json").read_text())
    modules[-1]["type"] = "somewhere.LSTM"
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(RagcunError, match="no older form of the modules LSTM"):
        write_old_names(model, tmp_path / "older", 48)


def test_an_artefact_with_other_vectors_fails_and_a_rounded_one_is_reported() -> None:
    wanted = np.eye(3)
    far = wanted + 0.5 * np.roll(wanted, 1, axis=1) * np.array([[0], [0], [1]])
    found = cosines(far, wanted)
    assert found["least_cosine"] == pytest.approx(1 / np.sqrt(1.25))
    assert found["mean_cosine"] == pytest.approx((2 + 1 / np.sqrt(1.25)) / 3)
    check({"onnx/model_int8.onnx": {**found, "must_hold": False}})
    with pytest.raises(RagcunError, match=r"onnx/model.onnx does not give the model's vectors: .* 0\.894427"):
        check({"onnx/model.onnx": {**found, "must_hold": True}})
    with pytest.raises(RagcunError):
        check({"onnx/model.onnx": {**cosines(wanted * np.nan, wanted), "must_hold": True}})


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three dev queries, each with its passage."""
    texts = [(f"question {row}", "query", "dev") for row in range(3)] + [
        (f"answer {row}", "passage", "dev") for row in range(3)
    ]
    none = [np.array([], dtype=np.int64)] * 3
    dev = pd.DataFrame({"query": range(3), "positive": range(3, 6), "negatives": none})
    frame = pd.DataFrame(texts, columns=["text", "role", "split"])
    write_pairs(tmp_path / "pairs", PreparedPairs(frame, dev.iloc[:0], dev, {}))
    return tmp_path / "pairs"


def test_dev_queries_are_ranked_over_the_dev_passages(pairs: Path) -> None:
    sample = Sample.of(pairs)
    assert (sample.queries, sample.passages, len(sample.texts)) == (3, 3, len(PROBES) + 6)

    def encode(texts: Any, role: str) -> np.ndarray:
        assert all(text.startswith("question") == (role == "query") for text in texts)
        axis = {"0": 0, "1": 1, "2": 2}
        return np.array([np.eye(4)[axis.get(text[-1], 3)] if text[-2:-1] == " " else np.eye(4)[3] for text in texts])

    vectors = sample.encoded(encode)
    assert sample.ndcg(vectors, "cosine") == 1.0
    swapped = vectors.copy()
    swapped[-1] = vectors[-2]
    assert sample.ndcg(swapped, "cosine") < 1.0  # type: ignore[operator]
    assert sample.few().ndcg(vectors, "cosine") is None
    assert [(row["dims"], row["numbers"], row["bytes"]) for row in bytes_against_quality(sample, vectors)] == [
        (4, "float32", 16),
        (4, "int8", 4),
    ]
    assert Sample.of(pairs / "nowhere").texts == PROBES


def test_the_card_tells_scores_data_prompts_and_figures(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "data/raw/pairs").mkdir(parents=True)
    report = {"source": "a source", "licence": "CC0", "revision": "r1", "kept": 1200, "read": 1300}
    (tmp_path / "data/raw/pairs/report.json").write_text(json.dumps(report))
    for name, score in (("mine", 0.5), ("base", 0.25)):
        (tmp_path / "metrics" / name).mkdir(parents=True)
        (tmp_path / "metrics" / name / "tiny.json").write_text(json.dumps({"ndcg@10": score}))
    (tmp_path / "params.yaml").write_text("base_model: a base\n")
    (tmp_path / "models/base").mkdir(parents=True)
    (tmp_path / "models/base/README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# a base\n")
    (tmp_path / "benchmarks").mkdir()
    anchor = {"names": ["a base"], "source": "a paper", "ndcg@10": {"tiny": 0.26, "other": 0.5}}
    (tmp_path / "benchmarks/published.yaml").write_text(json.dumps({"base-of-a-paper": anchor}))
    model = SentenceTransformer(str(tiny_base), device="cpu", prompts={"query": "ask: ", "document": ""})
    figures = {"least_cosine": 0.9999, "mean_cosine": 1.0, "ndcg@10": 0.75, "bytes": 2_500_000}
    size = {"dims": 32, "numbers": "int8", "bytes": 32, "ndcg@10": 0.7}
    parity = {
        "texts": 9,
        "few": 4,
        "queries": 3,
        "passages": 3,
        "artefacts": {"onnx/model.onnx": figures},
        "sizes": [size],
    }
    parity["absent"] = {"older-clients": "no form"}
    settings = '{"seed": 1}'
    write_card(tmp_path, model, name="out", trained="mine", parity=parity, project=tmp_path, settings=settings)
    card = (tmp_path / "README.md").read_text()
    for line in (
        "| benchmark | mine | base |",
        "| tiny | 0.5000 | 0.2500 |",
        "Its base is `a base`, under the licence apache-2.0.",
        "| base-of-a-paper | tiny | 0.2600 | 0.2500 |",
        "* a paper",
        "| `onnx/model.onnx` | 2.5 | 0.999900 | 1.000000 | 0.7500 |",
        "| 32 | int8 | 32 | 0.7000 |",
        "* a source, CC0, r1: 1,200 kept of 1,300.",
        "A query begins with `ask: `, a document with ``.",
        "`older-clients` is not here: no form.",
        'session = onnxruntime.InferenceSession("out/onnx/model.onnx")',
        settings,
    ):
        assert line in card.splitlines() or line in card, line
    assert 'SentenceTransformer("out/older-clients")' not in card
    assert card.count("published") == card.count("0.2600") == 1
