"""Recognises a full disk behind any error, and says what is free where."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ragcun.core.files import cache_folder

# What libraries say that raise no OSError with its number: those in Rust, pip, SQLite, numpy, torch.
_FULL_DISK = re.compile(
    r"No space left on device|Disk quota exceeded|os error (28|122)\b|database or disk is full"
    r"|\d+ requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"
)


def full_disk(error: BaseException) -> str | None:
    """What was not written, what is free where, and what to do, if a full disk caused the error; else None."""
    cause = next((each for each in _chain(error) if _is_full_disk(each)), None)
    if cause is None:
        return None
    # An error of copying names the file that is read first.
    path = getattr(cause, "filename2", None) or getattr(cause, "filename", None)
    where = f" while writing {path}" if path else ""
    said = " ".join(str(cause).split())[:200]
    return (
        f"the disk, or your quota of it, is full{where} ({said}). Free now, without what was half written: "
        f"{', '.join(_free_space())}. Free more and run again, or move what grows elsewhere: DVC's cache "
        "(dvc cache dir PATH), RAGCUN_CACHE, HF_HOME, TMPDIR"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return bool(_FULL_DISK.search(str(error)))


def _free_space() -> Iterator[str]:
    """For each file system that a stage writes to: the free space, and the folders on it."""
    places: dict[str, str | Path] = {
        "the project": ".",
        "data": "data",
        "models": "models",
        "DVC's cache": ".dvc/cache",
        "RAGCUN_CACHE": cache_folder(),
        "HF_HOME": os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"),
        "TMPDIR": os.environ.get("TMPDIR") or "/tmp",
    }
    on_disk: dict[int, list[str]] = {}
    free: dict[int, str] = {}
    for name, place in places.items():
        path = Path(place).resolve()
        # A folder that does not exist yet will be on the disk of the folder above it.
        existing = next(each for each in (path, *path.parents) if os.path.exists(each))
        disk = existing.stat().st_dev
        on_disk.setdefault(disk, []).append(name)
        free.setdefault(disk, f"{shutil.disk_usage(existing).free / 1e9:.2f} GB at {existing}")
    return (f"{free[disk]} ({', '.join(names)})" for disk, names in on_disk.items())
