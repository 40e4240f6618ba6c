"""models/base, the unlabelled pairs of data/pairs and the store → models/pretrain, metrics/curves/pretrain.tsv.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.pretrain
"""

from pathlib import Path

from ragcun import distributed
from ragcun.params import load_params
from ragcun.train.runs import execute, pretrain_run
from stages.launch import run_stage


def main() -> None:
    params = load_params()
    with distributed.process_group(params.ddp.timeout):
        execute(
            pretrain_run(params, Path("models/base")),
            params,
            pairs_folder=Path("data/pairs"),
            store_folder=Path("data/embeddings/pairs"),
            validation_folder=Path("data/validation"),
            model_folder=Path("models/pretrain"),
            curve_file=Path("metrics/curves/pretrain.tsv"),
        )


if __name__ == "__main__":
    run_stage(main)
