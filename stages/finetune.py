"""An initial model, data/pairs and the store → models/STRATEGY, metrics/curves/STRATEGY.tsv, metrics/times/STRATEGY.json.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.finetune STRATEGY --init models/base --freeze-base true
"""

import argparse
from pathlib import Path

from ragcun import distributed
from ragcun.params import load_params
from ragcun.train.initial import Inputs, initial_model
from ragcun.train.recipe import finetune_recipe
from ragcun.train.run import publish, train, write_time
from stages.launch import run_stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strategy", help="one of finetune.strategies in params.yaml")
    parser.add_argument("--init", type=Path, required=True)
    parser.add_argument("--freeze-base", choices=["true", "false"], required=True)
    arguments = parser.parse_args()
    strategy, frozen = arguments.strategy, arguments.freeze_base == "true"

    params, inputs = load_params(), Inputs()
    with distributed.process_group(params.ddp.timeout):
        recipe = finetune_recipe(params, strategy, arguments.init, freeze_base=frozen)
        encoder = initial_model(params, recipe.init, inputs, freeze_base=frozen, freeze_layers=recipe.freeze_layers)
        trained = train(recipe, encoder, params, inputs)
        publish(
            trained,
            recipe,
            encoder,
            model_folder=Path("models", strategy),
            curve_file=Path("metrics/curves", f"{strategy}.tsv"),
        )
        write_time(trained, Path("metrics/times", f"{strategy}.json"))


if __name__ == "__main__":
    run_stage(main)
