"""Peak memory and time of a step of full fine-tuning, by batch size, precision, and with cached gradients or without.

Usage: python benchmarks/training_memory.py [--limit GIB] [BATCH_SIZE...]

Run it where `dvc repro finetune@full_finetune` is done: it reads models/base, data/pairs and params.yaml, and takes each
combination through two steps in a process of its own, which may use no more than the limit. Without --limit that is
what the machine has free. It prints the table of benchmarks/training_memory.md.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

STEPS = 2
GIB = 2**30


def measure(batch_size: int, cached: bool, dtype: str, limit: int, connection: Any) -> None:
    """Send peak resident bytes and seconds of the faster step, or what went wrong."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        connection.send(steps(batch_size, cached, dtype))
    except (RuntimeError, MemoryError) as error:
        connection.send({"error": str(error).splitlines()[0]})


def steps(batch_size: int, cached: bool, dtype: str) -> dict[str, float]:
    import torch

    from ragcun.data.pairs import read_pairs
    from ragcun.model.encoder import IsotropicGaussianEncoder
    from ragcun.params import load_params
    from ragcun.train.batches import BatchCollator, plan_batches
    from ragcun.train.loss import RetrievalLoss
    from ragcun.train.trainee import LiveTrainee

    live = load_params().finetune.live
    settings = (
        load_params()
        .finetune.training(live=True)
        .model_copy(update={"batch_size": batch_size, "max_pairs": None, "dtype": dtype})
    )
    pairs = read_pairs(Path("data/pairs/finetune"))
    encoder = IsotropicGaussianEncoder(
        output_dim=None, base_model="models/base", freeze_base=False, device="cpu"
    ).train()
    encoder.max_seq_length = live.max_length
    texts = pairs.texts["text"].tolist()
    trainee = LiveTrainee(encoder, texts, chunk=live.forward_size, dtype=settings.dtype, cache_gradients=cached)
    loss = RetrievalLoss(
        encoder, similarity="cosine", temperature=settings.temperature, isotropy_weight=1.0, isotropy_directions=64
    )
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-6)
    collate = BatchCollator(trainee.load, pairs.known_positives)
    batches = plan_batches(pairs, settings, seed=0)
    seconds = []
    for step in range(STEPS):
        inputs = collate([batches[step]])
        label = inputs.pop("label")
        count = 1 + max(int(key.split("_")[0]) for key in inputs)
        chunks = [
            {key.partition("_")[2]: value for key, value in inputs.items() if key.startswith(f"{place}_")}
            for place in range(count)
        ]
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            total = sum(loss(chunks, label).values())
        total.backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    # Linux counts in KiB.
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "seconds": min(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("batch_sizes", nargs="*", type=int, default=[64, 256, 1024])
    parser.add_argument("--limit", type=float, default=psutil.virtual_memory().available / GIB)
    arguments = parser.parse_args()
    print("| batch size | precision | cached | peak memory, GiB | seconds a step |")
    print("| ---: | --- | --- | ---: | ---: |")
    context = multiprocessing.get_context("spawn")
    for batch_size in arguments.batch_sizes:
        for dtype in ("float32", "bfloat16"):
            for cached in (False, True):
                receiver, sender = context.Pipe(duplex=False)
                limit = int(arguments.limit * GIB)
                process = context.Process(target=measure, args=(batch_size, cached, dtype, limit, sender))
                process.start()
                sender.close()
                try:
                    found = receiver.recv()
                except EOFError:
                    found = {"error": "the process was ended"}
                process.join()
                figures = (
                    f"does not fit in {arguments.limit:.0f} GiB | "
                    if "error" in found
                    else f"{found['bytes'] / GIB:.2f} | {found['seconds']:.1f}"
                )
                print(f"| {batch_size} | {dtype} | {'yes' if cached else 'no'} | {figures} |", flush=True)
                if "error" in found:
                    print(found["error"], flush=True, file=sys.stderr)


if __name__ == "__main__":
    main()
