"""models/base with a projection that is not trained → models/NAME: what training is held against.

Usage: python -m stages.control NAME {base|random}
"""

import argparse
from pathlib import Path

from ragcun.params import load_params
from ragcun.train.initial import Inputs, write_control
from stages.launch import run_stage


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("kind", choices=["base", "random"])
    arguments = parser.parse_args()
    model_folder = Path("models", arguments.name)
    write_control(load_params(), arguments.kind, Path("models/base"), Inputs(), model_folder)


if __name__ == "__main__":
    run_stage(main)
