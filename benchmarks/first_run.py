"""The first `smart_hybrid` run, with an empty cache: embeddings are built inside the time. Otherwise as head_training.

Usage: python -m benchmarks.first_run [--every N] [--peer-steps 5]

With --every N each N-th text by length is encoded alone, and the time of encoding all of them is extrapolated; the training
then goes on from the pipeline's store.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Bar, Seconds, empty_cache, in_turn, options, pipeline, ratio
from benchmarks.head_training import report, run_of, same_start, train_ours, train_theirs
from benchmarks.small import inputs_of
from ragcun.data.pairs import read_pairs, read_texts
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import Texts, write_embeddings
from ragcun.params import Params
from ragcun.train.batches import plan_batches


def build_store(params: Params, folder: Path, every: int) -> float:
    """Seconds of building the store, the model's loading and the row cache included, extrapolated to all texts."""
    frame = read_texts(folder / "data/pairs/finetune")
    order = frame["text"].str.len().sort_values(kind="stable").index[every // 2 :: every]
    part = frame.loc[order.sort_values()]
    with empty_cache(), tempfile.TemporaryDirectory() as name:
        began = time.perf_counter()
        encoder = TextEncoder.of(load_base(str(folder / "models/base"), device="cpu"), params.embed)
        loaded = time.perf_counter() - began
        lists = {"texts": Texts(part["text"].tolist(), part["role"].tolist())}
        write_embeddings(Path(name, "store"), encoder, lists)
        encoding = time.perf_counter() - began - loaded
    return loaded + encoding * len(frame) / len(part)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=1)
    parser.add_argument("--every", type=int, default=1, help="encode each N-th text alone, and extrapolate")
    parser.add_argument("--peer-steps", type=int, default=5, help="steps of the peer that are timed")
    arguments = parser.parse_args(argv)
    steps = 3 if arguments.small else arguments.peer_steps
    with pipeline(arguments) as folder:
        params, recipe = run_of(folder)
        inputs, pairs = inputs_of(folder), read_pairs(folder / "data/pairs/finetune")
        cosine = same_start(params, recipe, inputs, pairs)

        def ours() -> Seconds:
            stored = build_store(params, folder, arguments.every)
            began = time.perf_counter()
            result = train_ours(params, recipe, inputs)
            return Seconds(stored + time.perf_counter() - began, result)

        works = {
            "ours": ours,
            "sentence-transformers": lambda: train_theirs(params, recipe, inputs, pairs, steps),
        }
        timed = in_turn(arguments.rounds, works)
        whole = len(plan_batches(pairs, recipe.settings, params.seed))
    part = f"the peer from {steps} of {whole} steps"
    part += f", encoding from each {arguments.every}th text" if arguments.every > 1 else ""
    claim = "the first smart_hybrid run, embeddings built inside the time, against SentenceTransformerTrainer"
    bar = Bar(claim, ratio(timed, "sentence-transformers"), "×", at_least=2.5, extrapolated=part)
    report(arguments, "first_run", bar, timed, cosine, whole)


if __name__ == "__main__":
    main()
