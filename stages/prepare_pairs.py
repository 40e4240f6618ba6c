"""Keep splits apart, number the texts, mine hard negatives: data/raw → data/pairs/finetune."""

import json
import logging
from pathlib import Path

from ragcun.data.pairs import write_pairs
from ragcun.params import load_params
from ragcun.prepare.finetuning import prepare
from ragcun.sources.records import read_pair_records, read_passage_records
from stages.launch import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    prepared = prepare(
        read_passage_records(Path("data/raw/passages")),
        read_pair_records(Path("data/raw/pairs")),
        mined_negatives=load_params().data.mined_negatives,
    )
    write_pairs(Path("data/pairs/finetune"), prepared)
    logger.info("prepared: %s", json.dumps(prepared.report))


if __name__ == "__main__":
    run_stage(main)
