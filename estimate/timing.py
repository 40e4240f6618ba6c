"""How rates are taken: time, memory, texts of a length, and separate processes."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a fresh process, where nothing else has taken memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def texts_of(words: Sequence[str], length: float, count: int) -> list[str]:
    """`count` texts of about `length` words, cut one after the other from `words`."""
    size = max(1, round(length))
    starts = [row * size % (len(words) - size) for row in range(count)]
    return [" ".join(words[start : start + size]) for start in starts]


def rate(count: int, call: Callable[..., Any], *arguments: Any) -> float:
    return count / seconds_of(lambda: call(*arguments))


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of the faster of two calls."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken)


def peak_memory(*, device: bool = True) -> int:
    """The most bytes in use: of the GPU where there is one, else of the process."""
    if device and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # getrusage's figure would include the peak of the parent process.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))
