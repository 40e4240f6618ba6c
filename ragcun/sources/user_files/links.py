"""Links to user files, by which DVC notices that their content changed.

DVC cannot have a dep that only some settings name. So `data/own/<what>` is an output that holds links to what the params
name. DVC hashes an output through its links: where a file's content changed, the output did, so its stage runs again, and
after it those that read the file. Where params name no user file, the folder holds a note.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ragcun.core.errors import RagcunError
from ragcun.core.files import atomic_folder, write_none

# The pipeline's outputs. A setting that names one of them would make the result depend on the run before.
OUTPUTS = (
    "models",
    "metrics",
    "report",
    "data/raw",
    "data/pairs",
    "data/embeddings",
    "data/benchmarks",
    "data/validation",
    "data/figures",
    "data/fused",
    "data/runs",
    "data/own",
)

_BENCHMARK = ("corpus.jsonl", "queries.jsonl", "qrels/*.tsv")


def user_path(value: str) -> Path | None:
    """The path that a setting names, such as my/pairs.jsonl; None for a source's name, which has no dot and no slash."""
    return Path(value).expanduser() if set("./~") & set(value) else None


def user_model(spec: str) -> Path | None:
    """The folder that base_model names: one that exists, a path from `.`, `/` or `~`, or an output of the pipeline; else None."""
    path = Path(spec).expanduser()
    own = spec.startswith((".", "/", "~")) or path.is_dir() or any(path.is_relative_to(output) for output in OUTPUTS)
    return path if own else None


def link_file(path: Path | None, folder: Path, *, key: str) -> None:
    """Make `folder` hold a link to a file, or a note without one.

    Raises RagcunError, naming the params' key, where there is no such file, or where it is an output of the pipeline.
    """
    if path is not None:
        _refuse_output(path, path, key)
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            raise RagcunError(f"{key} names the file {path}, which {what}; correct it in params.yaml")
    _link({} if path is None else {path.name: path}, folder, key)


def link_model(path: Path | None, folder: Path) -> None:
    """Make `folder` hold links to a model's files. Raises RagcunError where there are none, or outputs of the pipeline."""
    _link(_files(path, ["**/*"], "base_model") if path else {}, folder, "base_model")


def link_benchmark(path: Path | None, folder: Path, *, key: str) -> None:
    """Make `folder` hold links to the files of a benchmark's folder. Raises RagcunError as `link_model`."""
    _link(_files(path.expanduser(), _BENCHMARK, key) if path else {}, folder, key)


def _files(folder: Path, patterns: Iterable[str], key: str) -> dict[str, Path]:
    _refuse_output(folder, folder, key)
    # A note in place of this error would stay when the folder comes, and hide its changes.
    if not folder.is_dir():
        raise RagcunError(f"{key} names the folder {folder}, which does not exist; correct it in params.yaml")
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    if not found:
        raise RagcunError(f"{key} names the folder {folder}, which has none of the files it should; correct it")
    for path in sorted(found):
        _refuse_output(path, folder, key)
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _refuse_output(path: Path, named: Path, key: str) -> None:
    """Raise RagcunError where `path`, or a link on the way to its content, lies among the pipeline's outputs.

    Args:
        named: what the params name: `path`, or the folder that holds it.
    """
    for place in _places(path):
        for output in OUTPUTS:
            if place.is_relative_to(Path(output).resolve()):
                raise RagcunError(
                    f"{key} names {named}, which leads to an output of this pipeline ({output}/): every run would go on "
                    f"from the result of the last. Copy it once (cp -RL {named} my_{named.name}), and name the copy"
                )


def _places(path: Path) -> Iterator[Path]:
    """Where `path` lies, then where each link on the way to its content leads."""
    seen: set[Path] = set()
    place = path.absolute().parent.resolve() / path.name
    while place not in seen:
        seen.add(place)
        yield place
        if place.is_symlink():
            target = place.parent / place.readlink()
            place = target.parent.resolve() / target.name


def _link(files: dict[str, Path], folder: Path, key: str) -> None:
    with atomic_folder(folder) as partial:
        for name, file in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            # Relative within the project, so that it works in a clone.
            inside = file.absolute().is_relative_to(Path.cwd())
            place = folder.absolute() / name
            (partial / name).symlink_to(os.path.relpath(file.absolute(), place.parent) if inside else file.absolute())
        if not files:
            write_none(partial, f"{key} names no file of yours")
