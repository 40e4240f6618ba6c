"""The projection of a saved model, read without sentence-transformers: a model over stored vectors starts in no time.

`ragcun.model.encoder` loads the whole model; this module reads the two `Dense` folders, and gives the same vectors.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ragcun.encode.layout import known_base, saved_base_length
from ragcun.params import Embed, Similarity

# What `build_projection` makes; a module of any other kind is left to sentence-transformers.
_ACTIVATIONS = {"torch.nn.modules.activation.GELU": nn.GELU, "torch.nn.modules.linear.Identity": nn.Identity}
# Base vectors that go through the projection at once.
_ROWS_A_CHUNK = 8192


@dataclass(frozen=True)
class SavedProjection:
    """The layers of a saved projection, and how its embeddings are compared."""

    layers: nn.Sequential
    dim: int
    similarity: Similarity
    device: torch.device

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Base vectors (N, d), perhaps memory-mapped, to embeddings (N, D) float32."""
        return project_rows(self.layers, rows, self.dim, self.device)


@torch.inference_mode()
def project_rows(layers: Callable[[Tensor], Tensor], rows: np.ndarray, dim: int, device: torch.device) -> np.ndarray:
    """`rows` (N, d), perhaps memory-mapped, through `layers` to (N, `dim`) float32, in chunks.

    >>> project_rows(nn.Identity(), np.ones((1, 2)), 2, torch.device("cpu"))
    array([[1., 1.]], dtype=float32)
    """
    out = np.empty((len(rows), dim), dtype=np.float32)
    for at in range(0, len(rows), _ROWS_A_CHUNK):
        part = torch.from_numpy(np.array(rows[at : at + _ROWS_A_CHUNK], dtype=np.float32)).to(device)
        out[at : at + len(part)] = layers(part).float().cpu().numpy()
    return out


def saved_projection(
    folder: Path, stored: dict[str, Any], embed: Embed, device: torch.device
) -> SavedProjection | None:
    """The projection in `folder`, if its base made the stored vectors, which have the description `stored`.

    None where another base made them, where the folder does not say, or where the model is not as `build_projection`
    makes it: then the model must be loaded.

    >>> embed = Embed(engine="torch", dtype="float32", batch_tokens=64, max_length=None)
    >>> saved_projection(tiny_model, tiny_encoder.description, embed, torch.device("cpu")).project(np.array([[3, 4]]))
    array([[3., 4.]], dtype=float32)
    """
    base = known_base(folder)
    if base is None:
        return None
    cut = embed.max_length or base["max_length"]
    if {**base, "max_length": cut, "dtype": embed.dtype} != stored:
        return None
    config = _json(folder / "config_sentence_transformers.json")
    modules = _json(folder / "modules.json")
    layers = [
        _layer(folder / entry["path"], entry["type"]) for entry in modules[saved_base_length(folder, len(modules)) :]
    ]
    if None in layers or config["similarity_fn_name"] not in get_args(Similarity):
        return None
    stack = nn.Sequential(*(module for layer in layers if layer for module in layer)).to(device).eval()
    dims = [module.out_features for module in stack if isinstance(module, nn.Linear)]
    return SavedProjection(stack, dims[-1], cast(Similarity, config["similarity_fn_name"]), device)


def _layer(folder: Path, kind: str) -> list[nn.Module] | None:
    """The layers of one module of the projection; None for a kind that this module does not know."""
    name = kind.rpartition(".")[2]
    if name == "Dropout":
        return []
    config = _json(folder / "config.json") if name == "Dense" else {}
    activation = _ACTIVATIONS.get(config.get("activation_function", ""))
    ends = {config.get("module_input_name"), config.get("module_output_name")}
    if activation is None or ends != {"sentence_embedding"} or config.get("use_residual"):
        return None
    linear = nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
    weights = load_file(folder / "model.safetensors")
    linear.load_state_dict({key.removeprefix("linear."): value.float() for key, value in weights.items()})
    return [linear, activation()]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
