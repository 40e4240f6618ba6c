"""ragcun.json in a saved model's folder: which of its modules are the base, and how the base's vectors are known.

SentenceTransformer does not read it. With it, the base inside a saved model is recognised in a tenth of a second, without
loading it.
"""

import json
from pathlib import Path
from typing import Any

from ragcun.core.errors import RagcunError
from ragcun.core.files import hash_files, write_json

LAYOUT_FILE = "ragcun.json"
# The card is written after the model, and decides nothing.
_UNHASHED = (LAYOUT_FILE, "README.md")


def write_layout(folder: Path, base_modules: int, base: dict[str, Any] | None = None) -> None:
    """Write the layout of a model that lies in `folder`.

    Args:
        base_modules: how many of the model's modules, from the first, are the base.
        base: what decides the base's vectors, as `ragcun.encode.encoder.describe` gives it; it makes the base known, and
            is for a finished folder, whose files are hashed.

    >>> write_layout(Path("model"), base_modules=2)
    >>> json.loads(Path("model/ragcun.json").read_text())
    {'base_modules': 2}
    """
    known = {} if base is None else {"base": base, "files": _hashes(folder)}
    write_json(folder / LAYOUT_FILE, {"base_modules": base_modules, **known})


def saved_base_length(folder: Path, modules: int) -> int:
    """How many of the `modules` of a saved model are its base.

    Raises:
        RagcunError: ragcun did not save it, or its layout file is damaged.

    >>> saved_base_length(tiny_model, modules=3)
    1
    """
    try:
        length = json.loads((folder / LAYOUT_FILE).read_text(encoding="utf-8"))["base_modules"]
    except (OSError, ValueError, KeyError) as error:
        raise RagcunError(
            f"{folder} was not saved by IsotropicGaussianEncoder (no readable {LAYOUT_FILE}): "
            "to put a new projection on it, give it as base_model"
        ) from error
    if not isinstance(length, int) or not 0 < length < modules:
        raise RagcunError(f"{folder / LAYOUT_FILE} says base_modules = {length!r} of {modules} modules: save it anew")
    return length


def known_base(folder: Path) -> dict[str, Any] | None:
    """What decides the vectors of the base in a saved model; None where its layout does not say, or a file has changed.

    >>> known_base(tiny_model)["dtype"]
    'float32'
    >>> known_base(tiny_base) is None
    True
    """
    try:
        layout = json.loads((folder / LAYOUT_FILE).read_text(encoding="utf-8"))
        base: dict[str, Any] = layout["base"]
        unchanged = layout["files"] == _hashes(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return base if unchanged else None


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return hash_files(folder, (path for path in files if path.relative_to(folder).as_posix() not in _UNHASHED))
