"""A user's own model folder is copied without what could run code; their own benchmark is checked as any other."""

import os
from pathlib import Path

import pytest

from ragcun.benchmark import Benchmark, write_benchmark
from ragcun.errors import RagcunError
from ragcun.sources.local import LocalBenchmark, LocalModel
from tests.sources.conftest import MODEL_FILES, UNWANTED_FILES, files_of, write_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_files(tmp_path / "model", MODEL_FILES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_a_model_is_copied_without_code_pickles_and_other_engines(model: Path, target: Path) -> None:
    write_files(model, UNWANTED_FILES)
    LocalModel(model).fetch(target=target)
    assert files_of(target) == MODEL_FILES


def test_links_to_files_are_copied_as_files(model: Path, target: Path, tmp_path: Path) -> None:
    blob = (model / "model.safetensors").rename(tmp_path / "blob")
    (model / "model.safetensors").symlink_to(blob)
    LocalModel(model).fetch(target=target)
    assert files_of(target) == MODEL_FILES
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_home_is_expanded(model: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    LocalModel(Path("~/model")).fetch(target=target)
    assert files_of(target) == MODEL_FILES


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"is not a SentenceTransformer: it has no modules\.json\. Name another base_model, or make it one"),
        ({"modules.json": b"["}, r"modules\.json is not valid JSON"),
        ({"modules.json": b"[]"}, r"modules\.json does not list modules"),
        ({"modules.json": b'[{"type": "x.Transformer"}]'}, r"modules\.json does not list modules"),
        ({"modules.json": b'[{"type": "x.Transformer", "path": "../other"}]'}, r"modules\.json does not list modules"),
        ({"modules.json": b'[{"type": "x.Transformer", "path": "/etc"}]'}, r"modules\.json does not list modules"),
        ({"modules.json": b'[{"type": "x.Transformer", "path": ""}]'}, r"has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_sentence_transformer_is_an_error_and_nothing_is_copied(
    tmp_path: Path, target: Path, files: dict[str, bytes], message: str
) -> None:
    folder = write_files(tmp_path / "model", {"config.json": b"{}", "model.safetensors": b"w", **files})
    with pytest.raises(RagcunError, match=message):
        LocalModel(folder).fetch(target=target)
    assert files_of(target) == {}


@pytest.mark.parametrize(("kind", "path"), [("models.Transformer", ""), ("models.Dense", "2_Dense")])
def test_pickled_weights_alone_are_an_error_that_says_how_to_convert(
    tmp_path: Path, target: Path, kind: str, path: str
) -> None:
    modules = f'[{{"type": "sentence_transformers.{kind}", "path": "{path}"}}]'.encode()
    pickled = os.path.join(path, "pytorch_model.bin")
    folder = write_files(tmp_path / "model", {"modules.json": modules, pickled: b"pickle"})
    with pytest.raises(
        RagcunError, match=r"has no safetensors weights .*Convert it where you trust it: SentenceTransformer"
    ):
        LocalModel(folder).fetch(target=target)
    assert files_of(target) == {}


def test_a_missing_folder_is_an_error(tmp_path: Path, target: Path) -> None:
    with pytest.raises(RagcunError, match="nowhere does not exist; correct base_model"):
        LocalModel(tmp_path / "nowhere").fetch(target=target)


def test_a_local_benchmark_is_read_under_the_name_it_was_given(tmp_path: Path) -> None:
    benchmark = Benchmark("mine", ["a"], ["A"], ["text"], {"test": {"q": "?"}}, {"test": {"q": {"a": 1}}})
    write_benchmark(benchmark, tmp_path / "folder")
    assert LocalBenchmark("mine", tmp_path / "folder").benchmark() == benchmark
    (tmp_path / "folder" / "qrels" / "test.tsv").unlink()
    with pytest.raises(RagcunError, match=r"test\.tsv is missing"):
        LocalBenchmark("mine", tmp_path / "folder").benchmark()
