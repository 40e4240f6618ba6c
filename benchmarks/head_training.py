"""A `smart_hybrid` run from the store, against SentenceTransformerTrainer on texts with the same frozen base and head.

Usage: python -m benchmarks.head_training [--peer-steps 5]

Ours is the whole run as `dvc repro finetune@smart_hybrid` does it after its imports: the head is made, trained with its store
negatives, evaluated on the dev queries, and published. The peer trains the same head, over the same frozen base, pairs and
epochs, by MultipleNegativesRankingLoss, without any evaluation; some of its steps are timed, and the time of all of them is
extrapolated. `benchmarks.first_run` is the same with an empty cache.
"""

import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Bar, Seconds, Timed, in_turn, options, pipeline, ratio, write_result
from benchmarks.peer_training import train_peer
from benchmarks.small import inputs_of
from ragcun.data.pairs import PreparedPairs, read_pairs
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Params, load_params
from ragcun.train.batches import plan_batches
from ragcun.train.initial import Inputs, initial_model
from ragcun.train.recipe import Recipe, finetune_recipe
from ragcun.train.run import publish, train

# What must hold of a vector in reduced precision, to be called exact enough.
LEAST_COSINE = 0.999


def run_of(folder: Path) -> tuple[Params, Recipe]:
    """smart_hybrid in a pipeline's folder."""
    params = load_params(folder / "params.yaml")
    return params, finetune_recipe(params, "smart_hybrid", folder / "models/base", freeze_base=True)


def train_ours(params: Params, recipe: Recipe, inputs: Inputs) -> int:
    """The whole run; the number of parameters that it trained."""
    encoder = initial_model(params, recipe.init, inputs)
    trained = train(recipe, encoder, params, inputs)
    with tempfile.TemporaryDirectory() as name:
        publish(trained, recipe, encoder, model_folder=Path(name, "model"), curve_file=Path(name, "curve.tsv"))
    return trainable(encoder)


def trainable(encoder: IsotropicGaussianEncoder) -> int:
    """The number of parameters that train."""
    return sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)


def train_theirs(params: Params, recipe: Recipe, inputs: Inputs, pairs: PreparedPairs, steps: int) -> Seconds:
    """Some steps, extrapolated to the run; the number of parameters that they train, and the loss of the first."""
    encoder = initial_model(params, recipe.init, inputs)
    settings = recipe.settings
    first = [plan_batches(pairs, settings, params.seed)[step] for step in range(steps)]
    texts = pairs.texts["text"].to_numpy()
    queries, positives = (
        texts[np.concatenate([getattr(batch, name) for batch in first])].tolist() for name in ("queries", "positives")
    )
    times, loss = train_peer(encoder, queries, positives, batch_size=settings.batch_size, steps=steps)
    whole = len(plan_batches(pairs, settings, params.seed))
    return Seconds(times.seconds_a_step * whole, (trainable(encoder), loss))


def same_start(params: Params, recipe: Recipe, inputs: Inputs, pairs: PreparedPairs) -> float:
    """The least cosine between the vectors of the head over the store and of the whole encoder, in float32, over texts."""
    encoder = initial_model(params, recipe.init, inputs).eval()
    rows = pairs.train["query"].to_numpy()[:16]
    stored = np.load(inputs.store / "finetune/texts.npy", mmap_mode="r")[rows]
    with torch.inference_mode():
        live = encoder.encode_query(pairs.texts["text"].loc[rows].tolist(), show_progress_bar=False)
    ours = encoder.head().project(stored)
    return float(((ours * live).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(live, axis=1)).min())


def report(arguments: Namespace, name: str, bar: Bar, timed: dict[str, Timed], cosine: float, whole: int) -> None:
    """Check that both did the same, and write the result."""
    assert cosine >= LEAST_COSINE, cosine
    assert timed["ours"].result == timed["sentence-transformers"].result[0]
    write_result(
        name,
        arguments,
        [bar],
        timed,
        same=f"{timed['ours'].result:,} trained parameters, {whole} steps, and vectors at the start to a cosine of {cosine:.6f}",
        figures={f"{each}, s a run": round(work.median, 2) for each, work in timed.items()},
        notes=["Ours has store negatives and dev evaluations in its time; the peer has neither."],
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--peer-steps", type=int, default=5, help="steps of the peer that are timed")
    arguments = parser.parse_args(argv)
    steps = 3 if arguments.small else arguments.peer_steps
    with pipeline(arguments) as folder:
        params, recipe = run_of(folder)
        inputs, pairs = inputs_of(folder), read_pairs(folder / "data/pairs/finetune")
        cosine = same_start(params, recipe, inputs, pairs)
        works = {
            "ours": lambda: train_ours(params, recipe, inputs),
            "sentence-transformers": lambda: train_theirs(params, recipe, inputs, pairs, steps),
        }
        timed = in_turn(arguments.rounds, works)
        whole = len(plan_batches(pairs, recipe.settings, params.seed))
    bar = Bar(
        "smart_hybrid from the store, against SentenceTransformerTrainer",
        ratio(timed, "sentence-transformers"),
        "×",
        at_least=50.0,
        extrapolated=f"the peer from {steps} of {whole} steps",
    )
    report(arguments, "head_training", bar, timed, cosine, whole)


if __name__ == "__main__":
    main()
