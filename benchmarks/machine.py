"""The machine and the versions that a result was measured with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_PACKAGES = (
    "torch",
    "numpy",
    "sentence-transformers",
    "transformers",
    "beir",
    "pytrec_eval-terrier",
    "faiss-cpu",
    "dvc",
)


def machine() -> dict[str, str | int | float]:
    """The processor, its cores and memory, and how busy it was in the last minute before.

    >>> sorted(machine())
    ['cores', 'load', 'memory_gb', 'processor', 'system', 'vectors']
    """
    return {
        "processor": _processor(),
        "vectors": _vector_unit(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    """The versions of the packages that are compared; those that are missing are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _vector_unit() -> str:
    """The widest instructions that torch uses."""
    import torch

    return torch.backends.cpu.get_cpu_capability()
