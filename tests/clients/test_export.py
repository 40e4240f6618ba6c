"""`ragcun export`, whole: what it writes, its figures, and that it leaves nothing where an artefact is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from torch import nn

from ragcun.cli import main
from ragcun.encode.layout import known_base
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.model.projection import set_random_map
from ragcun.params import NormalizeBase, ProjectionKind
from ragcun.serve import onnx_graph
from ragcun.serve.export import Request, export
from ragcun.serve.onnx_graph import GraphEncoder
from ragcun.serve.parity import PROBES
from tests.clients.conftest import Served
from tests.tiny import HIDDEN, save_tiny_router, tiny_transformer

pytestmark = pytest.mark.clients


def test_parity_is_told_of_each_artefact(served: Served) -> None:
    parity = json.loads((served.folder / "parity.json").read_text())
    assert parity["artefacts"].keys() == {".", "older-clients", "onnx/model.onnx", "onnx/model_int8.onnx"}
    for name, each in parity["artefacts"].items():
        assert each["bytes"] > 0
        assert 0.9 < each["least_cosine"] <= each["mean_cosine"] <= 1.000001
        assert each["must_hold"] == (name != "onnx/model_int8.onnx")
    sizes = {name: each["bytes"] for name, each in parity["artefacts"].items()}
    assert sizes["onnx/model_int8.onnx"] < 0.9 * sizes["onnx/model.onnx"]
    assert known_base(served.folder) is not None, "ragcun project knows the base in the export"


@pytest.mark.parametrize("normalize_base", ["keep", "drop"])
@pytest.mark.parametrize("projection", ["two_layer", "linear"])
def test_every_form_of_a_model_is_exported(
    tiny_base: Path, tmp_path: Path, normalize_base: NormalizeBase, projection: ProjectionKind
) -> None:
    encoder = IsotropicGaussianEncoder(
        base_model=str(tiny_base), output_dim=12, normalize_base=normalize_base, projection=projection, device="cpu"
    )
    set_random_map(encoder.projection)
    encoder.save_finished(tmp_path / "model")
    parity = export(Request(str(tmp_path / "model"), tmp_path / "out", project=tmp_path))
    assert len(parity["artefacts"]) == 4
    assert min(each["least_cosine"] for each in parity["artefacts"].values() if each["must_hold"]) > 0.99999
    older = SentenceTransformer(str(tmp_path / "out/older-clients"), device="cpu")
    assert [type(module).__name__ for module in older] == [type(module).__name__ for module in encoder]


def test_a_batch_gives_the_vectors_that_each_text_gives_alone(served: Served) -> None:
    graph = GraphEncoder(served.folder / "onnx")
    together = graph.encode(PROBES)
    assert np.abs(together - np.concatenate([graph.encode([text]) for text in PROBES])).max() < 1e-5


def test_another_pooling_and_no_token_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        tiny_transformer(seed=0, dropout=0),
        Pooling(HIDDEN, "cls"),
        Dense(HIDDEN, 6, activation_function=nn.Tanh()),
    ]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "out"), "--project", str(tmp_path), "--json"]) == 0
    parity = json.loads(capsys.readouterr().out)
    assert parity["artefacts"]["onnx/model.onnx"]["least_cosine"] > 0.99999


def test_a_wrong_graph_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_projection(self: onnx_graph._Graph, *tensors: torch.Tensor) -> torch.Tensor:
        states = self.model[0](dict(zip(self.inputs, tensors, strict=True)))["token_embeddings"]
        return states[:, 0, : self.model.get_embedding_dimension()]

    monkeypatch.setattr(onnx_graph._Graph, "forward", without_projection)
    assert main(["export", str(model), str(tmp_path / "out"), "--project", str(tmp_path)]) == 1
    assert "onnx/model.onnx does not give the model's vectors: the least cosine" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_says_why(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    router = save_tiny_router(tmp_path / "router")
    for place, out, message in [
        (model, "there", "is there already"),
        (router, "out", "needs a model that begins with a transformer"),
        (tmp_path / "nowhere", "out", "nowhere"),
    ]:
        assert main(["export", str(place), str(tmp_path / out), "--project", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
