"""Time and peak memory of `ragcun project` on N random base vectors.

    python -m benchmarks.project_memory models/smart_hybrid 1000000

Prints one row of benchmarks/project_memory.md.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_ROWS_A_CHUNK = 50_000


def write_vectors(path: Path, count: int, dim: int) -> None:
    """A .npy of standard normal vectors (count, dim)."""
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        # A memory map would raise this process's own peak, and a process that it starts inherits that.
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, count, _ROWS_A_CHUNK):
            generator.standard_normal((min(_ROWS_A_CHUNK, count - at), dim), dtype=np.float32).tofile(file)


def main(model: str, count: int) -> None:
    """Run the command on `count` vectors."""
    layers = json.loads(Path(model, "modules.json").read_text(encoding="utf-8"))
    first = next(layer["path"] for layer in layers if layer["type"].endswith("Dense"))
    dim = json.loads(Path(model, first, "config.json").read_text(encoding="utf-8"))["in_features"]
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "base.npy"), Path(folder, "out.npy")
        write_vectors(source, count, dim)
        start = time.monotonic()
        command = [sys.executable, "-m", "ragcun.cli", "project", model, str(source), str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / 1024
    print(f"| {count:,} × {dim} | {seconds:.0f} | {used.ru_utime + used.ru_stime:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
