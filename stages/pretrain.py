"""models/base, the unlabelled pairs of data/pairs and the store → models/pretrain, metrics/curves/pretrain.tsv,
metrics/times/pretrain.json.

Usage: python -m stages.launch --nproc-per-node=1 -m stages.pretrain
"""

from pathlib import Path

from ragcun import distributed
from ragcun.params import load_params
from ragcun.train.initial import Inputs, initial_model
from ragcun.train.recipe import pretrain_recipe
from ragcun.train.run import publish, train, write_time
from stages.launch import run_stage


def main() -> None:
    params, inputs = load_params(), Inputs()
    with distributed.process_group(params.ddp.timeout):
        recipe = pretrain_recipe(params, Path("models/base"))
        encoder = initial_model(params, recipe.init, inputs)
        trained = train(recipe, encoder, params, inputs)
        publish(
            trained,
            recipe,
            encoder,
            model_folder=Path("models/pretrain"),
            curve_file=Path("metrics/curves/pretrain.tsv"),
        )
        write_time(trained, Path("metrics/times", "pretrain.json"))


if __name__ == "__main__":
    run_stage(main)
