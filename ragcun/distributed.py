"""Work shared by the processes that torchrun started; without torchrun there is one process, rank 0 of 1.

DistributedDataParallel averages the gradients of the ranks. So each rank returns the sum of its own loss terms, times
the world size, over the number of terms on all ranks. Embeddings travel between the ranks by collectives that autograd
goes through: their backward pass adds up the gradients that all ranks have for a tensor.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ragcun.core.errors import LostProcessError, RagcunError


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if _started() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _started() else int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes logs, progress bars and files."""
    return rank() == 0


def device() -> torch.device:
    """The device of this process: its own GPU, or the CPU.

    Raises:
        RagcunError: this machine has GPUs, but more processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    place, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= gpus:
        raise RagcunError(
            f"rank {rank()} has no GPU: {os.environ.get('LOCAL_WORLD_SIZE', place + 1)} processes were started on a machine "
            f"where {gpus} can be seen. Lower ddp.nproc_per_node (NPROC, where started by hand) to {gpus}, say gpu for one "
            "process per GPU, or look at CUDA_VISIBLE_DEVICES"
        )
    return torch.device("cuda", place)


@contextmanager
def process_group(timeout: float = 600) -> Iterator[None]:
    """Join torchrun's processes, if there are several, while the block runs.

    Args:
        timeout: seconds that a process waits for the others.

    Raises:
        RagcunError: another process did not answer in time, or (LostProcessError) has ended.
    """
    if world_size() == 1 or _started():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
        backend = "nccl"
        # Else a late collective aborts the process from another thread, without saying why.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield
    except RuntimeError as error:
        explained = _explained(error, timeout)
        if explained is None:
            raise
        raise explained from error
    # Not after an error: this would wait for a process that hangs or has ended.
    dist.destroy_process_group()


def _explained(error: RuntimeError, timeout: float) -> RagcunError | None:
    """What the error of a collective says about the other ranks; None for any other error."""
    text = str(error).lower()
    if not any(name in text for name in ("gloo", "nccl", "tcpstore")):
        return None
    if "timed out" in text or "timeout" in text:
        return RagcunError(
            f"rank {rank()} waited for another process for {timeout:g} s: it hangs, or ddp.timeout is too short for it"
        )
    lost = ("closed", "reset", "broken pipe", "refused", "aborted", "remote process exited")
    if any(words in text for words in lost):
        return LostProcessError(f"rank {rank()} ends, for another process has gone: the first failure is the cause")
    return None


def shard(count: int) -> slice:
    """This rank's contiguous part of `count` rows; the parts of all ranks differ in size by at most one."""
    return shard_of(count, rank(), world_size())


def shard_of(count: int, rank: int, world_size: int) -> slice:
    """`shard` for the given rank and world size.

    >>> [shard_of(5, rank, 2) for rank in range(2)]
    [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def barrier() -> None:
    """Wait for every process."""
    if _started():
        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank."""
    if not _started():
        return flag
    flags = torch.tensor(int(flag), device=device())
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def gather_objects(value: Any) -> list[Any]:
    """The values of all ranks, in rank order, on every rank. Only our own processes exchange the pickles."""
    if not _started():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_rows(rows: Tensor, total: int) -> Tensor:
    """The rows of all ranks, (total, ...), in rank order; its backward pass adds up the gradients of all ranks.

    Args:
        rows: this rank's `shard(total)`, (n, ...).
        total: the number of rows on all ranks.
    """
    if not _started():
        return rows
    # Each rank adds a whole that is zero outside its part: one collective for parts of any size.
    whole = rows.new_zeros((total, *rows.shape[1:]))
    whole[shard(total)] = rows
    return _Sum.apply(whole)


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every rank's `value`, on every rank; its backward pass adds up the gradients of all ranks."""
    return _Sum.apply(value) if _started() else value


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
