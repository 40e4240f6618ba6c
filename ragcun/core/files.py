"""Files that are whole or absent (written aside, then renamed), their hashes, and JSON values read by number."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import platformdirs


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends without an error, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        for file in partial.rglob("*"):
            # Some libraries write files that their user alone can read.
            if file.is_file() and not file.is_symlink():
                file.chmod(file.stat().st_mode | 0o666 & ~_umask())
        publish_folder(partial, path)
    except OSError as error:
        _name(error, path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish_folder(partial: Path, path: Path) -> None:
    """Put the finished folder `partial` in the place of `path`."""
    if not path.exists():
        partial.replace(path)
        return
    # Renamed aside first: a process killed in between leaves the old folder or the new one, hardly ever neither.
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        path.replace(old)
        partial.replace(path)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def cache_folder() -> Path:
    """RAGCUN_CACHE, or the user's cache folder."""
    return Path(os.environ.get("RAGCUN_CACHE") or platformdirs.user_cache_path("ragcun"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class JsonValues:
    """JSON values in an open file, read by number: value i is the bytes from places[i] to places[i + 1]."""

    def __init__(self, file: IO[bytes], places: Sequence[int]) -> None:
        self._file, self._places = file, places

    def __len__(self) -> int:
        return len(self._places) - 1

    def __getitem__(self, number: int) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start, end = self._places[number], self._places[number + 1]
        return json.loads(os.pread(self._file.fileno(), end - start, start))


def write_none(folder: Path, why: str) -> None:
    """Leave a note in an output that holds nothing: DVC needs the folder to exist."""
    (folder / _NONE).write_text(f"{why}\n", encoding="utf-8")


def is_none(folder: Path) -> bool:
    """Whether `write_none` left its note there."""
    return (folder / _NONE).is_file()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each of the files, by its path from `folder` on."""
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(set(files))}


_NONE = "none.txt"


def _name(error: OSError, path: Path) -> None:
    """Say what was being written, where the library that failed does not."""
    if error.errno and not error.filename:
        error.filename = str(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
