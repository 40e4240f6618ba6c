"""Steps of full fine-tuning in a second, against SentenceTransformerTrainer with its defaults.

Usage: python -m benchmarks.full_finetuning [--steps 8]

Both train the whole of models/base by MultipleNegativesRankingLoss (InfoNCE over the batch), on the same batches of
`finetune.live.batch_size` pairs, with texts cut at `finetune.live.max_length`. ragcun trains its projection too, which starts
as the identity, and computes in the precision of `finetune.live.dtype`; the peer's default is float32. Both are timed with the
base's dropout, and once more without, where the time of its random numbers is gone; there the loss of the first step must be
the same in float32. Evaluations are not in the times.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from benchmarks.harness import Bar, Seconds, in_turn, options, pipeline, ratio, write_result
from benchmarks.peer_training import FirstLoss, StepTimes, train_peer, without_dropout
from ragcun.data.pairs import PreparedPairs, read_pairs
from ragcun.encode.precision import precision
from ragcun.model.encoder import IsotropicGaussianEncoder
from ragcun.params import Dtype, Params, load_params
from ragcun.train import run
from ragcun.train.batches import plan_batches
from ragcun.train.loss import RetrievalLoss
from ragcun.train.recipe import Recipe, finetune_recipe
from ragcun.train.trainee import LiveTrainee, fast_attention

PEER, WITHOUT = "sentence-transformers", ", both without dropout"
# What stands behind the names of the works, and whether they have dropout.
NOTES = {"": True, WITHOUT: False}


def plain_pairs(pairs: PreparedPairs, count: int) -> PreparedPairs:
    """`count` training pairs no two of which share a query or a positive, so that both losses have the same terms."""
    train = pairs.train.drop_duplicates("query").drop_duplicates("positive")
    alone = [len(pairs.known_positives[int(query)]) == 1 for query in train["query"]]
    return PreparedPairs(pairs.texts, train[np.array(alone)].iloc[:count], pairs.dev, {})


def recipe_of(params: Params, folder: Path, steps: int, dtype: Dtype | None = None) -> Recipe:
    """full_finetune as in the params, for some steps, by the loss that the peer has; `dtype` in place of theirs."""
    recipe = finetune_recipe(params, "full_finetune", folder / "models/base", freeze_base=False)
    changes = {
        "max_pairs": steps * recipe.settings.batch_size,
        "epochs": 1,
        "negatives": 0,
        "isotropy_weight": 0.0,
        "evaluations": 1,
        "dev_queries": 4,
        "dev_passages": 8,
        "dtype": dtype or recipe.settings.dtype,
    }
    settings = recipe.settings.model_copy(update=changes)
    return Recipe(**{**recipe.__dict__, "settings": settings})


def train_ours(recipe: Recipe, pairs: PreparedPairs, *, dropout: bool) -> tuple[StepTimes, float]:
    """As `train_peer`, by ragcun's trainer."""
    encoder = IsotropicGaussianEncoder(
        output_dim=None, base_model=str(recipe.init), freeze_base=False, similarity="cosine", device="cpu"
    )
    if not dropout:
        without_dropout(encoder)
    encoder.max_seq_length = recipe.max_length
    texts = pairs.texts["text"].tolist()
    trainee = LiveTrainee(encoder, texts, chunk=recipe.forward_size, dtype=recipe.settings.dtype)
    times, losses = StepTimes(), []
    made = RetrievalLoss.of

    def recorded(*args: object) -> RetrievalLoss:
        loss = made(*args)  # type: ignore[arg-type]
        losses.append(FirstLoss(loss))
        return loss

    RetrievalLoss.of = recorded  # type: ignore[method-assign,assignment]
    try:
        with tempfile.TemporaryDirectory() as work, fast_attention(encoder):
            run.fit(trainee, pairs, recipe, similarity="cosine", seed=0, work=Path(work), trackers=[times])
    finally:
        RetrievalLoss.of = made  # type: ignore[method-assign]
    return times, float(losses[0].value)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args(argv)
    with pipeline(arguments) as folder:
        params = load_params(folder / "params.yaml")
        steps = 3 if arguments.small else arguments.steps
        recipe = recipe_of(params, folder, steps)
        size = recipe.settings.batch_size
        pairs = plain_pairs(read_pairs(folder / "data/pairs/finetune"), steps * size)
        batches = plan_batches(pairs, recipe.settings, seed=0)
        order = pd.DataFrame(
            {"query": batches[step].queries, "positive": batches[step].positives} for step in range(len(batches))
        ).explode(["query", "positive"])
        queries, positives = (pairs.texts["text"].loc[order[name]].tolist() for name in ("query", "positive"))

        def ours(dropout: bool) -> Seconds:
            times, loss = train_ours(recipe, pairs, dropout=dropout)
            return Seconds(times.seconds_a_step, loss)

        def peer(dropout: bool) -> Seconds:
            model = SentenceTransformer(str(folder / "models/base"), device="cpu")
            if not dropout:
                without_dropout(model)
            model.max_seq_length = recipe.max_length
            times, loss = train_peer(model, queries, positives, batch_size=size, steps=len(batches))
            return Seconds(times.seconds_a_step, loss)

        works = {
            f"{name}{note}": partial(work, dropout)
            for name, work in {"ours": ours, PEER: peer}.items()
            for note, dropout in NOTES.items()
        }
        timed = in_turn(arguments.rounds, works)
        _, in_float32 = train_ours(recipe_of(params, folder, steps, "float32"), pairs, dropout=False)
    loss, theirs = (timed[f"{name}{WITHOUT}"].result for name in ("ours", PEER))
    assert abs(in_float32 - theirs) < 1e-4 * theirs, (in_float32, theirs)
    # Three digits of bfloat16.
    assert abs(loss - theirs) < 5e-3 * theirs, (loss, theirs)
    claim = f"full fine-tuning, steps/s of {size} pairs, against SentenceTransformerTrainer"
    write_result(
        "full_finetuning",
        arguments,
        [
            Bar(claim, ratio(timed, PEER), "×", at_least=1.8),
            Bar(f"{claim}{WITHOUT}", ratio(timed, f"{PEER}{WITHOUT}", f"ours{WITHOUT}"), "×", at_least=1.8),
        ],
        timed,
        same=f"the loss of step 1 in float32: {in_float32:.6f} and {theirs:.6f}; ours as timed: {loss:.6f}",
        figures={f"{name}, s a step": round(work.median, 3) for name, work in timed.items()},
        notes=[
            f"{len(batches)} steps a round, the first not timed. Ours in {precision(recipe.settings.dtype, torch.device('cpu'))}."
        ],
    )


if __name__ == "__main__":
    main()
