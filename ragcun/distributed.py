"""Arithmetic over the processes that torchrun started; one process alone is the case of world size 1.

DistributedDataParallel averages the ranks' gradients. So a loss over the *global* batch has the right gradient when
each rank returns its own terms' sum times world size over the global count, and embeddings travel between the ranks
through the differentiable collectives below, whose backward adds up what every rank's loss asks of a tensor.
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
    """Whether this process writes the logs, the bars and the files."""
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
    """Join torchrun's processes, where there is more than one, for the time of the block.

    Args:
        timeout: seconds after which a process that waits for the others gives up.

    Raises:
        RagcunError: another process did not answer in time. LostProcessError, one of these: it has gone.
    """
    if world_size() == 1 or _started():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
        backend = "nccl"
        # Unless it waits, a collective that is late aborts the process from another thread, and nobody says of what.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield
    except RuntimeError as error:
        explained = _explained(error, timeout)
        if explained is None:
            raise
        raise explained from error
    # Not after an error: where another process hangs or has gone, this would wait for it.
    dist.destroy_process_group()


def _explained(error: RuntimeError, timeout: float) -> RagcunError | None:
    """What an error of a collective says of the other ranks; None for any other error."""
    text = str(error).lower()
    if not any(name in text for name in ("gloo", "nccl", "tcpstore")):
        return None
    if "timed out" in text or "timeout" in text:
        return RagcunError(
            f"rank {rank()} waited for another process for {timeout:g} s: it hangs, or ddp.timeout is too short for it"
        )
    if any(
        words in text for words in ("closed", "reset", "broken pipe", "refused", "aborted", "remote process exited")
    ):
        return LostProcessError(f"rank {rank()} ends, for another process has gone: the first failure is the cause")
    return None


def shard(count: int) -> slice:
    """The contiguous part of `count` rows that is this rank's; the parts differ in size by at most one."""
    return shard_of(count, rank(), world_size())


def shard_of(count: int, rank: int, world_size: int) -> slice:
    """The contiguous part of `count` rows that belongs to `rank` of `world_size`."""
    return slice(count * rank // world_size, count * (rank + 1) // world_size)


def barrier() -> None:
    """Wait for every process."""
    if _started():
        dist.barrier()


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank; the same answer on every rank."""
    if not _started():
        return flag
    flags = torch.tensor(int(flag), device=device())
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def gather_objects(value: Any) -> list[Any]:
    """Every rank's `value`, in the order of the ranks, on every rank. Uses pickle between our own processes only."""
    if not _started():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_rows(rows: Tensor, total: int) -> Tensor:
    """All ranks' rows, in the order of the ranks, differentiably.

    Args:
        rows: this rank's `shard(total)`, (n_r, ...).
        total: the number of rows over all ranks.

    Returns:
        (total, ...). Its backward gives each rank the sum of what all ranks ask of its rows.
    """
    if not _started():
        return rows
    return _GatherRows.apply(rows, total)


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of every rank's `value`, on every rank; its backward adds up every rank's gradient of that sum."""
    if not _started():
        return value
    return _Sum.apply(value)


class _GatherRows(torch.autograd.Function):
    """An all-gather of parts of unequal length, written as a sum of zero-padded wholes: one collective, any sizes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, total: int) -> Tensor:
        ctx.part = shard(total)
        whole = rows.new_zeros((total, *rows.shape[1:]))
        whole[ctx.part] = rows
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.part], None


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
