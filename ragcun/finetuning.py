"""A fine-tuning stage's work: the initial model joined to a fresh projection, trained on the pairs, saved.

Checkpoints of the run lie in the user's cache folder under a hash of everything that decides the result, so that an
interrupted run goes on and a run with other settings or data never continues it.
"""

import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import torch

from ragcun import distributed
from ragcun.base import cut_texts_at
from ragcun.embeddings import describe, read_embeddings
from ragcun.errors import RagcunError
from ragcun.files import atomic_file, atomic_folder, sha256_file
from ragcun.model import IsotropicGaussianEncoder, set_linear_map, set_random_map, whitening_map
from ragcun.model_card import write_model_card
from ragcun.pairs import read_pairs
from ragcun.params import Params
from ragcun.row_cache import cache_folder
from ragcun.training import train_frozen

logger = logging.getLogger(__name__)


def finetune(
    params: Params,
    strategy: str,
    *,
    init: Path,
    pairs_folder: Path,
    store_folder: Path,
    model_folder: Path,
    curve_file: Path,
) -> None:
    """Train `strategy` from the model in `init`; write the model and its curve. All ranks together.

    Raises:
        RagcunError: the store was not made with `init`, the batch is larger than the data, or the loss is not finite.
    """
    settings = params.finetune.strategy(strategy)
    torch.manual_seed(params.seed)
    encoder = IsotropicGaussianEncoder(
        output_dim=params.output_dim,
        base_model=str(init),
        freeze_base=True,
        dropout=params.dropout,
        similarity=params.similarity,
        device=str(distributed.device()),
    )
    cut_texts_at(encoder, params.embed.max_length)
    stored = read_embeddings(store_folder)
    if stored.manifest != describe(encoder, list(encoder.base), params.embed.dtype):
        raise RagcunError(f"{store_folder} was made with another base than {init}: run `dvc repro embed_pairs`")
    store = stored.arrays["texts"]
    pairs = read_pairs(pairs_folder)
    initialise_projection(encoder, params, store[pairs.train_passage_ids])
    decides = {
        "params": params.model_dump(mode="json", include=_DECIDING),
        "strategy": settings.model_dump(mode="json"),
        "shared": params.finetune.shared.model_dump(mode="json"),
        "init": stored.manifest,
        "pairs": {
            str(path.relative_to(pairs_folder)): sha256_file(path) for path in sorted(pairs_folder.rglob("*.parquet"))
        },
    }
    result = train_frozen(
        encoder,
        pairs,
        store,
        shared=params.finetune.shared,
        strategy=settings,
        seed=params.seed,
        work=work_folder(strategy, decides),
    )
    if distributed.is_main():
        logger.info("%s: best dev NDCG@10 %.4f at step %d", strategy, result.best_score, result.best_step)
        with atomic_folder(model_folder) as partial:
            encoder.save(str(partial), create_model_card=False)
            write_model_card(partial, encoder, name=strategy, settings=decides)
        with atomic_file(curve_file) as partial:
            result.curve.to_csv(partial, sep="\t", index=False, float_format="%.6g")
    distributed.barrier()


# The top-level params that a fine-tuned model depends on.
_DECIDING = {"seed", "output_dim", "similarity", "whitening", "projection_init", "dropout", "embed"}


def initialise_projection(encoder: IsotropicGaussianEncoder, params: Params, passages: np.ndarray) -> None:
    """Give the projection its start: the base's geometry, whitened by γ over the training passages; or random layers."""
    if params.projection_init == "random":
        set_random_map(encoder.projection)
        return
    output_dim = encoder.get_embedding_dimension()
    assert output_dim is not None
    set_linear_map(encoder.projection, *whitening_map(passages, params.whitening, output_dim))


def work_folder(name: str, decides: object) -> Path:
    """Where the checkpoints of the run that `decides` describes lie, on every rank."""
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "checkpoints" / f"{name}-{digest[:32]}"
