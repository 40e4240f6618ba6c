"""An initial model, data/pairs and the store → models/STRATEGY, metrics/curves/STRATEGY.tsv.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.finetune STRATEGY --init models/base --freeze-base true
"""

import argparse
from pathlib import Path

from ragcun import distributed
from ragcun.params import load_params
from ragcun.train.runs import execute, finetune_run
from stages.launch import run_stage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("strategy")
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--freeze-base", choices=["true", "false"], required=True)
    arguments = parser.parse_args()
    params = load_params()
    with distributed.process_group(params.ddp.timeout):
        execute(
            finetune_run(params, arguments.strategy, arguments.init, freeze_base=arguments.freeze_base == "true"),
            params,
            pairs_folder=Path("data/pairs"),
            store_folder=Path("data/embeddings/pairs"),
            validation_folder=Path("data/validation"),
            model_folder=Path("models", arguments.strategy),
            curve_file=Path("metrics/curves", f"{arguments.strategy}.tsv"),
        )


if __name__ == "__main__":
    run_stage(main)
