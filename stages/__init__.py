"""One thin script a stage: read params, call ragcun, write outs."""

import contextlib
import ctypes
import errno
import logging
import os
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import platformdirs

from ragcun.core.errors import LostProcessError, RagcunError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage: a user's mistake or a full disk becomes one line and exit code 1; a defect keeps its traceback.

    Under torchrun the error is recorded too, so that its report names the first one. A rank that fails because it lost
    another one says so in a line and leaves a little later than that one did.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "sentence_transformers", "transformers", "accelerate", "bm25s"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
    _end_with_torchrun()
    # torchrun ends the other ranks with SIGTERM; leaving by an exception lets them remove what is half written.
    signal.signal(signal.SIGTERM, _leave)
    try:
        main()
    except LostProcessError as error:
        print(error, file=sys.stderr, flush=True)
        time.sleep(_AFTER_THE_FIRST)
        sys.exit(1)
    except Exception as error:
        _record(error)
        full = _full_disk(error)
        if full is None and not isinstance(error, RagcunError):
            raise
        print(f"error: {full or error}", file=sys.stderr, flush=True)
        sys.exit(1)


def _end_with_torchrun() -> None:
    """Die when torchrun does: it starts its processes in sessions of their own, where a kill of its group does not reach them.

    One that lived on would write checkpoints beside those of the run that is started next. Linux only.
    """
    if _UNDER_TORCHRUN and sys.platform == "linux":
        set_parent_death_signal = 1  # of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _record(error: Exception) -> None:
    if _UNDER_TORCHRUN:
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        # The record is a file of torchrun's, and the error may be that there is no room for one.
        with contextlib.suppress(OSError):
            get_error_handler().record_exception(error)


def _full_disk(error: BaseException) -> str | None:
    """Where the error comes of a full disk: what was refused, what is free where, and what to do; else None."""
    cause = next((each for each in _chain(error) if _is_full_disk(each)), None)
    if cause is None:
        return None
    # Of a copy, the first name is what is read.
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
    """For each file system that a stage writes to: what is free there, and which of the places lie on it."""
    places = {
        "the project": ".",
        "data": "data",
        "models": "models",
        "DVC's cache": ".dvc/cache",
        "RAGCUN_CACHE": os.environ.get("RAGCUN_CACHE") or platformdirs.user_cache_dir("ragcun"),
        "HF_HOME": os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"),
        "TMPDIR": os.environ.get("TMPDIR") or "/tmp",
    }
    on_disk: dict[int, list[str]] = {}
    free: dict[int, str] = {}
    for name, place in places.items():
        path = Path(place).resolve()
        # A cache that is not there yet will be on the disk of the folder above it.
        existing = next(each for each in (path, *path.parents) if os.path.exists(each))
        disk = existing.stat().st_dev
        on_disk.setdefault(disk, []).append(name)
        free.setdefault(disk, f"{shutil.disk_usage(existing).free / 1e9:.2f} GB at {existing}")
    return (f"{free[disk]} ({', '.join(names)})" for disk, names in on_disk.items())


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


_UNDER_TORCHRUN = "TORCHELASTIC_ERROR_FILE" in os.environ
# What libraries say that raise no OSError with its number: those in Rust, pip, SQLite, numpy, torch.
_FULL_DISK = re.compile(
    r"No space left on device|Disk quota exceeded|os error (28|122)\b|database or disk is full"
    r"|\d+ requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"
)
# Seconds in which torchrun notices the process that failed first.
_AFTER_THE_FIRST = 3

# A line a second is enough where bars go to a log file.
os.environ.setdefault("TQDM_MININTERVAL", "1")
