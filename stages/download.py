"""Fetch what the params name: `python -m stages.download {base_model|passages|pairs}` → models/base, data/raw/…"""

import argparse
import logging
from pathlib import Path

from ragcun.files import atomic_folder
from ragcun.params import load_params
from ragcun.raw import write_pairs, write_passages
from ragcun.sources import model_source, pair_source, passage_source
from stages import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["base_model", "passages", "pairs"])
    what = parser.parse_args().what
    params = load_params()
    if what == "base_model":
        with atomic_folder(Path("models/base")) as folder:
            model_source(params.base_model).fetch(target=folder)
    elif what == "passages":
        count = write_passages(passage_source(params.data.passages).passages(), Path("data/raw/passages"))
        logger.info("%d passages", count)
    else:
        count = write_pairs(pair_source(params.data.pairs).pairs(), Path("data/raw/pairs"))
        logger.info("%d pairs", count)


if __name__ == "__main__":
    run_stage(main)
