"""Run a function in several real gloo processes."""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# Processes are forked from one that has imported these and done nothing else: each would need seconds to import them itself.
# It must have no thread of its own: pyarrow's allocator would start one.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
multiprocessing.set_forkserver_preload(["torch", "sentence_transformers", "datasets"])


def run_in_processes(function: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
    """`function(*args)` on every rank of a process group; what each returned (tensors and plain values), by rank."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world_size, _free_port(), folder, dict(os.environ), function, args)
        mp.start_processes(_worker, arguments, nprocs=world_size, start_method="forkserver")
        return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(world_size)]


def _worker(
    rank: int,
    world_size: int,
    port: int,
    folder: str,
    inherited: dict[str, str],
    function: Callable[..., Any],
    args: Any,
) -> None:
    torch.set_num_threads(1)
    # What was forked has the environment of the first test that asked for processes.
    os.environ.clear()
    os.environ.update(inherited)
    # As torchrun sets them: the Trainer looks for these.
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in environment.items()})
    dist.init_process_group("gloo")
    try:
        torch.save(function(*args), Path(folder, f"{rank}.pt"))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
