"""An initial model, data/pairs and the store → models/STRATEGY, metrics/curves/STRATEGY.tsv.

Usage: torchrun -m stages.finetune STRATEGY --init models/base
"""

import argparse
from pathlib import Path

from ragcun import distributed
from ragcun.finetuning import finetune
from ragcun.params import load_params
from stages import run_stage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("strategy")
    parser.add_argument("--init", type=Path, required=True)
    arguments = parser.parse_args()
    with distributed.process_group():
        finetune(
            load_params(),
            arguments.strategy,
            init=arguments.init,
            pairs_folder=Path("data/pairs"),
            store_folder=Path("data/embeddings/pairs"),
            model_folder=Path("models", arguments.strategy),
            curve_file=Path("metrics/curves", f"{arguments.strategy}.tsv"),
        )


if __name__ == "__main__":
    run_stage(main)
