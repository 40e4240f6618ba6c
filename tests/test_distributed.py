"""Shards cover the whole; the collectives give every rank the whole and carry gradients back."""

import os

import pytest
import torch
import torch.distributed as dist

from ragcun import distributed
from ragcun.core.errors import RagcunError
from tests.processes import run_in_processes


@pytest.mark.parametrize("count", [0, 1, 2, 7, 256])
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_shards_are_contiguous_even_and_complete(count: int, world_size: int) -> None:
    parts = [range(count)[distributed.shard_of(count, rank, world_size)] for rank in range(world_size)]
    assert [row for part in parts for row in part] == list(range(count))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_alone_needs_no_group() -> None:
    with distributed.process_group():
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        rows = torch.ones(3, 2)
        assert distributed.gather_rows(rows, 3) is rows
        assert distributed.sum_over_ranks(rows) is rows
        assert distributed.gather_objects("a") == ["a"]
        distributed.barrier()


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_more_processes_than_gpus_are_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "6", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert distributed.device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(RagcunError, match=r"rank 6 has no GPU: 4 processes .* 2 can be seen. Lower ddp.nproc_per_node"),
        distributed.process_group(),
    ):
        pytest.fail("no process group may start")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("told", "expected"), [(None, "1"), ("0", "0")])
def test_a_late_collective_of_nccl_raises_where_it_was_called(
    told: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PyTorch documents TORCH_NCCL_BLOCKING_WAIT; here only that it is set, and that the error is understood."""
    monkeypatch.setenv("RANK", "6")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("TORCH_NCCL_BLOCKING_WAIT", told or "")
    if told is None:
        monkeypatch.delenv("TORCH_NCCL_BLOCKING_WAIT")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    backends = []

    def starting(backend: str, **kwargs: object) -> None:
        backends.append((backend, os.environ["TORCH_NCCL_BLOCKING_WAIT"]))

    monkeypatch.setattr(dist, "init_process_group", starting)
    late = "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3) ran for 5040 milliseconds"
    with pytest.raises(RagcunError, match="rank 6 waited for another process for 5 s"), distributed.process_group(5):
        raise RuntimeError(late)
    assert backends == [("nccl", expected)]


def collectives() -> dict[str, object]:
    """Five rows over the ranks; each rank's loss weighs the gathered rows by its own number plus one."""
    rank = distributed.rank()
    everything = torch.arange(10.0, dtype=torch.float64).reshape(5, 2)
    mine = everything[distributed.shard(5)].clone().requires_grad_()
    gathered = distributed.gather_rows(mine, 5)
    ((rank + 1) * gathered.square().sum()).backward()
    summed = torch.tensor([rank + 1.0], requires_grad=True)
    total = distributed.sum_over_ranks(summed)
    ((rank + 1) * total.square()).backward()
    return {
        "gathered": gathered.detach(),
        "rows": mine.detach(),
        "gradient": mine.grad,
        "total": total.detach(),
        "sum gradient": summed.grad,
        "objects": distributed.gather_objects(rank),
        "main": distributed.is_main(),
    }


def test_every_rank_sees_the_whole_and_gets_every_ranks_gradient() -> None:
    shares = run_in_processes(collectives, 2)
    everything = torch.arange(10.0, dtype=torch.float64).reshape(5, 2)
    for rank, share in enumerate(shares):
        assert torch.equal(share["gathered"], everything)
        # The ranks' losses weigh the rows by 1 and by 2.
        assert torch.equal(share["gradient"], 3 * 2 * share["rows"])
        assert share["total"].item() == 3
        assert share["sum gradient"].item() == 3 * 2 * 3
        assert share["objects"] == [0, 1]
        assert share["main"] == (rank == 0)
    assert torch.equal(torch.cat([share["rows"] for share in shares]), everything)
