"""What a live training run of eight small steps needs: 30 texts of one to seven words and what asks for each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ragcun.data.pairs import PreparedPairs
from ragcun.params import Training
from ragcun.train.learning_rates import Pace
from ragcun.train.recipe import Recipe
from tests.tiny import WORDS

PASSAGES = [" ".join(WORDS[row : row + 1 + row % 7]) for row in range(30)]
TEXTS = PASSAGES + WORDS[:30]
SETTINGS = Training(
    epochs=2,
    batch_size=7,
    negatives=1,
    store_negatives=5,
    temperature=0.05,
    isotropy_weight=0.5,
    isotropy_directions=8,
    schedule="linear",
    warmup_ratio=0.2,
    weight_decay=0.01,
    max_grad_norm=1.0,
    evaluations=2,
)


def pairs() -> PreparedPairs:
    roles = ["passage"] * 30 + ["query"] * 30
    texts = pd.DataFrame({"text": TEXTS, "role": roles, "split": (["train"] * 22 + ["dev"] * 8) * 2})
    frame = pd.DataFrame({"query": np.arange(30) + 30, "positive": np.arange(30)})
    frame["negatives"] = [np.array([(row + 3) % 22]) for row in range(30)]
    return PreparedPairs(texts, frame[:22], frame[22:], {})


def paces(**peaks: float) -> dict[str, Pace]:
    return {name: Pace(peak, SETTINGS.schedule, SETTINGS.warmup_ratio) for name, peak in peaks.items()}


def recipe(settings: Training, paces: dict[str, Pace], layer_decay: float = 1.0) -> Recipe:
    """A recipe for `fit`, which reads these of it alone."""
    return Recipe(
        "small", Path(), "finetune", settings, paces, freeze_base="base" not in paces, layer_decay=layer_decay
    )


def scores_that_rise() -> Callable[[object], dict[str, float]]:
    """In place of `mean_scores`: each evaluation is better than the one before."""
    calls: list[int] = []

    def rising(scores: object) -> dict[str, float]:
        calls.append(0)
        return {"ndcg@10": len(calls) / 100}

    return rising
