"""OpenVINO gives PyTorch's vectors, each from its text alone, and is used only where it can be."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models

from ragcun.core.errors import RagcunError
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.openvino_engine import runs_on_openvino
from ragcun.encode.store import MADE_BY, Texts, read_embeddings, write_embeddings
from ragcun.params import Embed
from ragcun.serve import query_model
from tests.encode.test_fixed_shapes import threads
from tests.encoding import load, some_texts, text_encoder
from tests.tiny import save_tiny_router


def static_model() -> SentenceTransformer:
    embedding = StaticEmbedding(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), embedding_dim=2)
    return SentenceTransformer(modules=[embedding], device="cpu")


def test_its_vectors_are_pytorchs_and_follow_from_the_text_alone(tiny_base: Path) -> None:
    texts = some_texts(60)
    exact = text_encoder(load(tiny_base)).encode(texts, "passage")
    encoder = text_encoder(load(tiny_base), engine="openvino")
    vectors = encoder.encode(texts, "passage")
    np.testing.assert_allclose(vectors, exact, atol=1e-5)
    assert np.array_equal(encoder.encode(texts[::-7], "passage"), vectors[::-7])
    with threads(1):
        one = text_encoder(load(tiny_base), engine="openvino").encode(texts, "passage")
    assert np.array_equal(one, vectors)


def test_only_a_transformer_on_a_processor_runs_on_it(tiny_base: Path, tmp_path: Path) -> None:
    assert runs_on_openvino(load(tiny_base))
    others = [static_model(), load(save_tiny_router(tmp_path / "router")), load(tiny_base).to("meta")]
    assert not any(map(runs_on_openvino, others))
    assert text_encoder(load(tiny_base), engine="auto").manifest[MADE_BY]["engine"].startswith("openvino 20")
    assert text_encoder(static_model(), engine="auto").manifest[MADE_BY]["engine"].startswith("torch ")
    with pytest.raises(RagcunError, match="needs a model that begins with a transformer"):
        text_encoder(static_model(), engine="openvino")


def test_its_vectors_are_not_taken_for_pytorchs_but_are_of_the_same_base(tiny_base: Path) -> None:
    exact, compiled = (text_encoder(load(tiny_base), engine=engine) for engine in ("torch", "openvino"))
    assert exact.key("river", "query") != compiled.key("river", "query")
    assert exact.description == compiled.description


def test_nothing_is_compiled_where_nothing_is_encoded(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragcun.encode.encoder.run_on_openvino", lambda *_: pytest.fail("compiled"))
    assert text_encoder(load(tiny_base), engine="openvino").encode([], "query").shape[0] == 0


def test_vectors_that_are_not_pytorchs_are_refused(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ragcun.encode.openvino_engine._Compiled.__call__",
        lambda self, **features: {"last_hidden_state": torch.randn(*features["input_ids"].shape, 32)},
    )
    with pytest.raises(RagcunError, match=r"have cosine .* set embed.engine: torch"):
        text_encoder(load(tiny_base), engine="openvino").encode(["river"], "query")


def test_its_telemetry_is_never_loaded() -> None:
    code = (
        "import sys; from ragcun.encode.openvino_engine import import_openvino; import_openvino().convert_model; "
        "import openvino.tools.ovc; sys.exit(sys.modules.get('openvino_telemetry') is not None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_search_takes_the_rows_that_the_pipeline_encoded_and_keeps_queries_exact(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = query_model.CORPUS | {"dtype": "float32"}  # the random base is too coarse in bfloat16
    monkeypatch.setattr(query_model, "CORPUS", encoding)
    texts = some_texts(20)
    pipeline = TextEncoder.of(load_base(str(tiny_base), device="cpu"), Embed(max_length=None, **encoding))
    assert pipeline.manifest[MADE_BY]["engine"].startswith("openvino ")
    write_embeddings(tmp_path / "stored", pipeline, {"texts": Texts.of(texts, "passage")})
    model = query_model.QueryModel(str(tiny_base))
    query = model.encode(["river"], "query")
    with monkeypatch.context() as patch:
        patch.setattr("ragcun.encode.encoder.run_on_openvino", lambda *_: pytest.fail("encoded again"))
        found = model.encode_corpus(texts, tmp_path)
    assert np.array_equal(found, read_embeddings(tmp_path / "stored").arrays["texts"])
    np.testing.assert_allclose(found, model.encode(texts, "passage"), atol=1e-5)
    model.encode_corpus(some_texts(30), tmp_path / "more")
    assert np.array_equal(model.encode(["river"], "query"), query)
