"""Make training pairs from passages alone: data/raw/passages, as far as they are train texts → data/pairs/pretrain."""

import json
import logging
from pathlib import Path

from ragcun.data.pairs import train_passage_digests, write_pairs
from ragcun.params import load_params
from ragcun.prepare.pretraining import pretraining_pairs
from ragcun.sources.records import read_passage_records
from stages.launch import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    params = load_params()
    made = pretraining_pairs(
        train_passage_digests(Path("data/pairs/finetune")),
        read_passage_records(Path("data/raw/passages")),
        params.pretrain.pairs,
        params.pretrain.num_pairs,
        params.seed,
    )
    write_pairs(Path("data/pairs/pretrain"), made)
    logger.info("made: %s", json.dumps(made.report))


if __name__ == "__main__":
    run_stage(main)
