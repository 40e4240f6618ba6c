"""What the training stages read, small: params, prepared pairs of both tasks, and the base's vectors of their texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ragcun.data.pairs import PreparedPairs, write_pairs
from ragcun.encode.base import load_base
from ragcun.encode.encoder import TextEncoder
from ragcun.encode.store import Texts, write_embeddings
from ragcun.params import Params
from tests.tiny import WORDS

ROOT = Path(__file__).parents[1]
DEV = 8


def tiny_params(**top: Any) -> Params:
    """The project's params with runs of a few steps, and then those given."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    # torch: a process that has run OpenVINO dies of a later test's SIGTERM (tests/encode/test_openvino_engine.py).
    raw["embed"] |= {"engine": "torch", "dtype": "float32"}
    small = {"batch_size": 8, "epochs": 2, "evaluations": 2, "negatives": 0}
    raw["finetune"]["shared"] |= {**small, "store_negatives": 4}
    raw["finetune"]["live"] |= {**small, "max_pairs": None, "max_length": 16, "forward_size": 5, "dtype": "float32"}
    raw["pretrain"] |= {**small, "store_negatives": 4, "isotropy_directions": 8}
    return Params.model_validate(raw | top)


def write_inputs(folder: Path, base: Path) -> Path:
    """Write pairs/, store/ and validation/ (none); return `folder`.

    For each task 36 passages of two words, each asked for by one of them; those of pretraining have their words the other way
    round; the last eight are dev.
    """
    (folder / "validation").mkdir(parents=True)
    (folder / "validation/none.txt").write_text("none\n")
    for task, step in (("finetune", 1), ("pretrain", -1)):
        passages = [f"{first} {second}" for first, second in zip(WORDS, np.roll(WORDS, -step), strict=True)]
        count = len(passages)
        texts = pd.DataFrame(
            {
                "text": passages + WORDS,
                "role": ["passage"] * count + ["query"] * count,
                "split": (["train"] * (count - DEV) + ["dev"] * DEV) * 2,
            }
        )
        pairs = pd.DataFrame({"query": np.arange(count) + count, "positive": np.arange(count)})
        pairs["negatives"] = [np.array([], dtype=np.int64)] * count
        write_pairs(folder / "pairs" / task, PreparedPairs(texts, pairs[:-DEV], pairs[-DEV:], {}))
        encoder = TextEncoder(load_base(str(base), device="cpu"), dtype="float32", batch_tokens=128, max_length=None)
        lists = {"texts": Texts(texts["text"].tolist(), texts["role"].tolist())}
        write_embeddings(folder / "store" / task, encoder, lists)
    return folder
