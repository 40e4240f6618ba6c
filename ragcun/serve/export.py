"""`ragcun export MODEL OUT`: one folder from which every client gets the model's vectors, and the figures that show it.

(OUT itself)      the SentenceTransformer folder
older-clients/    the same for clients that know only the older module names
onnx/             the whole model as one graph, in fp32 and int8, with its tokenizer
README.md         the model card
parity.json       how near each of these is to the vectors of torch in fp32
"""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ragcun.adapt.folder import load_model
from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_json
from ragcun.encode.base import prompt_of, similarity_of
from ragcun.encode.encoder import encode
from ragcun.encode.layout import known_base, saved_base_length, write_layout
from ragcun.params import Role
from ragcun.serve.export_card import write_card
from ragcun.serve.old_names import write_old_names
from ragcun.serve.onnx_graph import FP32, INT8, GraphEncoder, check_packages, write_graph
from ragcun.serve.parity import Sample, bytes_against_quality, check, cosines

logger = logging.getLogger(__name__)

Encode = Callable[[Sequence[str], Role], np.ndarray]

_BATCH_TOKENS = 4096
_OLDER, _ONNX = "older-clients", "onnx"


@dataclass(frozen=True)
class Request:
    """What the command was asked for; `project` has the metrics/ and data/ that the card tells of."""

    model: str
    out: Path
    project: Path = Path(".")


def export(request: Request) -> dict[str, Any]:
    """Do it, and return what parity.json holds.

    Raises:
        RagcunError: a package is missing, MODEL cannot be exported, an artefact gives other vectors, or OUT is there.
    """
    check_packages()
    if request.out.exists():
        raise RagcunError(f"OUT {request.out} is there already: name another folder, or remove it")
    model = load_model(request.model)
    logger.info("encoding texts with the model, to compare with")
    sample = Sample.of(request.project / "data/pairs/finetune")
    wanted = sample.encoded(lambda texts, role: _torch(model, texts, role))
    with atomic_folder(request.out) as folder:
        settings = _copy(request.model, model, folder)
        artefacts, absent = _write_artefacts(model, folder, sample, wanted)
        check(artefacts)
        parity = {
            "model": request.model,
            "texts": len(sample.texts),
            "few": len(sample.few().texts),
            "queries": sample.queries,
            "passages": sample.passages,
            "ndcg@10": sample.ndcg(wanted, similarity_of(model)),
            "artefacts": artefacts,
            "absent": absent,
            "sizes": bytes_against_quality(sample, wanted) if sample.queries else [],
        }
        write_json(folder / "parity.json", parity)
        write_card(
            folder,
            model,
            name=request.out.name,
            trained=Path(request.model).name,
            parity=parity,
            project=request.project,
            settings=settings,
        )
        if (known := known_base(Path(request.model))) is not None:
            # So that `ragcun project` knows the base in this folder too, which has further files.
            modules = len(json.loads((folder / "modules.json").read_text(encoding="utf-8")))
            write_layout(folder, saved_base_length(folder, modules), known)
    return parity


def _copy(path: str, model: SentenceTransformer, folder: Path) -> str | None:
    """Copy the model's folder, or save the model of a name; returns what made it, as its card says."""
    if not Path(path).is_dir():
        model.save(str(folder), create_model_card=False)
        return None
    shutil.copytree(path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md", _OLDER, _ONNX))
    card = Path(path, "README.md")
    _, _, made = (card.read_text(encoding="utf-8") if card.is_file() else "").partition("## Made with\n\n```json\n")
    return made.partition("\n```")[0] or None


def _write_artefacts(
    model: SentenceTransformer, folder: Path, sample: Sample, wanted: np.ndarray
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The figures of each artefact by its place, and why an artefact is absent."""
    artefacts, absent = {}, {}

    def measure(place: str, encoder: Encode, sample: Sample, *, must_hold: bool = True) -> None:
        vectors = sample.encoded(encoder)
        files = [folder / place] if (folder / place).is_file() else (folder / place).rglob("*")
        artefacts[place] = {
            **cosines(vectors, wanted[: len(vectors)]),
            "ndcg@10": sample.ndcg(vectors, similarity_of(model)),
            "bytes": sum(path.stat().st_size for path in files if path.is_file()),
            "must_hold": must_hold,
        }

    logger.info("the folder, and its copy for older clients")
    measure(".", _torch_of(folder), sample.few())
    try:
        write_old_names(folder, folder / _OLDER, model.max_seq_length)
        measure(_OLDER, _torch_of(folder / _OLDER), sample.few())
    except RagcunError as error:
        absent[_OLDER] = str(error)
    logger.info("the graphs for onnxruntime")
    write_graph(model, folder / _ONNX)
    for name in (FP32, INT8):
        logger.info("encoding the texts with %s", name)
        encoder = _graph_of(model, GraphEncoder(folder / _ONNX, name))
        measure(f"{_ONNX}/{name}", encoder, sample, must_hold=name != INT8)
    return artefacts, absent


def _graph_of(model: SentenceTransformer, graph: GraphEncoder) -> Encode:
    return lambda texts, role: graph.encode([(prompt_of(model, role) or "") + text for text in texts])


def _torch_of(folder: Path) -> Encode:
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts, role: _torch(model, texts, role)


def _torch(model: SentenceTransformer, texts: Sequence[str], role: Role) -> np.ndarray:
    return encode(model, texts, role, dtype="float32", batch_tokens=_BATCH_TOKENS)


def as_text(parity: dict[str, Any], out: Path) -> str:
    """What a person reads of an export."""
    lines = [f"{'':26}{'least cosine':>14}{'mean cosine':>14}{'NDCG@10':>10}{'MB':>8}"]
    for name, each in parity["artefacts"].items():
        score = "" if each["ndcg@10"] is None else f"{each['ndcg@10']:.4f}"
        size = each["bytes"] / 1e6
        lines.append(f"{name:26}{each['least_cosine']:14.6f}{each['mean_cosine']:14.6f}{score:>10}{size:8.1f}")
    lines += [f"{name} is absent: {why}" for name, why in parity["absent"].items()]
    return "\n".join([*lines, f"written: {out}"])
